"""The application: every installed dialect behind the middleware."""

from __future__ import annotations

from collections.abc import Container

from loratory.serving.http.application import HttpApplication
from loratory.serving.http.routing import HttpRouter, load_dialects
from loratory.serving.http.server import Server


def create_app(server: Server, hosts: Container[str] | None = None) -> HttpApplication:
    """An ASGI application that answers for a server; `hosts` are the names that clients may call it by (None: any).

    Raises SpecError where two dialects contradict each other.
    """
    http_router = HttpRouter({dialect: dialect.list_routes(server) for dialect in load_dialects()})
    server.routes = http_router.list_routes()
    return HttpApplication(server, http_router, hosts)
