"""Tasks by name, typed by their contracts: list, describe, predict."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from loratory.protocols import Schema
from loratory.protocols.routes import BODY_ERRORS, ApiError, RequestContext, ResponseSpec, Route
from loratory.serving.engine.fallback_chain import describe_service
from loratory.serving.engine.service_registry import Service
from loratory.serving.http.routes.json_bodies import json_response, parse_body
from loratory.serving.http.schemas import (
    ANSWER_FIELDS,
    BOOLEAN,
    NUMBER,
    OBJECT,
    PROBABILITIES,
    STRING,
    answer_reference,
    array_schema,
    inputs_schema,
    object_schema,
    text_schema,
)
from loratory.serving.http.server import Server

TASK_SCHEMA = object_schema(
    {
        "task": STRING,
        "kind": STRING,
        "labels": array_schema(STRING),
        "input": {**OBJECT, "description": "the JSON Schema of an input"},
        "answer": {**OBJECT, "description": "the JSON Schema of an answer"},
        "stages": array_schema(object_schema({"contender": STRING, "release": STRING})),
        "deadline_ms": {"type": ["number", "null"]},
        "streams": BOOLEAN,
    }
)
SHOWN_PROBABILITIES = {"type": "object", "additionalProperties": PROBABILITIES}
ASKED_PROBABILITIES = {"type": "boolean", "default": True}


def list_predict_routes(server: Server) -> Sequence[Route]:
    """GET /v1/tasks, GET /v1/tasks/{task}, POST /v1/tasks/{task}/predict, POST /v1/predict."""

    async def list_tasks() -> Response:
        return json_response({"tasks": [describe_service(service) for service in server.registry]})

    async def get_task(task: str) -> Response:
        return json_response(describe_service(server.get_service(task)))

    async def predict(task: str, request: Request, context: RequestContext) -> Response:
        started = time.perf_counter()
        service = server.get_service(task)
        body = parse_body(await request.body(), {"inputs": list, "probabilities": bool})
        inputs = server.validate_inputs(service, body.get("inputs", []))
        found = await server.answer(service, inputs, context)
        shown = body.get("probabilities", True)
        made: dict[str, Any] = {
            "task": service.name,
            "predictions": [one.to_json(shown) for one in found],
            "milliseconds": round((time.perf_counter() - started) * 1000, 3),
        }
        return json_response(made)

    async def predict_several(request: Request, context: RequestContext) -> Response:
        """Several tasks on the same inputs: what they share of a text is computed once."""
        started = time.perf_counter()
        body = parse_body(await request.body(), {"tasks": list, "inputs": list, "probabilities": bool})
        names = body.get("tasks") or []
        if not names or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
            raise ApiError("invalid_input", "name each task once", where="tasks")
        services = [server.get_service(name) for name in names]
        inputs = [server.validate_inputs(service, body.get("inputs", [])) for service in services]
        found = await server.answer_all(list(zip(services, inputs, strict=True)), context)
        shown = body.get("probabilities", True)
        made = {name: [one.to_json(shown) for one in each] for name, each in zip(names, found, strict=True)}
        return json_response({"predictions": made, "milliseconds": round((time.perf_counter() - started) * 1000, 3)})

    return [
        Route(
            "GET",
            "/v1/tasks",
            "list_tasks",
            "Every task.",
            list_tasks,
            {200: ResponseSpec(object_schema({"tasks": array_schema(TASK_SCHEMA)}))},
        ),
        Route(
            "GET",
            "/v1/tasks/{task}",
            "get_task",
            "Its contract and who answers.",
            get_task,
            {200: ResponseSpec(TASK_SCHEMA)},
            errors=frozenset({404}),
            task_parameter="task",
        ),
        Route(
            "POST",
            "/v1/tasks/{task}/predict",
            "predict",
            "Answers to inputs.",
            predict,
            {200: ResponseSpec(_response_schema)},
            _request_schema,
            errors=BODY_ERRORS | {404},
            task_parameter="task",
            select_services=server.services_named,
        ),
        Route(
            "POST",
            "/v1/predict",
            "predict_several",
            "Answers of several tasks to the same inputs.",
            predict_several,
            {200: ResponseSpec(_several_response_schema)},
            _several_request_schema,
            errors=BODY_ERRORS | {404},
            select_services=server.list_services,
        ),
    ]


def _answer_schema(answer: Schema) -> dict[str, Any]:
    return object_schema(
        {"answer": answer, **ANSWER_FIELDS, "probabilities": SHOWN_PROBABILITIES}, ["answer", *ANSWER_FIELDS]
    )


def _request_schema(server: Server, service: Service) -> dict[str, Any]:
    asked = {"inputs": inputs_schema(server, service), "probabilities": ASKED_PROBABILITIES}
    return object_schema(asked, ["inputs"], closed=True)


def _response_schema(server: Server, service: Service) -> dict[str, Any]:
    predictions = array_schema(_answer_schema(answer_reference(service)))
    return object_schema({"task": {"const": service.name}, "predictions": predictions, "milliseconds": NUMBER})


def _several_request_schema(server: Server, service: Service | None) -> dict[str, Any]:
    """Inputs of which all the tasks can make something: their own schemas stand at their own paths."""
    one = {"anyOf": [text_schema(server), OBJECT]}
    names = [service.name for service in server.registry]
    asked = {
        "tasks": {
            **array_schema({"type": "string", "enum": names} if names else STRING, minItems=1),
            "uniqueItems": True,
        },
        "inputs": array_schema(one, minItems=1, maxItems=server.spec.limits.texts),
        "probabilities": ASKED_PROBABILITIES,
    }
    return object_schema(asked, ["tasks", "inputs"], closed=True)


def _several_response_schema(server: Server, service: Service | None) -> dict[str, Any]:
    each = {one.name: array_schema(_answer_schema(answer_reference(one))) for one in server.registry}
    return object_schema({"predictions": object_schema(each, [], closed=True), "milliseconds": NUMBER})
