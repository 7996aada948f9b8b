"""What JSON Schema and JSON Pointer ask of everybody who reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


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
