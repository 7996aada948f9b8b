"""Paths to handlers. Bodies are checked against contracts that are known only when the server runs, so a framework that
derives checks from signatures would do nothing here but take time (design/011-serving.md).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from inspect import signature
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router

from loratory.serving.refusals import Refusal

Handler = Callable[..., Awaitable[Response]]


class Endpoint:
    """The handlers of a path as an ASGI application: each is given the parts of the path that it names, and `request`
    if it asks.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.handlers: dict[str, Handler] = {}
        self._names: dict[str, tuple[str, ...]] = {}

    @property
    def methods(self) -> tuple[str, ...]:
        """What may be asked: HEAD wherever GET may."""
        return tuple(sorted({*self.handlers, *(["HEAD"] if "GET" in self.handlers else [])}))

    def answer(self, method: str, handler: Handler) -> None:
        """By this handler from now on."""
        self.handlers[method], self._names[method] = handler, tuple(signature(handler).parameters)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        scope["route"] = self
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        if method not in self.handlers:
            raise Refusal("method_not_allowed", f"allowed: {', '.join(self.methods)}", allow=self.methods)
        request = Request(scope, receive, send)
        parts = scope["path_params"]
        given = {name: request if name == "request" else parts[name] for name in self._names[method]}
        response = await self.handlers[method](**given)
        await response(scope, receive, send)


class Routes:
    """What a module of routes makes."""

    def __init__(self) -> None:
        self.endpoints: dict[str, Endpoint] = {}

    def get(self, path: str) -> Callable[[Handler], Handler]:
        """Answer GET (and HEAD) there."""
        return self._at("GET", path)

    def post(self, path: str) -> Callable[[Handler], Handler]:
        """Answer POST there."""
        return self._at("POST", path)

    def include(self, other: Routes) -> None:
        """Its paths too."""
        self.endpoints |= other.endpoints

    def _at(self, method: str, path: str) -> Callable[[Handler], Handler]:
        def keep(handler: Handler) -> Handler:
            self.endpoints.setdefault(path, Endpoint(path)).answer(method, handler)
            return handler

        return keep


def application(routes: Routes) -> Router:
    """All of them. What is no path, or another method, raises Refusal; /predict and /predict/ are two paths."""

    async def nowhere(scope: Any, receive: Any, send: Any) -> None:
        raise Refusal("not_found", "there is nothing at this path")

    made = [Route(path, endpoint) for path, endpoint in routes.endpoints.items()]
    return Router(made, redirect_slashes=False, default=nowhere)
