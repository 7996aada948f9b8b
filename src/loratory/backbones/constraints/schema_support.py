"""Which schemas can be promised to be closed: from any beginning of an answer, the way to its end is known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from loratory.backbones.constraints import regex_automata
from loratory.backbones.constraints.json_completion import JsonCompleter, find_shortest_value
from loratory.backbones.constraints.schema_lowering import lower_schema
from loratory.errors import UnsupportedTask
from loratory.formats import FORMATS, UNCHECKED_TEXT_FORMATS
from loratory.protocols import JSON, Schema
from loratory.schemas import resolve_reference, to_compact_json

SUPPORTED_KEYWORDS = {  # what is understood of each type; anything else is refused
    "object": {"properties", "required", "additionalProperties"},
    "array": {"items", "minItems", "maxItems"},
    "string": {"minLength", "maxLength", "pattern", "format"},
    "integer": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"},
    "number": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"},
    "boolean": set(),
    "null": set(),
}
IGNORED_KEYWORDS = {"$defs", "definitions"}
CHECK_LATER = "leave it out of the contract and check it after the answer"
REMEDIES = {
    "nullable": 'write what OpenAPI 3.1 writes: type: [TYPE, "null"], or anyOf: [..., {type: "null"}]',
    "format": f"write it as a pattern, or {CHECK_LATER}",
    "allOf": "write its parts as one schema",
    "prefixItems": "make it an object with a named property for each place",
    "additionalProperties": "name the properties, or make it an array of objects with a key and a value",
    "unevaluatedProperties": "write additionalProperties: false",
}


def check_completable(schema: Schema) -> None:
    """Raises UnsupportedTask, with the place and the reason, for a schema that cannot be promised to be closed."""
    made = lower_schema(schema)
    _check_schema(made, made, "#", ())


def _check_schema(schema: JSON, root: Schema, where: str, parents: tuple[str, ...]) -> None:
    if not isinstance(schema, Mapping):
        raise UnsupportedTask(
            f"{to_compact_json(schema)} is no schema", where=where, allowed="an object with type, enum, const or anyOf"
        )
    if "$ref" in schema:
        _check_keywords(schema, {"$ref"}, where)
        _check_reference(schema, root, where, parents)
        return
    for key in ("anyOf", "oneOf"):
        if key in schema:
            if key == "oneOf" and len(schema[key]) > 1 and "anyOf" not in schema:
                raise UnsupportedTask(
                    "the branches of this oneOf cannot be told apart",
                    where=where,
                    allowed="branches of different types, or objects with a required property and a const of its own",
                    remedy="write anyOf, or give each branch such a property",
                )
            _check_keywords(schema, {key}, where)
            if not schema[key]:
                raise UnsupportedTask(f"{key} of nothing cannot be answered", where=where)
            for i, one in enumerate(schema[key]):
                _check_schema(one, root, f"{where}/{key}/{i}", parents)
            return
    if "enum" in schema or "const" in schema:
        _check_keywords(schema, {"enum", "const", "type"}, where)
        if "enum" in schema and not schema["enum"]:
            raise UnsupportedTask("an enum of nothing (of this type) cannot be answered", where=where)
        return
    _check_types(schema, root, where, parents)


def _check_types(schema: Schema, root: Schema, where: str, parents: tuple[str, ...]) -> None:
    kinds: Any = schema.get("type")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    for kind in kinds:
        if kind is None:
            _check_keywords(schema, set().union(*SUPPORTED_KEYWORDS.values()), where)
            raise UnsupportedTask(
                "it has no type, so it could be anything", where=where, allowed=f"type: {', '.join(SUPPORTED_KEYWORDS)}"
            )
        if kind not in SUPPORTED_KEYWORDS:
            raise UnsupportedTask(
                f"type {kind!r} is not understood", where=where, allowed=", ".join(SUPPORTED_KEYWORDS)
            )
    _check_keywords(schema, {"type"}.union(*(SUPPORTED_KEYWORDS[kind] for kind in kinds)), where)
    for kind in kinds:
        _check_type(kind, schema, root, where, parents)


def _check_reference(schema: Schema, root: Schema, where: str, parents: tuple[str, ...]) -> None:
    name = str(schema["$ref"])
    if not name.startswith("#/"):
        raise UnsupportedTask(f"$ref {name!r} leads outside", where=where, allowed="#/$defs/...")
    if name in parents:
        raise UnsupportedTask(
            f"{name} holds itself: there is no longest answer", where=where, remedy="write the levels out"
        )
    try:
        found = resolve_reference(schema, root)
    except (KeyError, TypeError, IndexError):
        raise UnsupportedTask(f"$ref {name!r} leads nowhere", where=where) from None
    _check_schema(found, root, name, (*parents, name))


def _check_keywords(schema: Schema, supported: set[str], where: str) -> None:
    strange = sorted(set(schema) - supported - IGNORED_KEYWORDS)
    if strange:
        raise UnsupportedTask(
            f"{strange[0]!r} is not understood here",
            where=where,
            allowed=", ".join(sorted(supported)),
            remedy=REMEDIES.get(strange[0], CHECK_LATER),
        )


def _check_type(kind: str, schema: Schema, root: Schema, where: str, parents: tuple[str, ...]) -> None:
    if kind == "object":
        if schema.get("additionalProperties", False) is not False:
            raise UnsupportedTask(
                "additional properties have no end",
                where=where,
                allowed="additionalProperties: false",
                remedy=REMEDIES["additionalProperties"],
            )
        absent = sorted(set(schema.get("required", ())) - set(schema.get("properties", {})))
        if absent:
            raise UnsupportedTask(f"{absent[0]!r} is required and not described", where=where)
        for name, value in schema.get("properties", {}).items():
            _check_schema(value, root, f"{where}/properties/{name}", parents)
    elif kind == "array":
        if "items" not in schema:
            raise UnsupportedTask("an array without items could hold anything", where=where, remedy="describe items")
        _check_schema(schema["items"], root, f"{where}/items", parents)
        _check_order(schema, "minItems", "maxItems", where)
    elif kind == "string":
        _check_order(schema, "minLength", "maxLength", where)
        _check_string(schema, where)
    elif kind in ("integer", "number") and find_shortest_value({**schema, "type": kind}, JsonCompleter(root)) is None:
        raise UnsupportedTask("no number lies between these bounds", where=where)


def _check_string(schema: Schema, where: str) -> None:
    """Raises UnsupportedTask for a format that is none of ours, and a pattern that cannot be held."""
    if "format" in schema:
        both = "pattern" in schema
        raise UnsupportedTask(
            f"format {schema['format']!r} beside a pattern"
            if both
            else f"format {schema['format']!r} is not understood",
            where=where,
            allowed="one of the two" if both else ", ".join([*FORMATS, *sorted(UNCHECKED_TEXT_FORMATS)]),
            remedy=REMEDIES["format"],
        )
    if "pattern" not in schema:
        return
    try:
        automaton = regex_automata.parse_pattern(schema["pattern"])[1]
    except UnsupportedTask as problem:
        raise UnsupportedTask(problem.problem, where=where, allowed=problem.allowed, remedy=problem.remedy) from None
    if automaton.find_shortest(0, schema.get("minLength", 0), schema.get("maxLength", float("inf"))) is None:
        raise UnsupportedTask(
            "no text is of this pattern (or format), and as long as minLength and maxLength say",
            where=where,
            remedy="change the lengths, or the pattern",
        )


def _check_order(schema: Schema, lower_key: str, upper_key: str, where: str) -> None:
    if schema.get(lower_key, 0) > schema.get(upper_key, float("inf")):
        raise UnsupportedTask(f"{lower_key} is above {upper_key}", where=where)
