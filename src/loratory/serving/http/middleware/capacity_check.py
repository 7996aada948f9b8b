"""Whether a body is worth reading: under overload most of the work would be to read what is then refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from loratory.protocols.routes import RequestContext


class CapacityCheckMiddleware:
    """`check_capacity` raises Overloaded where none of the tasks that are asked could answer in time."""

    def __init__(self, app: ASGIApp, check_capacity: Callable[[Sequence[Any], RequestContext], None]) -> None:
        self._app, self._check_capacity = app, check_capacity

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        self._check_capacity(scope["routed"].select_services(), scope["context"])
        await self._app(scope, receive, send)
