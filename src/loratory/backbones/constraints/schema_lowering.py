"""A schema in the few words that a writer is held to: without annotations, formats as patterns, patterns anchored.

What cannot be said in them stays as it is: `schema_support.check_completable` refuses it by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import combinations
from typing import Any

from loratory.backbones.constraints import regex_automata
from loratory.errors import UnsupportedTask
from loratory.formats import FORMATS, INTEGER_RANGES, UNCHECKED_NUMBER_FORMATS, UNCHECKED_TEXT_FORMATS
from loratory.protocols import JSON, Schema
from loratory.schemas import resolve_reference, rewrite_schema, strip_annotations, to_compact_json

JSON_TYPES = frozenset(("string", "number", "boolean", "null", "object", "array"))
MAX_DEPTH = 24
MAX_INTEGER = 10**18 - 1  # whole numbers that are written: 18 digits


def lower_schema(schema: Schema) -> Schema:
    """The schema that is held while writing: every answer of it is one of the given schema."""
    root: Schema = rewrite_schema(strip_annotations(schema), _lower_keywords)
    made: Schema = rewrite_schema(root, partial(_lower_one_of, root))
    return made


def _lower_one_of(root: Schema, schema: dict[str, Any]) -> dict[str, Any]:
    """`oneOf` is `anyOf` where no value can be of two branches; else it stays."""
    branches = schema.get("oneOf")
    if not isinstance(branches, list) or "anyOf" in schema:
        return schema
    if not all(are_disjoint(left, right, root) for left, right in combinations(branches, 2)):
        return schema
    return {("anyOf" if key == "oneOf" else key): value for key, value in schema.items()}


def are_disjoint(left: JSON, right: JSON, root: Schema, depth: int = 0) -> bool:
    """Whether it is plain that no value is of both schemas: by type, by their literals, or by a property of both."""
    try:
        left, right = resolve_reference(left, root), resolve_reference(right, root)
    except (KeyError, TypeError, IndexError):
        return False
    if depth > MAX_DEPTH:
        return False
    for one, other in ((left, right), (right, left)):
        if branches := one.get("anyOf") or one.get("oneOf"):
            return all(are_disjoint(branch, other, root, depth + 1) for branch in branches)
    values, others = _collect_literals(left), _collect_literals(right)
    if values is not None and others is not None:
        return not values & others
    if not _collect_types(left) & _collect_types(right):
        return True
    both = set(left.get("required", ())) & set(right.get("required", ()))
    first, second = left.get("properties", {}), right.get("properties", {})
    return _collect_types(left) == _collect_types(right) == {"object"} and any(
        are_disjoint(first[name], second[name], root, depth + 1) for name in both if name in first and name in second
    )


def _collect_literals(schema: Schema) -> set[str] | None:
    """The literals that it allows, as JSON; None where these are not all."""
    if "const" in schema:
        return {to_compact_json(schema["const"])}
    return set(map(to_compact_json, schema["enum"])) if isinstance(schema.get("enum"), list) else None


def _collect_types(schema: Schema) -> set[str]:
    """The types that its values may have; a whole number is a number."""
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if isinstance(values, list):
        return {kind for kind in JSON_TYPES for value in values if _is_of_type(kind, value)}
    kinds = JSON_TYPES if schema.get("type") is None else set(map(str, _types_of(schema)))
    return {"number" if kind == "integer" else kind for kind in kinds}


def _lower_keywords(schema: dict[str, Any]) -> dict[str, Any]:
    schema = _unwrap_all_of(schema)
    if "enum" in schema or "const" in schema:
        return _filter_enum(schema)
    return _lower_pattern(_lower_format(schema))


def _unwrap_all_of(schema: dict[str, Any]) -> dict[str, Any]:
    """`allOf` of one schema with nothing beside it is that schema (pydantic 1 and OpenAPI write references so)."""
    parts = schema.get("allOf")
    if not isinstance(parts, list) or len(parts) != 1 or not isinstance(parts[0], Mapping):
        return schema
    defs: dict[str, Any] = {key: schema[key] for key in ("$defs", "definitions") if key in schema}
    return {**defs, **parts[0]} if len(defs) + 1 == len(schema) else schema


def _types_of(schema: Mapping[str, Any]) -> list[Any]:
    kinds = schema.get("type")
    return kinds if isinstance(kinds, list) else [kinds]


def _lower_format(schema: dict[str, Any]) -> dict[str, Any]:
    """The format as a pattern, or as bounds; left out where it says nothing of values of this type."""
    name, kinds = schema.get("format"), _types_of(schema)
    if not isinstance(name, str):
        return schema
    rest = {key: value for key, value in schema.items() if key != "format"}
    if "string" in kinds:
        if name in UNCHECKED_TEXT_FORMATS:
            return rest
        if name in FORMATS and "pattern" not in schema:
            return _apply_string_format(rest, name)
    elif name in INTEGER_RANGES and "integer" in kinds:
        return _apply_number_format(rest, *INTEGER_RANGES[name])
    elif (
        name in FORMATS or name in UNCHECKED_TEXT_FORMATS or name in UNCHECKED_NUMBER_FORMATS or name in INTEGER_RANGES
    ):
        return rest
    return schema


def _apply_string_format(rest: dict[str, Any], name: str) -> dict[str, Any]:
    made = {**rest, "pattern": f"^(?:{FORMATS[name].pattern})$"}
    longest, most = FORMATS[name].max_length, rest.get("maxLength")
    if longest is not None:
        made["maxLength"] = min(longest, most) if isinstance(most, (int, float)) else longest
    return made


def _apply_number_format(rest: dict[str, Any], minimum: int, maximum: int) -> dict[str, Any]:
    low, high = rest.get("minimum"), rest.get("maximum")
    minimum, maximum = max(minimum, -MAX_INTEGER), min(maximum, MAX_INTEGER)
    return {
        **rest,
        "minimum": max(low, minimum) if isinstance(low, (int, float)) else minimum,
        "maximum": min(high, maximum) if isinstance(high, (int, float)) else maximum,
    }


def _lower_pattern(schema: dict[str, Any]) -> dict[str, Any]:
    """The pattern in words that every engine takes alike; left out where no text is meant."""
    if not isinstance(schema.get("pattern"), str):
        return schema
    if "string" not in _types_of(schema):
        return (
            schema if schema.get("type") is None else {key: value for key, value in schema.items() if key != "pattern"}
        )
    try:
        return {**schema, "pattern": regex_automata.parse_pattern(schema["pattern"])[0]}
    except UnsupportedTask:
        return schema


def _filter_enum(schema: dict[str, Any]) -> dict[str, Any]:
    """An enum without values of another type."""
    values = schema.get("enum")
    if not isinstance(values, list) or schema.get("type") is None:
        return schema
    return {
        **schema,
        "enum": [value for value in values if any(_is_of_type(kind, value) for kind in _types_of(schema))],
    }


def _is_of_type(kind: JSON, value: JSON) -> bool:
    """Whether a value is of a type of JSON Schema."""
    if kind in ("integer", "number"):
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return number and (kind == "number" or float(value).is_integer())
    types: Mapping[Any, Any] = {"string": str, "boolean": bool, "null": type(None), "object": Mapping, "array": list}
    return isinstance(value, types.get(kind, ()))
