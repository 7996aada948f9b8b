"""Paths to handlers. Bodies are checked against contracts that are known only when the server runs, so a framework that
derives checks from signatures would do nothing here but take time (design/011-serving.md).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from inspect import signature
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import compile_path

from loratory.serving.refusals import Refusal

if TYPE_CHECKING:
    from loratory.serving.services import Service

Handler = Callable[..., Awaitable[Response]]
Whom = Callable[..., Iterable["Service"]]  # the parts of a path -> the tasks of which one at least is asked there


class Endpoint:
    """The handlers of a path as an ASGI application: each is given the parts of the path that it names, and `request`
    if it asks.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.pattern, _, self._convertors = compile_path(path)
        self.handlers: dict[str, Handler] = {}
        self._names: dict[str, tuple[str, ...]] = {}
        self._whom: Whom | None = None

    @property
    def methods(self) -> tuple[str, ...]:
        """What may be asked: HEAD wherever GET may."""
        return tuple(sorted({*self.handlers, *(["HEAD"] if "GET" in self.handlers else [])}))

    def answer(self, method: str, handler: Handler, whom: Whom | None = None) -> None:
        """By this handler from now on."""
        self.handlers[method], self._names[method] = handler, tuple(signature(handler).parameters)
        self._whom = whom or self._whom

    def parts(self, path: str) -> dict[str, Any] | None:
        """The parts of a path that the endpoint names; None where it is another path."""
        found = self.pattern.match(path)
        return found and {name: self._convertors[name].convert(part) for name, part in found.groupdict().items()}

    def asked(self, scope: Any) -> list[Service]:
        """The tasks of which a POST asks one at least, as far as its path tells."""
        return [*self._whom(**scope["path_params"])] if self._whom and scope["method"] == "POST" else []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        method = self._method(scope)
        request = Request(scope, receive, send)
        parts = scope["path_params"]
        given = {name: request if name == "request" else parts[name] for name in self._names[method]}
        response = await self.handlers[method](**given)
        await response(scope, receive, send)

    def admit(self, scope: Any) -> None:
        """Raises Refusal where nobody answers this method."""
        if self._method(scope) not in self.handlers:
            raise Refusal("method_not_allowed", f"allowed: {', '.join(self.methods)}", allow=self.methods)

    def _method(self, scope: Any) -> str:
        return "GET" if scope["method"] == "HEAD" else str(scope["method"])


class Routes:
    """What a module of routes makes."""

    def __init__(self) -> None:
        self.endpoints: dict[str, Endpoint] = {}

    def get(self, path: str) -> Callable[[Handler], Handler]:
        """Answer GET (and HEAD) there."""
        return self._at("GET", path)

    def post(self, path: str, whom: Whom | None = None) -> Callable[[Handler], Handler]:
        """Answer POST there."""
        return self._at("POST", path, whom)

    def include(self, other: Routes) -> None:
        """Its paths too."""
        self.endpoints |= other.endpoints

    def find(self, scope: Any) -> Endpoint:
        """Who answers a request, with `route` and `path_params` noted in its scope.

        What is no path, or another method, raises Refusal; /predict and /predict/ are two paths.
        """
        path = scope["path"]
        named = [self.endpoints[path]] if path in self.endpoints else self.endpoints.values()
        for endpoint in named:
            if (parts := endpoint.parts(path)) is not None:
                scope["route"], scope["path_params"] = endpoint, parts
                endpoint.admit(scope)
                return endpoint
        raise Refusal("not_found", "there is nothing at this path")

    def _at(self, method: str, path: str, whom: Whom | None = None) -> Callable[[Handler], Handler]:
        def keep(handler: Handler) -> Handler:
            self.endpoints.setdefault(path, Endpoint(path)).answer(method, handler, whom)
            return handler

        return keep
