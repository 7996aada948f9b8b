"""Pieces of JSON Schema that several routes declare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from loratory.protocols import Schema

if TYPE_CHECKING:
    from loratory.serving.engine.service_registry import Service
    from loratory.serving.http.server import Server

NUMBER: Schema = {"type": "number"}
STRING: Schema = {"type": "string"}
INTEGER: Schema = {"type": "integer"}
BOOLEAN: Schema = {"type": "boolean"}
OBJECT: Schema = {"type": "object"}
NULLABLE_STRING: Schema = {"type": ["string", "null"]}
COMPONENTS_PREFIX = "#/components/schemas/"
ANSWER_STATUSES = ("answered", "abstained", "invalid", "long", "late", "failed")
PROBABILITIES: Schema = {"type": "object", "additionalProperties": NUMBER}


def object_schema(properties: Schema, required: Sequence[str] | None = None, closed: bool = False) -> dict[str, Any]:
    """An object; `required` left out: all of its properties. `closed`: with no others."""
    made: dict[str, Any] = {"type": "object", "properties": dict(properties)}
    made["required"] = list(properties if required is None else required)
    return {**made, "additionalProperties": False} if closed else made


def array_schema(items: Schema, **bounds: int) -> dict[str, Any]:
    """A list of `items`."""
    return {"type": "array", "items": dict(items), **bounds}


ANSWER_FIELDS: Mapping[str, Any] = {
    "status": {"type": "string", "enum": list(ANSWER_STATUSES)},
    "confidence": NUMBER,
    "served_by": {**STRING, "description": "the contender that answered"},
    "release": {**STRING, "description": "SHA-256 of the manifest of its artifact"},
    "fallback": {
        "anyOf": [{"type": "null"}, object_schema({"from": STRING, "reason": STRING})],
        "description": "who should have answered, and why that one did not",
    },
}
USAGE_SCHEMA: Schema = object_schema(dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens"), INTEGER))
MESSAGES_SCHEMA: Schema = array_schema(OBJECT, minItems=1)


def answer_schema_name(service: Service) -> str:
    """Where the contract of a task stands among the document's schemas."""
    return f"{service.name}.answer"


def answer_reference(service: Service) -> dict[str, Any]:
    """The task's contract, or null."""
    return {"anyOf": [{"$ref": f"{COMPONENTS_PREFIX}{answer_schema_name(service)}"}, {"type": "null"}]}


def text_schema(server: Server) -> dict[str, Any]:
    """A text within the server's limits."""
    return {"type": "string", "minLength": 1, "maxLength": server.spec.limits.characters}


def input_schema(server: Server, service: Service) -> dict[str, Any]:
    """An input of the task within the server's bound on texts; where the task has a text field, the text alone too."""
    question = dict(service.task.input_schema())
    most = server.spec.limits.characters
    own = {
        name: {**schema, "maxLength": min(most, schema.get("maxLength", most))}
        if schema.get("type") == "string"
        else schema
        for name, schema in question.get("properties", {}).items()
    }
    whole = {**question, "properties": own, "additionalProperties": False}
    text = service.input_validator.question.text_field
    return {"anyOf": [own[text], whole]} if text else whole


def inputs_schema(server: Server, service: Service) -> dict[str, Any]:
    """A batch of inputs."""
    return array_schema(input_schema(server, service), minItems=1, maxItems=server.spec.limits.texts)
