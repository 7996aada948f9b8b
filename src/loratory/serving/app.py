"""The application: routes behind one gate."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from loratory import __version__
from loratory.errors import Late, LoratoryError
from loratory.serving.cascade import Broken, Busy
from loratory.serving.gate import Gate
from loratory.serving.openapi import document
from loratory.serving.refusals import Refusal, of_problem
from loratory.serving.routes import admin, chat, health, router, tasks, writing
from loratory.serving.routes.bodies import respond
from loratory.serving.server import Server

ROUTES = (health, tasks, writing, chat, router, admin)
CODES = {404: "not_found", 405: "method_not_allowed"}


def make_app(server: Server, hosts: tuple[str, ...] = ()) -> Gate:
    """An ASGI application that answers for a server; `hosts` are the names that clients may call it by (empty: any)."""
    app = FastAPI(title="Loratory", version=__version__, docs_url=None, redoc_url=None, openapi_url=None)
    app.router.redirect_slashes = False  # /predict and /predict/ belong to two different interfaces
    for module in ROUTES:
        app.include_router(module.routes(server))

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi() -> Response:
        return respond(document(server, "Loratory", __version__))

    async def refuse(request: Request, problem: Exception) -> Response:
        """Every error in the dialect of its path; what is ours is logged by the gate."""
        if isinstance(problem, HTTPException):
            code = CODES.get(problem.status_code, "invalid_request")
            problem = Refusal(code, str(problem.detail), status=problem.status_code)
        refusal = of_problem(problem)
        content = refusal.body(request.url.path, request.scope["request_id"])
        return Response(content, refusal.status, refusal.headers, "application/json")

    for kind in (HTTPException, Refusal, LoratoryError, Busy, Late, Broken, Exception):
        app.add_exception_handler(kind, refuse)
    whole: Any = app
    return Gate(whole, server.keys, server.spec.limits, server.metrics, hosts, lambda: not server.ready)
