"""What JSON Schema and JSON Pointer ask of everybody who reads them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

JSON = Any  # a value of JSON
ANNOTATIONS = frozenset(  # they say nothing of what is valid (JSON Schema 2020-12, 8.5 and 9; OpenAPI 3.1)
    "title description examples example default deprecated readOnly writeOnly $comment $id $schema $anchor $vocabulary "
    "discriminator xml externalDocs contentMediaType contentEncoding contentSchema".split()
)
SCHEMA_MAPS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")  # of names to schemas
SCHEMA_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
SCHEMA_KEYWORDS = ("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames")


def is_annotation(key: str) -> bool:
    """Whether a key of a schema changes nothing, whatever its value: also the x-keys of OpenAPI and others."""
    return key in ANNOTATIONS or str(key).startswith("x-")


def rewrite_schema(schema: object, change: Callable[[dict[str, Any]], Any]) -> Any:
    """A copy of a schema in which every schema, inner ones first, is what `change` made of it.

    Only schemas are looked at: a property called title, or an enum's value, is none.
    """
    if not isinstance(schema, Mapping):
        return schema
    made = dict(schema)
    for key in SCHEMA_MAPS:
        if isinstance(made.get(key), Mapping):
            made[key] = {name: rewrite_schema(one, change) for name, one in made[key].items()}
    for key in SCHEMA_LISTS:
        if isinstance(made.get(key), list):
            made[key] = [rewrite_schema(one, change) for one in made[key]]
    for key in SCHEMA_KEYWORDS:
        if isinstance(made.get(key), Mapping):
            made[key] = rewrite_schema(made[key], change)
    return change(made)


def strip_annotations(schema: object) -> Any:
    """A schema that allows the same values, without what it says about them."""

    def change(one: dict[str, Any]) -> dict[str, Any]:
        kept = {key: value for key, value in one.items() if not is_annotation(key)}
        return {key: value for key, value in kept.items() if (key, value) not in DEFAULT_KEYWORDS}

    return rewrite_schema(schema, change)


DEFAULT_KEYWORDS = (("nullable", False), ("uniqueItems", False))  # what is so anyway


def to_compact_json(value: object) -> str:
    """JSON without spaces: as the grammar of a schema writes it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def resolve_reference(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """Behind a local reference; raises KeyError, TypeError or IndexError where it leads nowhere, or in a circle."""
    passed: set[str] = set()
    while "$ref" in schema:
        if schema["$ref"] in passed:
            raise KeyError(schema["$ref"])
        passed.add(schema["$ref"])
        found: Any = root
        for part in str(schema["$ref"]).removeprefix("#/").split("/"):
            found = found[part.replace("~1", "/").replace("~0", "~")]
        schema = found
    return schema


def pointer_step(key: object) -> str:
    """A key as a step of a JSON pointer (RFC 6901, section 3)."""
    return "/" + str(key).replace("~", "~0").replace("/", "~1")


TYPE_NAMES: Sequence[tuple[type, str]] = ((bool, "boolean"), (int, "integer"), (float, "number"), (str, "string"))


def infer_schema(values: Sequence[Any]) -> dict[str, Any]:
    """The narrowest plain schema that all of these JSON values are of: types, properties and items, no limits.

    A property that every object has is required; whole and other numbers together are numbers; an empty list tells
    nothing of its items.
    """
    objects = [value for value in values if isinstance(value, Mapping)]
    lists = [value for value in values if isinstance(value, list)]
    plain = _infer_scalar_types([value for value in values if not isinstance(value, (Mapping, list))])
    parts: list[dict[str, Any]] = [{"type": plain[0] if len(plain) == 1 else plain}] if plain else []
    if objects:
        keys = list(dict.fromkeys(key for value in objects for key in value))
        inner = {key: infer_schema([value[key] for value in objects if key in value]) for key in keys}
        required = [key for key in keys if all(key in value for value in objects)]
        parts.append({"type": "object", "properties": inner, "required": required, "additionalProperties": False})
    if lists:
        items = [item for value in lists for item in value]
        parts.append({"type": "array", **({"items": infer_schema(items)} if items else {})})
    return parts[0] if len(parts) == 1 else {"anyOf": parts}


def _infer_scalar_types(values: Sequence[Any]) -> list[str]:
    found = {next(name for cls, name in TYPE_NAMES if isinstance(value, cls)) for value in values if value is not None}
    if {"integer", "number"} <= found:
        found.discard("integer")
    return [*sorted(found), *(["null"] if any(value is None for value in values) else [])]
