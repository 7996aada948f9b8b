"""The ASGI application: the routes of all dialects behind the middleware, in one order."""

from __future__ import annotations

from collections.abc import Container

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from loratory.serving.http.middleware.authentication import AuthenticationMiddleware
from loratory.serving.http.middleware.body_limit import BodyMiddleware, ContentLengthMiddleware
from loratory.serving.http.middleware.capacity_check import CapacityCheckMiddleware
from loratory.serving.http.middleware.concurrency_limit import ConcurrencyLimitMiddleware, RequestSlots
from loratory.serving.http.middleware.disconnect import DisconnectMiddleware
from loratory.serving.http.middleware.error_handler import ErrorMiddleware
from loratory.serving.http.middleware.header_limit import HeaderLimitMiddleware
from loratory.serving.http.middleware.host_check import HostCheckMiddleware
from loratory.serving.http.middleware.origin_check import OriginCheckMiddleware
from loratory.serving.http.middleware.rate_limit import RateLimitMiddleware
from loratory.serving.http.middleware.request_log import RequestLogMiddleware
from loratory.serving.http.middleware.response_headers import ResponseHeadersMiddleware
from loratory.serving.http.middleware.route_check import RouteCheckMiddleware
from loratory.serving.http.routing import HttpRouter
from loratory.serving.http.server import Server

POLICY_VIOLATION = 1008  # the code of a websocket that is closed: there are none here


class HttpApplication:
    """An ASGI application that answers for a server; `hosts` are the names that clients may call it by (None: any)."""

    def __init__(self, server: Server, http_router: HttpRouter, hosts: Container[str] | None = None) -> None:
        self.http_router, self.metrics = http_router, server.metrics
        self._slots = RequestSlots(server.spec.limits.requests)
        self._app: ASGIApp = http_router
        for middleware in reversed(self._list_middleware(server, hosts)):
            self._app = middleware.cls(self._app, *middleware.args, **middleware.kwargs)

    def _list_middleware(self, server: Server, hosts: Container[str] | None) -> list[Middleware]:
        """From the outside to the inside. What is cheap to check, and tells a stranger least, comes first; a body is
        read only of those who may send it.
        """
        limits = server.spec.limits
        return [
            Middleware(RequestLogMiddleware, self.http_router, self.metrics),
            Middleware(ResponseHeadersMiddleware, lambda: not server.ready),
            Middleware(ErrorMiddleware),
            Middleware(HeaderLimitMiddleware),
            Middleware(HostCheckMiddleware, hosts),
            Middleware(OriginCheckMiddleware),
            Middleware(ConcurrencyLimitMiddleware, self._slots),
            Middleware(AuthenticationMiddleware, server.keys, server.sessions, server.check_keys),
            Middleware(RateLimitMiddleware, limits.per_second, limits.burst),
            Middleware(RouteCheckMiddleware),
            Middleware(ContentLengthMiddleware, limits.body_bytes),
            Middleware(CapacityCheckMiddleware, server.check_capacity),
            Middleware(BodyMiddleware, limits.body_bytes, self._slots),
            Middleware(DisconnectMiddleware),
        ]

    @property
    def open_requests(self) -> int:
        """Requests that are being answered."""
        return self._slots.open_requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http":
            await self._app(scope, receive, send)
        elif scope["type"] == "lifespan":
            raise NotImplementedError  # so ASGI wants it of who has no use for it
        else:
            await send({"type": "websocket.close", "code": POLICY_VIOLATION})
