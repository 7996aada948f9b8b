"""A body is read whole before a route runs, bounded in bytes and in time."""

from __future__ import annotations

import asyncio
import contextlib
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from loratory.protocols.routes import ApiError
from loratory.serving.http.middleware.concurrency_limit import RequestSlots
from loratory.serving.http.middleware.disconnect import ClientDisconnected

BODY_TIMEOUT_SECONDS = 10.0  # within which a body has to arrive
UNCOUNTED_BODY_BYTES = 64 * 1024  # of a body that are awaited before its request takes a slot
MAX_CONTENT_LENGTH_DIGITS = 15  # of a content-length that is a number of bytes


class ContentLengthMiddleware:
    """Notes how large the body is said to be (context.body_bytes). Raises ApiError (413)."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app, self._max_bytes = app, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        told = scope["context"].headers.get("content-length", "")
        if told.isascii() and told.isdigit():
            if len(told) > MAX_CONTENT_LENGTH_DIGITS or int(told) > self._max_bytes:
                raise _too_large(self._max_bytes)
            scope["context"].body_bytes = int(told)
        await self._app(scope, receive, send)


class BodyMiddleware:
    """Hands the body on as one message. Raises ApiError (408, 413, 429) and ClientDisconnected.

    A request takes a slot when its body is there, or much of it: clients that send slowly, or nothing more, hold up
    nobody.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, slots: RequestSlots) -> None:
        self._app, self._max_bytes, self._slots = app, max_bytes, slots

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        context = scope["context"]
        with contextlib.ExitStack() as held:
            body = await self._read_body(scope["path"], receive, held)
            context.arrived_at, context.body_bytes = scope.get("arrived", time.monotonic()), len(body)
            unread = [{"type": "http.request", "body": body, "more_body": False}]

            async def replay() -> Message:
                return unread.pop() if unread else await receive()

            await self._app(scope, replay, send)

    async def _read_body(self, path: str, receive: Receive, held: contextlib.ExitStack) -> bytes:
        parts: list[bytes] = []
        size, entered = 0, False
        try:
            async with asyncio.timeout(BODY_TIMEOUT_SECONDS):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientDisconnected
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > self._max_bytes:
                        raise _too_large(self._max_bytes)
                    last = not message.get("more_body")
                    if not entered and (last or size > UNCOUNTED_BODY_BYTES):
                        self._slots.take(path, held)
                        entered = True
                    if last:
                        return b"".join(parts)
        except TimeoutError:
            message_text = f"the body did not arrive within {BODY_TIMEOUT_SECONDS:.0f} s"
            raise ApiError("timeout_of_request", message_text) from None


def _too_large(max_bytes: int) -> ApiError:
    return ApiError("too_large", f"the body has more than {max_bytes} bytes")
