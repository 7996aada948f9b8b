"""The application: routes behind one gate."""

from __future__ import annotations

from collections.abc import Container

from starlette.responses import Response

from loratory import __version__
from loratory.serving.engine.service_registry import Service
from loratory.serving.http.auth.login_sessions import LoginSessions
from loratory.serving.http.middleware import RequestMiddleware
from loratory.serving.http.openapi import build_openapi
from loratory.serving.http.routes import (
    adapter_routes,
    chat_completions,
    generate_routes,
    health,
    predict_routes,
    semantic_router_routes,
)
from loratory.serving.http.routes.json_bodies import json_response
from loratory.serving.http.routing import HttpRouter
from loratory.serving.http.server import Server
from loratory.serving.page import page_routes
from loratory.serving.page.error_pages import render_page_error

ROUTE_MODULES = (health, predict_routes, generate_routes, chat_completions, semantic_router_routes, adapter_routes)


def create_app(server: Server, hosts: Container[str] | None = None) -> RequestMiddleware:
    """An ASGI application that answers for a server; `hosts` are the names that clients may call it by (None: any)."""
    sessions, every = LoginSessions(server.keys), HttpRouter()
    for module in ROUTE_MODULES:
        every.include(module.make_routes(server))
    every.include(page_routes.make_routes(server, sessions))

    drawn: dict[tuple[Service, ...], Response] = {}  # of what is served now: it is drawn anew when that changes

    @every.get("/openapi.json")
    async def openapi() -> Response:
        now = tuple(server.registry)
        if now not in drawn:
            drawn.clear()
            drawn[now] = json_response(build_openapi(server, "Loratory", __version__))
        return drawn[now]

    limits, metrics = server.spec.limits, server.metrics
    return RequestMiddleware(
        every,
        server.keys,
        limits,
        metrics,
        sessions,
        hosts,
        is_draining=lambda: not server.ready,
        check_capacity=server.check_capacity,
        check_keys=server.check_keys,
        error_renderer=render_page_error,
    )
