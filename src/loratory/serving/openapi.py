"""The OpenAPI document, made from the tasks' own contracts, so that a client sees the labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from loratory.serving.refusals import STATUS
from loratory.serving.server import Server
from loratory.serving.services import Service
from loratory.specs.frame import NAME
from loratory.specs.writing import WritingSpec

Schema = Mapping[str, Any]
EVERYWHERE = (401, 403, 408, 413, 421, 429, 431, 500, 503)  # what the gate may answer before any route
WITH_BODY = (400, 422, 504)
NUMBER, STRING, WHOLE = {"type": "number"}, {"type": "string"}, {"type": "integer"}
OBJECT = {"type": "object"}
NULLABLE = {"type": ["string", "null"]}
PLACE = "#/components/schemas/"
STATUSES = ("answered", "abstained", "invalid", "long", "late", "failed")


def _object(properties: Schema, required: Sequence[str] | None = None, closed: bool = False) -> dict[str, Any]:
    made: dict[str, Any] = {"type": "object", "properties": dict(properties)}
    made["required"] = list(properties if required is None else required)
    return {**made, "additionalProperties": False} if closed else made


SAID = {"code": STRING, "message": STRING}
ERROR = _object({"error": _object({**SAID, "type": STRING, "param": NULLABLE, "request_id": STRING}, closed=True)})
ROUTERS = _object({"error": _object({**SAID, "timestamp": {**STRING, "format": "date-time"}}, closed=True)})
ODDS = {"type": "object", "additionalProperties": NUMBER}
REQUEST_ID = {"X-Request-Id": {"schema": STRING, "description": "as it was sent, or made up"}}
AFTER = {"Retry-After": {"schema": {"type": "integer", "minimum": 1}, "description": "seconds"}}
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


TASK = _object(
    {
        "task": STRING,
        "kind": STRING,
        "labels": {"type": "array", "items": STRING},
        "input": {**OBJECT, "description": "the JSON Schema of an input"},
        "answer": {**OBJECT, "description": "the JSON Schema of an answer"},
        "stages": {"type": "array", "items": _object({"contender": STRING, "release": STRING})},
        "deadline_ms": {"type": ["number", "null"]},
        "streams": {"type": "boolean"},
    }
)
INFO = _object(
    {
        "uptime_seconds": NUMBER,
        "tasks": {**OBJECT, "additionalProperties": STRING},
        "roles": {**OBJECT, "additionalProperties": STRING},
        "limits": OBJECT,
    }
)


def document(server: Server, title: str, version: str) -> dict[str, Any]:
    """OpenAPI 3.1 of the server as it is now."""
    paths: dict[str, Any] = {
        "/health/live": {"get": _answer("The process answers.", _object({"status": STRING}), (), public=True)},
        "/health/ready": {"get": _ready()},
        "/info": {"get": _answer("Version, machine, tasks and limits.", INFO, ())},
        "/metrics": {"get": _text("Counters for Prometheus.")},
        "/v1/tasks": {"get": _answer("Every task.", _object({"tasks": _list(TASK)}), ())},
        "/api/v1/classify/batch": {"post": _routed("Texts to intents, personal data, threats.", _batch(server))},
        "/predict/": {
            "post": _posted("One text to a label.", _object({"text": _text_of(server)}, closed=True), _label(), (404,))
        },
        "/v1/models": {
            "get": _answer("Every task as a model, and the bases.", _object({"data": {"type": "array"}}), ())
        },
        "/v1/models/{id}": {"get": _one_model()},
        "/v1/chat/completions": {"post": _chat(server)},
        "/v1/load_lora_adapter": {"post": _posted("Load or replace a task (admin).", _loading(), _changed(), ())},
        "/v1/unload_lora_adapter": {"post": _posted("Unload a task (admin).", _unloading(), _changed(), (404,))},
    }
    for service in server.board:
        paths[f"/v1/tasks/{service.name}"] = {"get": _answer("Its contract and who answers.", TASK, (404,))}
        paths[f"/v1/tasks/{service.name}/predict"] = {"post": _predict(server, service)}
        paths[f"/v1/tasks/{service.name}/generate"] = {"post": _generate(server, service)}
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version},
        "paths": paths,
        "components": {
            "schemas": {
                "Error": ERROR,
                "RouterError": ROUTERS,
                **{_named(one): _moved(one.task.contract(), f"{PLACE}{_named(one)}") for one in server.board},
            },
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        **({"security": [{"key": []}]} if server.keys else {}),
    }


def _json(schema: Schema) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": schema}}}


def _list(schema: Schema) -> dict[str, Any]:
    return {"type": "array", "items": dict(schema)}


def _named(service: Service) -> str:
    """Where the schema of its answers stands among the document's schemas."""
    return f"{service.name}.answer"


def _moved(schema: Any, place: str) -> Any:
    """A schema that stands at another place of the document, its own references with it."""
    if isinstance(schema, Mapping):
        own = {key: value for key, value in schema.items() if key not in ("$id", "$schema") or not _is_text(value)}
        reference = own.get("$ref")
        if _is_text(reference) and reference.startswith("#"):
            own["$ref"] = place + reference[1:]
        return {key: value if key == "$ref" else _moved(value, place) for key, value in own.items()}
    return [_moved(one, place) for one in schema] if isinstance(schema, (list, tuple)) else schema


def _is_text(value: Any) -> TypeGuard[str]:
    return isinstance(value, str)


def _errors(statuses: Sequence[int], name: str = "Error") -> dict[str, Any]:
    named = {status: code for code, status in STATUS.items()}
    wrong = {"$ref": f"{PLACE}{name}"}
    return {
        str(status): {
            "description": named[status].replace("_", " "),
            "headers": {**REQUEST_ID, **(AFTER if status in (429, 503) else {})},
            **_json(wrong),
        }
        for status in sorted(set(statuses))
    }


def _answer(summary: str, schema: Schema, statuses: Sequence[int], public: bool = False) -> dict[str, Any]:
    found = {"description": "an answer", "headers": REQUEST_ID, **_json(schema)}
    made = {"200": found, **_errors((*EVERYWHERE, *statuses))}
    return {"summary": summary, "responses": made, **({"security": []} if public else {})}


def _ready() -> dict[str, Any]:
    """Its 503 says that the server is leaving, and is no error."""
    made = _answer("It takes requests.", _object({"status": STRING}), (), public=True)
    leaving = {**made["responses"]["200"], "description": "it is leaving"}
    return {**made, "responses": {**made["responses"], "503": leaving}}


def _text(summary: str) -> dict[str, Any]:
    made = {"200": {"description": "text", "content": {"text/plain": {"schema": STRING}}}, **_errors(EVERYWHERE)}
    return {"summary": summary, "responses": made}


def _posted(summary: str, asked: Schema, answered: Schema, statuses: Sequence[int]) -> dict[str, Any]:
    return {
        **_answer(summary, answered, (*WITH_BODY, *statuses)),
        "requestBody": {"required": True, **_json(asked)},
    }


def _routed(summary: str, asked: Schema) -> dict[str, Any]:
    """The router's interface, whose errors have a form of their own."""
    made = _posted(summary, asked, _result(), ())
    errors = _errors((*EVERYWHERE, 400, 503, 504), "RouterError")
    return {**made, "responses": {"200": made["responses"]["200"], **errors}}


def _predict(server: Server, service: Service) -> dict[str, Any]:
    task = service.task
    inputs = {"type": "array", "minItems": 1, "maxItems": server.spec.limits.texts, "items": input_of(server, service)}
    asked = _object({"inputs": inputs, "probabilities": {"type": "boolean", "default": True}}, ["inputs"], closed=True)
    one = _object(
        {
            "answer": {"anyOf": [{"$ref": f"{PLACE}{_named(service)}"}, {"type": "null"}]},
            **SERVED,
            "probabilities": {**OBJECT, "additionalProperties": ODDS},
        },
        ["answer", *SERVED],
    )
    made = _object({"task": {"const": service.name}, "predictions": _list(one), "milliseconds": NUMBER})
    return _posted(f"Answers of {service.name} ({task.kind}).", asked, made, (404,))


def input_of(server: Server, service: Service) -> Schema:
    """The schema of an input, with the server's own bound on texts."""
    question = dict(service.task.question())
    most = server.spec.limits.characters
    own = {
        name: {**schema, "maxLength": min(most, schema.get("maxLength", most))}
        if schema.get("type") == "string"
        else schema
        for name, schema in question.get("properties", {}).items()
    }
    whole = {**question, "properties": own, "additionalProperties": False}
    text = service.reading.question.text
    return {"anyOf": [own[text], whole]} if text else whole


def _text_of(server: Server) -> Schema:
    return {"type": "string", "minLength": 1, "maxLength": server.spec.limits.characters}


def _batch(server: Server) -> Schema:
    texts = {"type": "array", "minItems": 1, "maxItems": server.spec.limits.texts, "items": _text_of(server)}
    options = {
        "return_probabilities": {"type": "boolean"},
        "confidence_threshold": {**NUMBER, "minimum": 0, "maximum": 1},
        "include_explanation": {"type": "boolean"},
    }
    kind = {"enum": ["", "intent", "pii", "security", "all"]}
    return _object(
        {"texts": texts, "task_type": kind, "options": _object(options, [], closed=True)}, ["texts"], closed=True
    )


def _result() -> Schema:
    one = {
        "category": STRING,
        "confidence": NUMBER,
        "processing_time_ms": NUMBER,
        "status": STRING,
        "served_by": STRING,
    }
    row = _object({**one, "probabilities": ODDS, "explanation": STRING}, list(one), closed=True)
    counts = {
        "category_distribution": {**OBJECT, "additionalProperties": WHOLE},
        "avg_confidence": NUMBER,
        "low_confidence_count": WHOLE,
    }
    counted = {"total_count": WHOLE, "processing_time_ms": NUMBER}
    kinds = ("intent", "pii", "security")  # with task_type all: one of each
    each = _object(dict.fromkeys(kinds, row), closed=True)
    statistics = {"anyOf": [_object(counts, closed=True), _object(dict.fromkeys(kinds, _object(counts)), closed=True)]}
    return _object({"results": _list({"anyOf": [row, each]}), "statistics": statistics, **counted}, closed=True)


def _label() -> Schema:
    return _object({"label": NULLABLE, **SERVED})


def _loading() -> Schema:
    return _object(
        {"lora_name": {**STRING, "pattern": f"^{NAME.pattern}$"}, "lora_path": {**STRING, "minLength": 1}}, closed=True
    )


def _unloading() -> Schema:
    return _object({"lora_name": {**STRING, "minLength": 1}}, closed=True)


def _changed() -> Schema:
    return _object({"task": STRING, "release": STRING, "status": STRING})


TURNS = {"type": "array", "minItems": 1, "items": {"type": "object"}}
USAGE = _object({name: {"type": "integer"} for name in ("prompt_tokens", "completion_tokens", "total_tokens")})


def _streamed(posted: dict[str, Any]) -> dict[str, Any]:
    """With the events of a stream beside the whole answer."""
    posted["responses"]["200"]["content"]["text/event-stream"] = {"schema": _object({"data": STRING})}
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
            (404,),
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
    return _streamed(
        _posted("A conversation to its next message.", _object(asked, ["model", "messages"]), answered, (404,))
    )
