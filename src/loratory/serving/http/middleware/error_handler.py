"""Exceptions to answers, each in the shape of its route's dialect."""

from __future__ import annotations

import logging

from starlette.types import ASGIApp, Receive, Scope, Send

from loratory.protocols.routes import ApiError
from loratory.serving.engine.fallback_chain import PredictorFailed
from loratory.serving.http.api_errors import to_api_error
from loratory.serving.http.middleware.disconnect import ClientDisconnected

log = logging.getLogger("loratory.serving")

UNREAD_BODY_STATUSES = frozenset({408, 413, 431})  # the rest of the body is not read, so the connection closes


class ErrorMiddleware:
    """Renders what is raised further in. An answer that has begun can only be ended."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        try:
            await self._app(scope, receive, send)
        except ClientDisconnected:
            return
        except Exception as problem:
            error = to_api_error(problem)
            if error.status == 500 and not isinstance(problem, PredictorFailed):  # that was logged where it happened
                log.exception("request %s", scope["context"].request_id)
            if not scope["routed"].status:
                await _send_error(scope, send, error)


async def _send_error(scope: Scope, send: Send, error: ApiError) -> None:
    made = scope["routed"].dialect.render_error(error, scope["context"])
    headers = {**({"content-type": made.media_type} if made.body else {}), **error.headers, **made.headers}
    headers["content-length"] = str(len(made.body))
    if error.status in UNREAD_BODY_STATUSES:
        headers["connection"] = "close"
    pairs = [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": made.status or error.status, "headers": pairs})
    await send({"type": "http.response.body", "body": made.body})
