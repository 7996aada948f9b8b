"""What JSON Schema and JSON Pointer ask of everybody who reads them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

ANNOTATIONS = frozenset(  # they say nothing of what is valid (JSON Schema 2020-12, 8.5 and 9; OpenAPI 3.1)
    "title description examples example default deprecated readOnly writeOnly $comment $id $schema $anchor $vocabulary "
    "discriminator xml externalDocs contentMediaType contentEncoding contentSchema".split()
)
MAPS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")  # of names to schemas
LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
INNER = ("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames")


def is_annotation(key: str) -> bool:
    """Whether a key of a schema changes nothing, whatever its value: also the x-keys of OpenAPI and others."""
    return key in ANNOTATIONS or str(key).startswith("x-")


def rewrite(schema: Any, change: Callable[[dict[str, Any]], Any]) -> Any:
    """A copy of a schema in which every schema, inner ones first, is what `change` made of it.

    Only schemas are looked at: a property called title, or an enum's value, is none.
    """
    if not isinstance(schema, Mapping):
        return schema
    made = dict(schema)
    for key in MAPS:
        if isinstance(made.get(key), Mapping):
            made[key] = {name: rewrite(one, change) for name, one in made[key].items()}
    for key in LISTS:
        if isinstance(made.get(key), list):
            made[key] = [rewrite(one, change) for one in made[key]]
    for key in INNER:
        if isinstance(made.get(key), Mapping):
            made[key] = rewrite(made[key], change)
    return change(made)


def without_annotations(schema: Any) -> Any:
    """A schema that allows the same values, without what it says about them."""

    def change(one: dict[str, Any]) -> dict[str, Any]:
        kept = {key: value for key, value in one.items() if not is_annotation(key)}
        return {key: value for key, value in kept.items() if (key, value) not in NOTHING}

    return rewrite(schema, change)


NOTHING = (("nullable", False), ("uniqueItems", False))  # what is so anyway


def written(value: Any) -> str:
    """JSON without spaces: as the grammar of a schema writes it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def resolved(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
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


def step(key: Any) -> str:
    """A key as a step of a JSON pointer (RFC 6901, section 3)."""
    return "/" + str(key).replace("~", "~0").replace("/", "~1")
