"""Headers that every answer has."""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class ResponseHeadersMiddleware:
    """The request's id; no guessing of content types; and `connection: close` while the server drains."""

    def __init__(self, app: ASGIApp, is_draining: Callable[[], bool]) -> None:
        self._app, self._is_draining = app, is_draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        request_id = scope["context"].request_id.encode()

        async def add_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                added = [(b"x-request-id", request_id), (b"x-content-type-options", b"nosniff")]
                if self._is_draining():
                    added.append((b"connection", b"close"))
                message["headers"] = [*message.get("headers", ()), *added]
            await send(message)

        await self._app(scope, receive, add_headers)
