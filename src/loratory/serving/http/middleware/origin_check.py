"""Requests that pages of other origins send (CSRF)."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from loratory.protocols.routes import ApiError


class OriginCheckMiddleware:
    """Raises ApiError (403) where there is an Origin header that is not this server. There is no CORS here: Starlette's
    CORSMiddleware lets other origins in, and never refuses a request.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        headers = scope["context"].headers
        origin, host = headers.get("origin"), headers.get("host", "")
        if origin is not None and (not host or origin.partition("://")[2] != host):
            raise ApiError("forbidden", "requests from pages of other origins are not answered")
        await self._app(scope, receive, send)
