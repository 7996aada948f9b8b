"""Paths to routes, as their dialects declare them. Bodies are checked against contracts that are known only when the
server runs, so a framework that derives checks from signatures would do nothing here but take time
(design/011-serving.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from inspect import signature
from typing import Any

from starlette.requests import Request
from starlette.routing import compile_path
from starlette.types import Receive, Scope, Send

from loratory.discovery import list_names, load_named
from loratory.errors import SpecError
from loratory.protocols.routes import ApiError, Dialect, Route, RouteScope

RESERVED_ADMIN_PREFIXES = ("/v1/admin/",)  # nothing is there yet; a key without the scope learns not even that


class Endpoint:
    """A path with its routes by method. One dialect and one scope own a path."""

    def __init__(self, path: str, dialect: Dialect[Any], scope: RouteScope) -> None:
        self.path, self.dialect, self.scope = path, dialect, scope
        self.routes: dict[str, Route] = {}
        self._pattern, _, self._convertors = compile_path(path)
        self._parameter_names: dict[str, tuple[str, ...]] = {}

    @property
    def methods(self) -> tuple[str, ...]:
        """Allowed methods: HEAD wherever GET is."""
        return tuple(sorted({*self.routes, *(["HEAD"] if "GET" in self.routes else [])}))

    def add(self, dialect: Dialect[Any], route: Route) -> None:
        """Raises SpecError where the path is another dialect's, has another scope, or the method is taken."""
        if route.method in self.routes or dialect is not self.dialect or route.scope != self.scope:
            raise SpecError(
                f"the dialects {self.dialect.name} and {dialect.name} both declare {route.method} {route.path}, or its "
                "methods have different scopes",
                where=f"loratory.routes: {dialect.name}",
                allowed="one dialect and one scope for a path, one route for a method",
                remedy="uninstall one of the packages, or change the path",
            )
        self.routes[route.method] = route
        self._parameter_names[route.method] = tuple(signature(route.handler).parameters)

    def match(self, path: str) -> dict[str, Any] | None:
        """The named parts of a path; None where it is another path. /predict and /predict/ are two paths."""
        found = self._pattern.fullmatch(path)
        return found and {name: self._convertors[name].convert(part) for name, part in found.groupdict().items()}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the handler with what it names, and send its response."""
        method = effective_method(scope["method"])
        request = Request(scope, receive, send)
        values = {**scope["path_params"], "request": request, "context": scope["context"]}
        given = {name: values[name] for name in self._parameter_names[method]}
        response = await self.routes[method].handler(**given)
        await response(scope, receive, send)


def effective_method(method: str) -> str:
    """HEAD is answered by the route of GET."""
    return "GET" if method == "HEAD" else method


@dataclass(eq=False)
class RoutedRequest:
    """What is known of a request's path before anybody is let in, and its status once it has one."""

    dialect: Dialect[Any]
    scope: RouteScope
    endpoint: Endpoint | None = None
    path_params: Mapping[str, Any] = field(default_factory=dict)
    route: Route | None = None
    status: int = 0  # HTTP status; 0 until an answer has begun
    logged_route: str = "refused"  # of the log and the metrics: never what a client wrote

    def select(self, method: str) -> None:
        """Take the route of the method. Raises ApiError (404, 405)."""
        if self.endpoint is None:
            self.logged_route = "unknown"
            raise ApiError("not_found", "there is nothing at this path")
        self.logged_route = self.endpoint.path
        self.route = self.endpoint.routes.get(effective_method(method))
        if self.route is None:
            allowed = self.endpoint.methods
            raise ApiError("method_not_allowed", f"allowed: {', '.join(allowed)}", allowed_methods=allowed)

    def select_services(self) -> list[Any]:
        """The tasks of which the request asks one at least, as far as its path tells."""
        if self.route is None or self.route.select_services is None or self.route.method != "POST":
            return []
        return [*self.route.select_services(**self.path_params)]


class HttpRouter:
    """The routes of all dialects. An ASGI application behind the middleware, which fills scope["routed"]."""

    def __init__(self, dialects: Mapping[Dialect[Any], Sequence[Route]]) -> None:
        """Raises SpecError where two declarations contradict each other."""
        self.dialects = dict(dialects)
        self.endpoints: dict[str, Endpoint] = {}
        operations: dict[str, str] = {}
        for dialect, routes in dialects.items():
            for route in routes:
                _check_operation_id(operations, dialect, route)
                endpoint = self.endpoints.setdefault(route.path, Endpoint(route.path, dialect, route.scope))
                endpoint.add(dialect, route)
        self._prefixes = sorted(
            ((prefix, dialect) for dialect in dialects for prefix in dialect.prefixes), key=lambda one: -len(one[0])
        )
        admin_paths = (path for path, one in self.endpoints.items() if one.scope == "admin" and "{" not in path)
        self._admin_prefixes = (*admin_paths, *RESERVED_ADMIN_PREFIXES)

    def list_routes(self) -> list[tuple[Dialect[Any], Route]]:
        """Every route with its dialect, as they are declared."""
        return [(dialect, route) for dialect, routes in self.dialects.items() for route in routes]

    def resolve(self, path: str) -> RoutedRequest:
        """Whose path it is, and what scope it needs: also of a path at which there is nothing."""
        named = [self.endpoints[path]] if path in self.endpoints else self.endpoints.values()
        for endpoint in named:
            if (parts := endpoint.match(path)) is not None:
                return RoutedRequest(endpoint.dialect, endpoint.scope, endpoint, parts)
        scope: RouteScope = "admin" if path.startswith(self._admin_prefixes) else "infer"
        return RoutedRequest(self._dialect_of_unknown(path), scope)

    def _dialect_of_unknown(self, path: str) -> Dialect[Any]:
        default = self._prefixes[-1][1]  # the shortest prefix: what begins with none of them is its too
        return next((dialect for prefix, dialect in self._prefixes if path.startswith(prefix)), default)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        await scope["routed"].endpoint.handle(scope, receive, send)


def _check_operation_id(operations: dict[str, str], dialect: Dialect[Any], route: Route) -> None:
    if route.operation_id in operations:
        raise SpecError(
            f"{operations[route.operation_id]} and {route.path} have the same operation id, {route.operation_id!r}",
            where=f"loratory.routes: {dialect.name}",
            allowed="an operation id that no other route of the server has",
        )
    operations[route.operation_id] = route.path


def load_dialects() -> list[Dialect[Any]]:
    """Every installed dialect, ours first. Raises SpecError."""
    return [load_named("routes", name)() for name in list_names("routes")]
