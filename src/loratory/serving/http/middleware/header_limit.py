"""A bound on the bytes of all headers."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from loratory.protocols.routes import ApiError

HEADER_BYTES = 32 * 1024  # of all headers of a request


class HeaderLimitMiddleware:
    """Raises ApiError (431)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if sum(len(name) + len(value) for name, value in scope["headers"]) > HEADER_BYTES:
            raise ApiError("headers_too_large", f"the headers have more than {HEADER_BYTES} bytes")
        await self._app(scope, receive, send)
