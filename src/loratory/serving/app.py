"""The application: routes behind one gate."""

from __future__ import annotations

from collections.abc import Container

from starlette.responses import Response

from loratory import __version__
from loratory.serving.gate import Gate
from loratory.serving.openapi import document
from loratory.serving.page.refused import told
from loratory.serving.routes import admin, chat, health, page, router, tasks, writing
from loratory.serving.routes.bodies import respond
from loratory.serving.routing import Routes
from loratory.serving.server import Server
from loratory.serving.services import Service
from loratory.serving.sessions import Sessions

ROUTES = (health, tasks, writing, chat, router, admin)


def make_app(server: Server, hosts: Container[str] | None = None) -> Gate:
    """An ASGI application that answers for a server; `hosts` are the names that clients may call it by (None: any)."""
    sessions, every = Sessions(server.keys), Routes()
    for module in ROUTES:
        every.include(module.routes(server))
    every.include(page.routes(server, sessions))

    drawn: dict[tuple[Service, ...], Response] = {}  # of what is served now: it is drawn anew when that changes

    @every.get("/openapi.json")
    async def openapi() -> Response:
        now = tuple(server.board)
        if now not in drawn:
            drawn.clear()
            drawn[now] = respond(document(server, "Loratory", __version__))
        return drawn[now]

    limits, metrics = server.spec.limits, server.metrics
    return Gate(
        every,
        server.keys,
        limits,
        metrics,
        sessions,
        hosts,
        leaving=lambda: not server.ready,
        foresee=server.foresee,
        look=server.look,
        told=told,
    )
