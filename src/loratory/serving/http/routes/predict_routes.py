"""Our own interface: tasks by name, typed by their contracts."""

from __future__ import annotations

import time
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from loratory.serving.engine.fallback_chain import describe_service
from loratory.serving.http.api_errors import ApiError
from loratory.serving.http.routes.json_bodies import json_response, parse_body
from loratory.serving.http.routing import HttpRouter
from loratory.serving.http.server import Server


def make_routes(server: Server) -> HttpRouter:
    """List, describe, predict."""
    router = HttpRouter()

    @router.get("/v1/tasks")
    async def tasks() -> Response:
        return json_response({"tasks": [describe_service(service) for service in server.registry]})

    @router.get("/v1/tasks/{task}")
    async def task(task: str) -> Response:
        return json_response(describe_service(server.get_service(task)))

    @router.post("/v1/tasks/{task}/predict", server.services_named)
    async def predict(task: str, request: Request) -> Response:
        started = time.perf_counter()
        service = server.get_service(task)
        body = parse_body(await request.body(), {"inputs": list, "probabilities": bool})
        inputs = server.validate_inputs(service, body.get("inputs", []))
        found = await server.answer(service, inputs, request.scope["served"])
        shown = body.get("probabilities", True)
        made: dict[str, Any] = {
            "task": service.name,
            "predictions": [one.to_json(shown) for one in found],
            "milliseconds": round((time.perf_counter() - started) * 1000, 3),
        }
        return json_response(made)

    @router.post("/v1/predict", server.list_services)
    async def several(request: Request) -> Response:
        """Several tasks on the same inputs: what they share of a text is computed once."""
        started = time.perf_counter()
        body = parse_body(await request.body(), {"tasks": list, "inputs": list, "probabilities": bool})
        names = body.get("tasks") or []
        if not names or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
            raise ApiError("invalid_input", "name each task once", where="tasks")
        services = [server.get_service(name) for name in names]
        inputs = [server.validate_inputs(service, body.get("inputs", [])) for service in services]
        found = await server.answer_all(list(zip(services, inputs, strict=True)), request.scope["served"])
        shown = body.get("probabilities", True)
        made = {name: [one.to_json(shown) for one in each] for name, each in zip(names, found, strict=True)}
        return json_response({"predictions": made, "milliseconds": round((time.perf_counter() - started) * 1000, 3)})

    return router
