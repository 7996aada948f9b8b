"""Paths to handlers. Bodies are checked against contracts that are known only when the server runs, so a framework that
derives checks from signatures would do nothing here but take time (design/011-serving.md).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from inspect import signature
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, Router

from loratory.serving.refusals import Refusal

Handler = Callable[..., Awaitable[Response]]


class Endpoint:
    """A handler as an ASGI application: it is given the parts of the path that it names, and `request` if it asks."""

    def __init__(self, path: str, handler: Handler) -> None:
        self.path, self.handler = path, handler
        self.names = tuple(signature(handler).parameters)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        scope["route"] = self
        request = Request(scope, receive, send)
        given = {name: request if name == "request" else scope["path_params"][name] for name in self.names}
        response = await self.handler(**given)
        await response(scope, receive, send)


class Routes:
    """What a module of routes makes."""

    def __init__(self) -> None:
        self.routes: list[Route] = []

    def get(self, path: str) -> Callable[[Handler], Handler]:
        """Answer GET (and HEAD) there."""
        return self._at("GET", path)

    def post(self, path: str) -> Callable[[Handler], Handler]:
        """Answer POST there."""
        return self._at("POST", path)

    def _at(self, method: str, path: str) -> Callable[[Handler], Handler]:
        def keep(handler: Handler) -> Handler:
            self.routes.append(Route(path, Endpoint(path, handler), methods=[method]))
            return handler

        return keep


def application(routes: Sequence[BaseRoute]) -> Router:
    """All of them; what is no path raises Refusal, a wrong method HTTPException. /predict and /predict/ differ."""

    async def nowhere(scope: Any, receive: Any, send: Any) -> None:
        raise Refusal("not_found", "there is nothing at this path")

    return Router(list(routes), redirect_slashes=False, default=nowhere)
