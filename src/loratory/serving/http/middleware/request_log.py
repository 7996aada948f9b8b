"""The request's id, its metrics, and one line in the access log."""

from __future__ import annotations

import contextlib
import json
import logging
import random
import re
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from loratory.protocols.routes import RequestContext
from loratory.serving.engine.prometheus_metrics import FinishedRequest, Metrics
from loratory.serving.http.routing import HttpRouter, RoutedRequest

access = logging.getLogger("loratory.access")

REQUEST_ID_PATTERN = re.compile(r"[A-Za-z0-9._-]{1,64}")
CLIENT_GONE_STATUS = 499  # in the log alone, as nginx writes it


class RequestLogMiddleware:
    """Puts the `RequestContext` (scope["context"]) and the `RoutedRequest` (scope["routed"]) into the scope, and logs
    the request when it has ended, however it ended.
    """

    def __init__(self, app: ASGIApp, http_router: HttpRouter, metrics: Metrics) -> None:
        self._app, self._http_router, self._metrics = app, http_router, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        started = time.monotonic()
        scope["routed"] = routed = self._http_router.resolve(scope["path"])
        scope["context"] = context = _make_context(scope, started, routed)

        async def note_status(message: Message) -> None:
            if message["type"] == "http.response.start":
                routed.status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, note_status)
        finally:
            self._log_request(scope["method"], routed, context, time.monotonic() - started)

    def _log_request(self, method: str, routed: RoutedRequest, context: RequestContext, seconds: float) -> None:
        route = routed.logged_route
        code = routed.status or CLIENT_GONE_STATUS
        self._metrics.requests.labels(route, str(code)).inc()
        self._metrics.request_seconds.labels(route).observe(seconds)
        if "task" in context.log_fields:
            done = FinishedRequest(time.monotonic(), seconds, context.log_fields["task"], code)
            self._metrics.recent.append(done)
        facts = {
            "request_id": context.request_id,
            "method": method,
            "route": route,
            "status": code,
            "milliseconds": round(seconds * 1000, 2),
            "key": context.key_name,
            "bytes": context.body_bytes,
            **context.log_fields,
        }
        with contextlib.suppress(ValueError):  # standard output was closed
            access.info(json.dumps(facts, ensure_ascii=False))


def _make_context(scope: Scope, started: float, routed: RoutedRequest) -> RequestContext:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    given = headers.get("x-request-id", "")
    request_id = given if REQUEST_ID_PATTERN.fullmatch(given) else f"{random.getrandbits(64):016x}"
    return RequestContext(
        scope.get("arrived", started),
        path=scope["path"],
        request_id=request_id,
        headers=headers,
        dialect=routed.dialect,
    )
