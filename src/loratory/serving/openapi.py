"""The OpenAPI document, made from the tasks' own contracts, so that a client sees the labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from loratory.serving.refusals import STATUS
from loratory.serving.server import Server
from loratory.serving.services import Service
from loratory.specs.writing import WritingSpec

Schema = Mapping[str, Any]
EVERYWHERE = (401, 403, 421, 429, 500)  # what the gate may answer before any route
WITH_BODY = (400, 408, 413, 422, 503, 504)
NUMBER, STRING = {"type": "number"}, {"type": "string"}
NULLABLE = {"type": ["string", "null"]}
STATUSES = ("answered", "abstained", "invalid", "long", "late", "failed")


def _object(properties: Schema, required: Sequence[str] | None = None, closed: bool = False) -> dict[str, Any]:
    made: dict[str, Any] = {"type": "object", "properties": dict(properties)}
    made["required"] = list(properties if required is None else required)
    return {**made, "additionalProperties": False} if closed else made


ERROR = _object({"error": _object({"code": STRING, "message": STRING})})
ODDS = {"type": "object", "additionalProperties": NUMBER}
SERVED = {
    "status": {"enum": list(STATUSES)},
    "confidence": NUMBER,
    "served_by": {**STRING, "description": "the contender that answered"},
    "release": {**STRING, "description": "SHA-256 of the manifest of its artifact"},
    "fallback": {
        "anyOf": [{"type": "null"}, _object({"from": STRING, "why": STRING})],
        "description": "who should have answered, and why that one did not",
    },
}


def document(server: Server, title: str, version: str) -> dict[str, Any]:
    """OpenAPI 3.1 of the server as it is now."""
    paths: dict[str, Any] = {
        "/health/live": {"get": _answer("The process answers.", _object({"status": STRING}), (), public=True)},
        "/health/ready": {"get": _answer("It takes requests.", _object({"status": STRING}), (503,), public=True)},
        "/info": {"get": _answer("Version, machine, tasks and limits.", {"type": "object"}, ())},
        "/metrics": {"get": _text("Counters for Prometheus.")},
        "/v1/tasks": {"get": _answer("Every task.", _object({"tasks": {"type": "array"}}), ())},
        "/api/v1/classify/batch": {
            "post": _posted("Texts to intents, personal data, threats.", _batch(server), _result())
        },
        "/predict/": {
            "post": _posted("One text to a label.", _object({"text": _text_of(server)}, closed=True), _label())
        },
        "/v1/models": {
            "get": _answer("Every task as a model, and the bases.", _object({"data": {"type": "array"}}), ())
        },
        "/v1/models/{id}": {"get": _one_model()},
        "/v1/chat/completions": {"post": _chat(server)},
        "/v1/load_lora_adapter": {"post": _posted("Load or replace a task (admin).", _loading(), _changed(), (404,))},
        "/v1/unload_lora_adapter": {"post": _posted("Unload a task (admin).", _unloading(), _changed(), (404,))},
    }
    for service in server.board:
        paths[f"/v1/tasks/{service.name}"] = {
            "get": _answer("Its contract and who answers.", {"type": "object"}, (404,))
        }
        paths[f"/v1/tasks/{service.name}/predict"] = {"post": _predict(server, service)}
        paths[f"/v1/tasks/{service.name}/generate"] = {"post": _generate(server, service)}
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version},
        "paths": paths,
        "components": {
            "schemas": {"Error": ERROR},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        **({"security": [{"key": []}]} if server.keys else {}),
    }


def _json(schema: Schema) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": schema}}}


def _errors(statuses: Sequence[int]) -> dict[str, Any]:
    named = {status: code for code, status in STATUS.items()}
    wrong = {"$ref": "#/components/schemas/Error"}
    return {
        str(status): {"description": named[status].replace("_", " "), **_json(wrong)}
        for status in sorted(set(statuses))
    }


def _answer(summary: str, schema: Schema, statuses: Sequence[int], public: bool = False) -> dict[str, Any]:
    made = {"200": {"description": "an answer", **_json(schema)}, **_errors((*EVERYWHERE, *statuses))}
    return {"summary": summary, "responses": made, **({"security": []} if public else {})}


def _text(summary: str) -> dict[str, Any]:
    made = {"200": {"description": "text", "content": {"text/plain": {"schema": STRING}}}, **_errors(EVERYWHERE)}
    return {"summary": summary, "responses": made}


def _posted(summary: str, asked: Schema, answered: Schema, statuses: Sequence[int] = (404,)) -> dict[str, Any]:
    return {
        **_answer(summary, answered, (*WITH_BODY, *statuses)),
        "requestBody": {"required": True, **_json(asked)},
    }


def _predict(server: Server, service: Service) -> dict[str, Any]:
    task = service.task
    inputs = {"type": "array", "minItems": 1, "maxItems": server.spec.limits.texts, "items": input_of(server, service)}
    asked = _object({"inputs": inputs, "probabilities": {"type": "boolean", "default": True}}, ["inputs"], closed=True)
    one = _object(
        {"answer": {"anyOf": [dict(task.contract()), {"type": "null"}]}, **SERVED, "probabilities": {"type": "object"}},
        ["answer", *SERVED],
    )
    made = _object({"task": STRING, "predictions": {"type": "array", "items": one}, "milliseconds": NUMBER})
    return _posted(f"Answers of {service.name} ({task.kind}).", asked, made)


def input_of(server: Server, service: Service) -> Schema:
    """The schema of an input, with the server's own bound on texts."""
    question = dict(service.task.question())
    own = {
        name: {**schema, "maxLength": server.spec.limits.characters} if schema.get("type") == "string" else schema
        for name, schema in question.get("properties", {}).items()
    }
    return {**question, "properties": own}


def _text_of(server: Server) -> Schema:
    return {"type": "string", "minLength": 1, "maxLength": server.spec.limits.characters}


def _batch(server: Server) -> Schema:
    texts = {"type": "array", "minItems": 1, "maxItems": server.spec.limits.texts, "items": _text_of(server)}
    options = {
        "return_probabilities": {"type": "boolean"},
        "confidence_threshold": NUMBER,
        "include_explanation": {"type": "boolean"},
    }
    kind = {"enum": ["", "intent", "pii", "security", "all"]}
    return _object(
        {"texts": texts, "task_type": kind, "options": _object(options, [], closed=True)}, ["texts"], closed=True
    )


def _result() -> Schema:
    statistics = {"type": "object"}
    counted = {"total_count": {"type": "integer"}, "processing_time_ms": NUMBER}
    return _object({"results": {"type": "array"}, "statistics": statistics, **counted})


def _label() -> Schema:
    return _object({"label": NULLABLE, **SERVED})


def _loading() -> Schema:
    return _object({"lora_name": {**STRING, "minLength": 1}, "lora_path": {**STRING, "minLength": 1}}, closed=True)


def _unloading() -> Schema:
    return _object({"lora_name": {**STRING, "minLength": 1}}, closed=True)


def _changed() -> Schema:
    return _object({"task": STRING, "release": STRING, "status": STRING})


TURNS = {"type": "array", "minItems": 1, "items": {"type": "object"}}
USAGE = _object({name: {"type": "integer"} for name in ("prompt_tokens", "completion_tokens", "total_tokens")})


def _streamed(posted: dict[str, Any]) -> dict[str, Any]:
    """With the events of a stream beside the whole answer."""
    posted["responses"]["200"]["content"]["text/event-stream"] = {"schema": STRING}
    return posted


def _generate(server: Server, service: Service) -> dict[str, Any]:
    """Exactly one of prompt, messages and input; the other bounds of parameters stand in `writing:` of a spec."""
    parameters = dict(WritingSpec.model_json_schema()["properties"])
    parameters["stop"] = {"anyOf": [STRING, {"type": "array", "items": STRING}]}
    asked = {
        "prompt": _text_of(server),
        "messages": TURNS,
        "input": input_of(server, service),
        "parameters": _object(parameters, [], closed=True),
        "stream": {"type": "boolean", "default": False},
    }
    ways = [{"required": [name]} for name in ("prompt", "messages", "input")]
    answer = {"anyOf": [dict(service.task.contract()), {"type": "null"}]}
    made = {"task": STRING, "answer": answer, "text": STRING, "finish": STRING, **SERVED, "usage": USAGE}
    needed = ["task", "answer", "text", *SERVED, "usage", "milliseconds"]
    return _streamed(
        _posted(
            f"An answer of {service.name} in writing, whole or piece by piece.",
            {**_object(asked, [], closed=True), "oneOf": ways},
            _object({**made, "milliseconds": NUMBER}, needed),
        )
    )


def _one_model() -> dict[str, Any]:
    place = {"name": "id", "in": "path", "required": True, "schema": STRING}
    return {**_answer("One of them.", _object({"id": STRING}), (404,)), "parameters": [place]}


def _chat(server: Server) -> dict[str, Any]:
    """As OpenAI's clients send it; what is not done here is refused by name."""
    names = {"enum": [service.name for service in server.board]}
    asked = {"model": names if names["enum"] else STRING, "messages": TURNS, "stream": {"type": "boolean"}}
    made = {"id": STRING, "object": STRING, "created": {"type": "integer"}, "model": STRING}
    answered = _object({**made, "choices": {"type": "array"}, "usage": USAGE})
    return _streamed(_posted("A conversation to its next message.", _object(asked, ["model", "messages"]), answered))
