"""Our own interface: tasks by name, typed by their contracts."""

from __future__ import annotations

import time
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from loratory.serving.cascade import facts_of
from loratory.serving.refusals import Refusal
from loratory.serving.routes.bodies import object_of, respond
from loratory.serving.routing import Routes
from loratory.serving.server import Server


def routes(server: Server) -> Routes:
    """List, describe, predict."""
    router = Routes()

    @router.get("/v1/tasks")
    async def tasks() -> Response:
        return respond({"tasks": [facts_of(service) for service in server.board]})

    @router.get("/v1/tasks/{task}")
    async def task(task: str) -> Response:
        return respond(facts_of(server.service(task)))

    @router.post("/v1/tasks/{task}/predict", server.named)
    async def predict(task: str, request: Request) -> Response:
        started = time.perf_counter()
        service = server.service(task)
        body = object_of(await request.body(), {"inputs": list, "probabilities": bool})
        inputs = server.inputs(service, body.get("inputs", []))
        found = await server.answer(service, inputs, request.scope["served"])
        shown = body.get("probabilities", True)
        made: dict[str, Any] = {
            "task": service.name,
            "predictions": [one.facts(shown) for one in found],
            "milliseconds": round((time.perf_counter() - started) * 1000, 3),
        }
        return respond(made)

    @router.post("/v1/predict", server.every)
    async def several(request: Request) -> Response:
        """Several tasks on the same inputs: what they share of a text is computed once."""
        started = time.perf_counter()
        body = object_of(await request.body(), {"tasks": list, "inputs": list, "probabilities": bool})
        names = body.get("tasks") or []
        if not names or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
            raise Refusal("invalid_input", "name each task once", where="tasks")
        services = [server.service(name) for name in names]
        inputs = [server.inputs(service, body.get("inputs", [])) for service in services]
        found = await server.answer_all(list(zip(services, inputs, strict=True)), request.scope["served"])
        shown = body.get("probabilities", True)
        made = {name: [one.facts(shown) for one in each] for name, each in zip(names, found, strict=True)}
        return respond({"predictions": made, "milliseconds": round((time.perf_counter() - started) * 1000, 3)})

    return router
