"""The OpenAPI document as /docs shows it: without scripts, so it works offline and under the page's policy."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class OperationView:
    """One operation of the document."""

    operation_id: str
    method: str
    path: str
    summary: str
    scope: str  # empty: anybody
    request: str  # its JSON Schema as text; empty: no body
    responses: Sequence[tuple[str, str, str]]  # status, description, media types


@dataclass(frozen=True)
class TagView:
    """A dialect with its operations."""

    name: str
    description: str
    operations: Sequence[OperationView]


def list_documented_tags(document: Mapping[str, Any]) -> list[TagView]:
    """Every operation of the document, by tag."""
    found: dict[str, list[OperationView]] = {tag["name"]: [] for tag in document["tags"]}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            found[operation["tags"][0]].append(_view_operation(path, method, operation))
    return [TagView(tag["name"], tag["description"], found[tag["name"]]) for tag in document["tags"]]


def _view_operation(path: str, method: str, operation: Mapping[str, Any]) -> OperationView:
    bodies = list(operation.get("requestBody", {}).get("content", {}).values())
    security = operation.get("security")
    return OperationView(
        operation["operationId"],
        method.upper(),
        path,
        operation["summary"],
        "" if not security else " ".join(security[0]["key"]),
        json.dumps(bodies[0]["schema"], indent=2, ensure_ascii=False) if bodies else "",
        [
            (status, told["description"], ", ".join(told.get("content", {})))
            for status, told in operation["responses"].items()
        ],
    )
