"""Whether there is anything at this path, for this method."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send


class RouteCheckMiddleware:
    """Raises ApiError (404, 405). Behind authentication: without a key nobody learns which paths there are."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        scope["routed"].select(scope["method"])
        scope["path_params"] = scope["routed"].path_params
        await self._app(scope, receive, send)
