"""How many requests are answered at a time."""

from __future__ import annotations

import contextlib

from starlette.types import ASGIApp, Receive, Scope, Send

from loratory.protocols.routes import ApiError

HEALTH_PATHS = frozenset({"/health/live", "/health/ready"})  # answered however full the server is


class RequestSlots:
    """Slots for requests. A request takes one when its body is there, and holds it until it is answered."""

    def __init__(self, max_requests: int) -> None:
        self.max_requests, self.open_requests = max_requests, 0

    def check(self, path: str) -> None:
        """Raises ApiError (429) where there is none."""
        if self.open_requests >= self.max_requests and path not in HEALTH_PATHS:
            raise ApiError("busy", "the server has no room for this now", retry_after=1.0)

    def take(self, path: str, held: contextlib.ExitStack) -> None:
        """Take one until `held` is closed. Raises ApiError (429)."""
        self.check(path)
        self.open_requests += 1
        held.callback(self._release)

    def _release(self) -> None:
        self.open_requests -= 1


class ConcurrencyLimitMiddleware:
    """Refuses early, before a key is looked up; the slot itself is taken by BodyMiddleware."""

    def __init__(self, app: ASGIApp, slots: RequestSlots) -> None:
        self._app, self._slots = app, slots

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        self._slots.check(scope["path"])
        await self._app(scope, receive, send)
