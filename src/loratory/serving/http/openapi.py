"""The OpenAPI document, made from the tasks' own contracts, so that a client sees the labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from loratory.serving.engine.service_registry import Service
from loratory.serving.http.api_errors import ERROR_STATUSES
from loratory.serving.http.server import Server
from loratory.specs.generation import GenerationSpec
from loratory.specs.spec import NAME_PATTERN

Schema = Mapping[str, Any]
COMMON_ERROR_STATUSES = (401, 403, 408, 413, 421, 429, 431, 500, 503)  # what the gate may answer before any route
BODY_ERROR_STATUSES = (400, 422, 504)
NUMBER, STRING, INTEGER = {"type": "number"}, {"type": "string"}, {"type": "integer"}
OBJECT = {"type": "object"}
NULLABLE_STRING = {"type": ["string", "null"]}
SCHEMAS_PREFIX = "#/components/schemas/"
ANSWER_STATUSES = ("answered", "abstained", "invalid", "long", "late", "failed")


def _object_schema(properties: Schema, required: Sequence[str] | None = None, closed: bool = False) -> dict[str, Any]:
    made: dict[str, Any] = {"type": "object", "properties": dict(properties)}
    made["required"] = list(properties if required is None else required)
    return {**made, "additionalProperties": False} if closed else made


ERROR_FIELDS = {"code": STRING, "message": STRING}
ERROR_SCHEMA = _object_schema(
    {
        "error": _object_schema(
            {**ERROR_FIELDS, "type": STRING, "param": NULLABLE_STRING, "request_id": STRING}, closed=True
        )
    }
)
ROUTER_ERROR_SCHEMA = _object_schema(
    {"error": _object_schema({**ERROR_FIELDS, "timestamp": {**STRING, "format": "date-time"}}, closed=True)}
)
PROBABILITIES = {"type": "object", "additionalProperties": NUMBER}
REQUEST_ID_HEADER = {"X-Request-Id": {"schema": STRING, "description": "as it was sent, or made up"}}
RETRY_AFTER_HEADER = {"Retry-After": {"schema": {"type": "integer", "minimum": 1}, "description": "seconds"}}
ANSWER_FIELDS = {
    "status": {"enum": list(ANSWER_STATUSES)},
    "confidence": NUMBER,
    "served_by": {**STRING, "description": "the contender that answered"},
    "release": {**STRING, "description": "SHA-256 of the manifest of its artifact"},
    "fallback": {
        "anyOf": [{"type": "null"}, _object_schema({"from": STRING, "reason": STRING})],
        "description": "who should have answered, and why that one did not",
    },
}


TASK_SCHEMA = _object_schema(
    {
        "task": STRING,
        "kind": STRING,
        "labels": {"type": "array", "items": STRING},
        "input": {**OBJECT, "description": "the JSON Schema of an input"},
        "answer": {**OBJECT, "description": "the JSON Schema of an answer"},
        "stages": {"type": "array", "items": _object_schema({"contender": STRING, "release": STRING})},
        "deadline_ms": {"type": ["number", "null"]},
        "streams": {"type": "boolean"},
    }
)
INFO_SCHEMA = _object_schema(
    {
        "uptime_seconds": NUMBER,
        "tasks": {**OBJECT, "additionalProperties": STRING},
        "roles": {**OBJECT, "additionalProperties": STRING},
        "limits": OBJECT,
    }
)


def build_openapi(server: Server, title: str, version: str) -> dict[str, Any]:
    """OpenAPI 3.1 of the server as it is now."""
    paths: dict[str, Any] = {
        "/health/live": {
            "get": _get_operation("The process answers.", _object_schema({"status": STRING}), (), public=True)
        },
        "/health/ready": {"get": _readiness_operation()},
        "/info": {"get": _get_operation("Version, machine, tasks and limits.", INFO_SCHEMA, ())},
        "/metrics": {"get": _text_operation("Counters for Prometheus.")},
        "/v1/tasks": {"get": _get_operation("Every task.", _object_schema({"tasks": _array_schema(TASK_SCHEMA)}), ())},
        "/api/v1/classify/batch": {
            "post": _router_operation("Texts to intents, personal data, threats.", _router_batch_schema(server))
        },
        "/predict/": {
            "post": _post_operation(
                "One text to a label.",
                _object_schema({"text": _text_schema(server)}, closed=True),
                _label_schema(),
                (404,),
            )
        },
        "/v1/models": {
            "get": _get_operation(
                "Every task as a model, and the bases.", _object_schema({"data": {"type": "array"}}), ()
            )
        },
        "/v1/models/{id}": {"get": _model_operation()},
        "/v1/chat/completions": {"post": _chat_operation(server)},
        "/v1/load_lora_adapter": {
            "post": _post_operation(
                "Load or replace a task (admin).", _load_request_schema(), _load_response_schema(), ()
            )
        },
        "/v1/unload_lora_adapter": {
            "post": _post_operation("Unload a task (admin).", _unload_request_schema(), _load_response_schema(), (404,))
        },
    }
    for service in server.registry:
        paths[f"/v1/tasks/{service.name}"] = {
            "get": _get_operation("Its contract and who answers.", TASK_SCHEMA, (404,))
        }
        paths[f"/v1/tasks/{service.name}/predict"] = {"post": _predict_operation(server, service)}
        paths[f"/v1/tasks/{service.name}/generate"] = {"post": _generate_operation(server, service)}
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version},
        "paths": paths,
        "components": {
            "schemas": {
                "Error": ERROR_SCHEMA,
                "RouterError": ROUTER_ERROR_SCHEMA,
                **{
                    _answer_schema_name(one): _relocate_references(
                        one.task.contract(), f"{SCHEMAS_PREFIX}{_answer_schema_name(one)}"
                    )
                    for one in server.registry
                },
            },
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        **({"security": [{"key": []}]} if server.keys else {}),
    }


def _json_content(schema: Schema) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": schema}}}


def _array_schema(schema: Schema) -> dict[str, Any]:
    return {"type": "array", "items": dict(schema)}


def _answer_schema_name(service: Service) -> str:
    """Where the schema of its answers stands among the document's schemas."""
    return f"{service.name}.answer"


def _relocate_references(schema: Any, prefix: str) -> Any:
    """A schema that stands at another place of the document, its own references with it."""
    if isinstance(schema, Mapping):
        own = {key: value for key, value in schema.items() if key not in ("$id", "$schema") or not _is_text(value)}
        reference = own.get("$ref")
        if _is_text(reference) and reference.startswith("#"):
            own["$ref"] = prefix + reference[1:]
        return {key: value if key == "$ref" else _relocate_references(value, prefix) for key, value in own.items()}
    return [_relocate_references(one, prefix) for one in schema] if isinstance(schema, (list, tuple)) else schema


def _is_text(value: Any) -> TypeGuard[str]:
    return isinstance(value, str)


def _error_responses(statuses: Sequence[int], name: str = "Error") -> dict[str, Any]:
    named = {status: code for code, status in ERROR_STATUSES.items()}
    wrong = {"$ref": f"{SCHEMAS_PREFIX}{name}"}
    return {
        str(status): {
            "description": named[status].replace("_", " "),
            "headers": {**REQUEST_ID_HEADER, **(RETRY_AFTER_HEADER if status in (429, 503) else {})},
            **_json_content(wrong),
        }
        for status in sorted(set(statuses))
    }


def _get_operation(summary: str, schema: Schema, statuses: Sequence[int], public: bool = False) -> dict[str, Any]:
    found = {"description": "an answer", "headers": REQUEST_ID_HEADER, **_json_content(schema)}
    made = {"200": found, **_error_responses((*COMMON_ERROR_STATUSES, *statuses))}
    return {"summary": summary, "responses": made, **({"security": []} if public else {})}


def _readiness_operation() -> dict[str, Any]:
    """Its 503 says that the server is leaving, and is no error."""
    made = _get_operation("It takes requests.", _object_schema({"status": STRING}), (), public=True)
    leaving = {**made["responses"]["200"], "description": "it is leaving"}
    return {**made, "responses": {**made["responses"], "503": leaving}}


def _text_operation(summary: str) -> dict[str, Any]:
    made = {
        "200": {"description": "text", "content": {"text/plain": {"schema": STRING}}},
        **_error_responses(COMMON_ERROR_STATUSES),
    }
    return {"summary": summary, "responses": made}


def _post_operation(
    summary: str, request_schema: Schema, response_schema: Schema, statuses: Sequence[int]
) -> dict[str, Any]:
    return {
        **_get_operation(summary, response_schema, (*BODY_ERROR_STATUSES, *statuses)),
        "requestBody": {"required": True, **_json_content(request_schema)},
    }


def _router_operation(summary: str, request_schema: Schema) -> dict[str, Any]:
    """The router's interface, whose errors have a form of their own."""
    made = _post_operation(summary, request_schema, _router_result_schema(), ())
    errors = _error_responses((*COMMON_ERROR_STATUSES, 400, 503, 504), "RouterError")
    return {**made, "responses": {"200": made["responses"]["200"], **errors}}


def _predict_operation(server: Server, service: Service) -> dict[str, Any]:
    task = service.task
    inputs = {
        "type": "array",
        "minItems": 1,
        "maxItems": server.spec.limits.texts,
        "items": input_schema(server, service),
    }
    asked = _object_schema(
        {"inputs": inputs, "probabilities": {"type": "boolean", "default": True}}, ["inputs"], closed=True
    )
    one = _object_schema(
        {
            "answer": {"anyOf": [{"$ref": f"{SCHEMAS_PREFIX}{_answer_schema_name(service)}"}, {"type": "null"}]},
            **ANSWER_FIELDS,
            "probabilities": {**OBJECT, "additionalProperties": PROBABILITIES},
        },
        ["answer", *ANSWER_FIELDS],
    )
    made = _object_schema({"task": {"const": service.name}, "predictions": _array_schema(one), "milliseconds": NUMBER})
    return _post_operation(f"Answers of {service.name} ({task.kind}).", asked, made, (404,))


def input_schema(server: Server, service: Service) -> Schema:
    """The schema of an input, with the server's own bound on texts."""
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


def _text_schema(server: Server) -> Schema:
    return {"type": "string", "minLength": 1, "maxLength": server.spec.limits.characters}


def _router_batch_schema(server: Server) -> Schema:
    texts = {"type": "array", "minItems": 1, "maxItems": server.spec.limits.texts, "items": _text_schema(server)}
    options = {
        "return_probabilities": {"type": "boolean"},
        "confidence_threshold": {**NUMBER, "minimum": 0, "maximum": 1},
        "include_explanation": {"type": "boolean"},
    }
    kind = {"enum": ["", "intent", "pii", "security", "all"]}
    return _object_schema(
        {"texts": texts, "task_type": kind, "options": _object_schema(options, [], closed=True)}, ["texts"], closed=True
    )


def _router_result_schema() -> Schema:
    one = {
        "category": STRING,
        "confidence": NUMBER,
        "processing_time_ms": NUMBER,
        "status": STRING,
        "served_by": STRING,
    }
    row = _object_schema({**one, "probabilities": PROBABILITIES, "explanation": STRING}, list(one), closed=True)
    counts = {
        "category_distribution": {**OBJECT, "additionalProperties": INTEGER},
        "avg_confidence": NUMBER,
        "low_confidence_count": INTEGER,
    }
    counted = {"total_count": INTEGER, "processing_time_ms": NUMBER}
    kinds = ("intent", "pii", "security")  # with task_type all: one of each
    each = _object_schema(dict.fromkeys(kinds, row), closed=True)
    statistics = {
        "anyOf": [
            _object_schema(counts, closed=True),
            _object_schema(dict.fromkeys(kinds, _object_schema(counts)), closed=True),
        ]
    }
    return _object_schema(
        {"results": _array_schema({"anyOf": [row, each]}), "statistics": statistics, **counted}, closed=True
    )


def _label_schema() -> Schema:
    return _object_schema({"label": NULLABLE_STRING, **ANSWER_FIELDS})


def _load_request_schema() -> Schema:
    return _object_schema(
        {"lora_name": {**STRING, "pattern": f"^{NAME_PATTERN.pattern}$"}, "lora_path": {**STRING, "minLength": 1}},
        closed=True,
    )


def _unload_request_schema() -> Schema:
    return _object_schema({"lora_name": {**STRING, "minLength": 1}}, closed=True)


def _load_response_schema() -> Schema:
    return _object_schema({"task": STRING, "release": STRING, "status": STRING})


MESSAGES = {"type": "array", "minItems": 1, "items": {"type": "object"}}
USAGE_SCHEMA = _object_schema(
    {name: {"type": "integer"} for name in ("prompt_tokens", "completion_tokens", "total_tokens")}
)


def _add_event_stream(posted: dict[str, Any]) -> dict[str, Any]:
    """With the events of a stream beside the whole answer."""
    posted["responses"]["200"]["content"]["text/event-stream"] = {"schema": _object_schema({"data": STRING})}
    return posted


def _generate_operation(server: Server, service: Service) -> dict[str, Any]:
    """Exactly one of prompt, messages and input; the other bounds of parameters stand in `writing:` of a spec."""
    parameters = dict(GenerationSpec.model_json_schema()["properties"])
    parameters["stop"] = {"anyOf": [STRING, {"type": "array", "items": STRING}]}
    asked = {
        "prompt": _text_schema(server),
        "messages": MESSAGES,
        "input": input_schema(server, service),
        "parameters": _object_schema(parameters, [], closed=True),
        "stream": {"type": "boolean", "default": False},
    }
    ways = [{"required": [name]} for name in ("prompt", "messages", "input")]
    answer = {"anyOf": [dict(service.task.contract()), {"type": "null"}]}
    made = {
        "task": STRING,
        "answer": answer,
        "text": STRING,
        "finish_reason": STRING,
        **ANSWER_FIELDS,
        "usage": USAGE_SCHEMA,
    }
    needed = ["task", "answer", "text", *ANSWER_FIELDS, "usage", "milliseconds"]
    return _add_event_stream(
        _post_operation(
            f"An answer of {service.name} in writing, whole or piece by piece.",
            {**_object_schema(asked, [], closed=True), "oneOf": ways},
            _object_schema({**made, "milliseconds": NUMBER}, needed),
            (404,),
        )
    )


def _model_operation() -> dict[str, Any]:
    place = {"name": "id", "in": "path", "required": True, "schema": STRING}
    return {**_get_operation("One of them.", _object_schema({"id": STRING}), (404,)), "parameters": [place]}


def _chat_operation(server: Server) -> dict[str, Any]:
    """As OpenAI's clients send it; what is not done here is refused by name."""
    names = {"enum": [service.name for service in server.registry]}
    asked = {"model": names if names["enum"] else STRING, "messages": MESSAGES, "stream": {"type": "boolean"}}
    made = {"id": STRING, "object": STRING, "created": {"type": "integer"}, "model": STRING}
    answered = _object_schema({**made, "choices": {"type": "array"}, "usage": USAGE_SCHEMA})
    return _add_event_stream(
        _post_operation(
            "A conversation to its next message.", _object_schema(asked, ["model", "messages"]), answered, (404,)
        )
    )
