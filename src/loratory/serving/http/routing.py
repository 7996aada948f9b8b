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

from loratory.serving.http.api_errors import ApiError

if TYPE_CHECKING:
    from loratory.serving.engine.service_registry import Service

Handler = Callable[..., Awaitable[Response]]
ServiceSelector = Callable[
    ..., Iterable["Service"]
]  # the parts of a path -> the tasks of which one at least is asked there


class Endpoint:
    """The handlers of a path as an ASGI application: each is given the parts of the path that it names, and `request`
    if it asks.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.pattern, _, self._convertors = compile_path(path)
        self.handlers: dict[str, Handler] = {}
        self._parameter_names: dict[str, tuple[str, ...]] = {}
        self._select_services: ServiceSelector | None = None

    @property
    def methods(self) -> tuple[str, ...]:
        """What may be asked: HEAD wherever GET may."""
        return tuple(sorted({*self.handlers, *(["HEAD"] if "GET" in self.handlers else [])}))

    def add_handler(self, method: str, handler: Handler, services: ServiceSelector | None = None) -> None:
        """By this handler from now on."""
        self.handlers[method], self._parameter_names[method] = handler, tuple(signature(handler).parameters)
        self._select_services = services or self._select_services

    def match(self, path: str) -> dict[str, Any] | None:
        """The parts of a path that the endpoint names; None where it is another path."""
        found = self.pattern.match(path)
        return found and {name: self._convertors[name].convert(part) for name, part in found.groupdict().items()}

    def services_of(self, scope: Any) -> list[Service]:
        """The tasks of which a POST asks one at least, as far as its path tells."""
        return (
            [*self._select_services(**scope["path_params"])]
            if self._select_services and scope["method"] == "POST"
            else []
        )

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        method = self._effective_method(scope)
        request = Request(scope, receive, send)
        parts = scope["path_params"]
        given = {name: request if name == "request" else parts[name] for name in self._parameter_names[method]}
        response = await self.handlers[method](**given)
        await response(scope, receive, send)

    def check_method(self, scope: Any) -> None:
        """Raises Refusal where nobody answers this method."""
        if self._effective_method(scope) not in self.handlers:
            raise ApiError("method_not_allowed", f"allowed: {', '.join(self.methods)}", allowed_methods=self.methods)

    def _effective_method(self, scope: Any) -> str:
        return "GET" if scope["method"] == "HEAD" else str(scope["method"])


class HttpRouter:
    """What a module of routes makes."""

    def __init__(self) -> None:
        self.endpoints: dict[str, Endpoint] = {}

    def get(self, path: str) -> Callable[[Handler], Handler]:
        """Answer GET (and HEAD) there."""
        return self._register("GET", path)

    def post(self, path: str, services: ServiceSelector | None = None) -> Callable[[Handler], Handler]:
        """Answer POST there."""
        return self._register("POST", path, services)

    def include(self, other: HttpRouter) -> None:
        """Its paths too."""
        self.endpoints |= other.endpoints

    def find(self, scope: Any) -> Endpoint:
        """Who answers a request, with `route` and `path_params` noted in its scope.

        What is no path, or another method, raises Refusal; /predict and /predict/ are two paths.
        """
        path = scope["path"]
        named = [self.endpoints[path]] if path in self.endpoints else self.endpoints.values()
        for endpoint in named:
            if (parts := endpoint.match(path)) is not None:
                scope["route"], scope["path_params"] = endpoint, parts
                endpoint.check_method(scope)
                return endpoint
        raise ApiError("not_found", "there is nothing at this path")

    def _register(
        self, method: str, path: str, services: ServiceSelector | None = None
    ) -> Callable[[Handler], Handler]:
        def keep(handler: Handler) -> Handler:
            self.endpoints.setdefault(path, Endpoint(path)).add_handler(method, handler, services)
            return handler

        return keep
