"""The one gate before all routes: host and origin, room, key and scope, rate, body. Deny by default.

It reads the whole body, bounded, before a route runs, and cancels the route when its client goes away.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import re
import time
from collections.abc import Awaitable, Callable, Container, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from loratory.serving.engine.fallback_chain import PredictorFailed
from loratory.serving.engine.prometheus_metrics import FinishedRequest, Metrics
from loratory.serving.engine.service_registry import Service
from loratory.serving.http.api_errors import ApiError, render_error, to_api_error
from loratory.serving.http.auth.api_keys import ApiKey, ApiKeys
from loratory.serving.http.auth.login_sessions import LoginSessions
from loratory.serving.http.request_context import RequestContext
from loratory.serving.http.routing import Endpoint, HttpRouter
from loratory.specs.serve import LimitsSpec

access = logging.getLogger("loratory.access")
log = logging.getLogger("loratory.serving")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

HEALTH_PATHS = frozenset({"/health/live", "/health/ready"})
# What anybody may ask: the last three are what the page to sign in looks like.
PUBLIC_PATHS = HEALTH_PATHS | {"/login", "/page/style.css", "/page/theme.js", "/page/icon.svg"}
ADMIN_PATHS = ("/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/v1/admin/")
BODY_TIMEOUT_SECONDS = 10.0  # within which a body has to arrive
UNCOUNTED_BODY_BYTES = 64 * 1024  # of a body that are awaited before its request takes room
REQUEST_ID_PATTERN = re.compile(r"[A-Za-z0-9._-]{1,64}")
HEADER_BYTES = 32 * 1024  # of all headers of a request
MAX_CONTENT_LENGTH_DIGITS = 15  # of a content-length that is a number of bytes


class ClientDisconnected(Exception):
    """The client has gone away: nobody is left to answer."""


@dataclass
class TokenBucket:
    """A token bucket: `burst` requests at once, `rate` a second on average."""

    rate: float
    burst: int
    tokens: float = 0.0
    updated_at: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.tokens = float(self.burst)

    def take(self) -> float:
        """Seconds until there is a token; 0 where one was taken."""
        now = time.monotonic()
        self.tokens, self.updated_at = min(self.burst, self.tokens + (now - self.updated_at) * self.rate), now
        if self.tokens >= 1:
            self.tokens -= 1
            return 0.0
        return (1 - self.tokens) / self.rate


@dataclass
class RequestMiddleware:
    """An ASGI application around routes."""

    http_router: HttpRouter
    keys: ApiKeys
    limits: LimitsSpec
    metrics: Metrics
    sessions: LoginSessions
    hosts: Container[str] | None = None  # names that the server answers to; None: all
    is_draining: Callable[[], bool] = lambda: False
    check_capacity: Callable[[Sequence[Service], RequestContext], None] = lambda services, served: None  # raises Busy
    check_keys: Callable[[bool], None] = lambda now: None  # at the file of keys: it may have changed
    error_renderer: Callable[[ApiError, Message], tuple[int, dict[str, str], bytes]] = (
        render_error  # status, headers, body
    )

    def __post_init__(self) -> None:
        self._open_requests = 0
        self._buckets: dict[str, TokenBucket] = {}

    @property
    def open_requests(self) -> int:
        """Requests that are being answered."""
        return self._open_requests

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._handle_http(scope, receive, send)
        elif scope["type"] == "lifespan":
            raise NotImplementedError  # so ASGI wants it of who has no use for it
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _handle_http(self, scope: Message, receive: Receive, send: Send) -> None:
        started, path = time.monotonic(), scope["path"]
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        given = headers.get("x-request-id", "")
        scope["request_id"] = request_id = (
            given if REQUEST_ID_PATTERN.fullmatch(given) else f"{random.getrandbits(64):016x}"
        )
        answered = {"status": 0}
        served = scope["served"] = RequestContext(scope.get("arrived", started))

        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start":
                answered["status"] = message["status"]
                added = [(b"x-request-id", request_id.encode()), (b"x-content-type-options", b"nosniff")]
                if self.is_draining():
                    added.append((b"connection", b"close"))
                message["headers"] = [*message.get("headers", ()), *added]
            await send(message)

        try:
            await self._handle_request(scope, headers, receive, tell, answered)
        finally:
            self._log_request(scope, answered["status"], time.monotonic() - started, served, path)

    async def _handle_request(
        self, scope: Message, headers: dict[str, str], receive: Receive, send: Send, answered: dict[str, int]
    ) -> None:
        try:
            self._authorize(scope, headers)
            endpoint = self.http_router.find(scope)
            served: RequestContext = scope["served"]
            served.body_bytes = self._parse_content_length(headers)
            self.check_capacity(endpoint.services_of(scope), served)
            with contextlib.ExitStack() as place:
                body = await self._read_body(receive, lambda: self._enter_request(scope["path"], place))
                served.arrived_at, served.body_bytes = scope.get("arrived", time.monotonic()), len(body)
                await self._run_until_disconnect(endpoint, scope, body, receive, send)
        except ClientDisconnected:
            return
        except Exception as problem:
            refusal = to_api_error(problem)
            if refusal.status == 500 and not isinstance(problem, PredictorFailed):  # that was logged where it happened
                log.exception("request %s", scope["request_id"])
            if answered["status"]:  # the answer had begun: all that can be done is to end it
                return
            status, told, content = self.error_renderer(refusal, scope)
            told["content-length"] = str(len(content))
            if refusal.status in (408, 413, 431):  # the rest of the body is not read
                told["connection"] = "close"
            pairs = [(name.encode(), value.encode("latin-1", "replace")) for name, value in told.items()]
            await send({"type": "http.response.start", "status": status, "headers": pairs})
            await send({"type": "http.response.body", "body": content})

    def _authorize(self, scope: Message, headers: dict[str, str]) -> None:
        """Raises Refusal."""
        path, public = scope["path"], scope["path"] in PUBLIC_PATHS
        if sum(len(name) + len(value) for name, value in scope["headers"]) > HEADER_BYTES:
            raise ApiError("headers_too_large", f"the headers have more than {HEADER_BYTES} bytes")
        host = headers.get("host", "")
        if self.hosts is not None and _strip_port(host) not in self.hosts:
            message = (
                f"this server does not answer for the host {host[:80]!r}; others are listed under hosts in its file"
            )
            raise ApiError("misdirected", message)
        origin = headers.get("origin")
        if origin is not None and (not host or origin.partition("://")[2] != host):
            raise ApiError("forbidden", "requests from pages of other origins are not answered")
        self._check_concurrency(path)
        scope["key"] = key = self._authenticate(headers)
        if public:
            return
        if self.keys and key is None:
            raise ApiError("unauthorized", "this needs a key: send it as Authorization: Bearer KEY")
        needed = "admin" if path.startswith(ADMIN_PATHS) else "infer"
        if key is not None and needed not in key.scopes:
            raise ApiError("forbidden", f"this key has no scope {needed}")
        self._check_rate_limit(key)

    def _check_concurrency(self, path: str) -> None:
        if self._open_requests >= self.limits.requests and path not in HEALTH_PATHS:
            raise ApiError("busy", "the server has no room for this now", retry_after=1.0)

    def _enter_request(self, path: str, place: contextlib.ExitStack) -> None:
        """Take room until the request is answered. Raises Refusal."""
        self._check_concurrency(path)
        self._open_requests += 1
        place.callback(self._leave_request)

    def _leave_request(self) -> None:
        self._open_requests -= 1

    def _authenticate(self, headers: dict[str, str]) -> ApiKey | None:
        self.check_keys(False)
        kind, _, secret = headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not secret:
            return self.sessions.find(headers.get("cookie", ""))
        found = self.keys.find(secret.strip())
        if found is None:  # it may be a new one
            self.check_keys(True)
            found = self.keys.find(secret.strip())
        return found

    def _check_rate_limit(self, key: ApiKey | None) -> None:
        if self.limits.per_second is None:
            return
        name = key.digest if key else ""
        bucket = self._buckets.setdefault(name, TokenBucket(self.limits.per_second, self.limits.burst))
        if wait := bucket.take():
            raise ApiError("busy", "this key has sent too many requests", retry_after=wait)

    def _parse_content_length(self, headers: dict[str, str]) -> int:
        """Of the body, as far as it is told. Raises Refusal."""
        told = headers.get("content-length", "")
        if not (told.isascii() and told.isdigit()):
            return 0
        if len(told) > MAX_CONTENT_LENGTH_DIGITS or int(told) > self.limits.body_bytes:
            raise ApiError("too_large", f"the body has more than {self.limits.body_bytes} bytes")
        return int(told)

    async def _read_body(self, receive: Receive, enter: Callable[[], None]) -> bytes:
        """All of it. A request takes room when its body is there, or much of it: clients that send slowly, or nothing
        more, hold up nobody.
        """
        most, entered = self.limits.body_bytes, False
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(BODY_TIMEOUT_SECONDS):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientDisconnected
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > most:
                        raise ApiError("too_large", f"the body has more than {most} bytes")
                    last = not message.get("more_body")
                    if not entered and (last or size > UNCOUNTED_BODY_BYTES):
                        enter()
                        entered = True
                    if last:
                        return b"".join(parts)
        except TimeoutError:
            raise ApiError(
                "timeout_of_request", f"the body did not arrive within {BODY_TIMEOUT_SECONDS:.0f} s"
            ) from None

    async def _run_until_disconnect(
        self, endpoint: Endpoint, scope: Message, body: bytes, receive: Receive, send: Send
    ) -> None:
        """The route, until it is done or its client has gone away."""
        gone = asyncio.Event()
        rest = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            if rest:
                return rest.pop()
            await gone.wait()
            return {"type": "http.disconnect"}

        route = asyncio.current_task()

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            gone.set()
            if route is not None:
                route.cancel()

        watcher = asyncio.create_task(watch())

        async def last(message: Message) -> None:
            if message["type"] == "http.response.body" and not message.get("more_body"):
                watcher.cancel()  # it is answered: a client that leaves now takes nothing along
            await send(message)

        try:
            await endpoint(scope, replay, last)
        except asyncio.CancelledError:
            if not gone.is_set() or route is None or route.uncancel():  # somebody else ends it
                raise
            raise ClientDisconnected from None
        finally:
            watcher.cancel()

    def _log_request(self, scope: Message, status: int, seconds: float, served: RequestContext, path: str) -> None:
        route = getattr(scope.get("route"), "path", None) or ("unknown" if status in (404, 405) else "refused")
        code = status or 499  # the client went away
        self.metrics.requests.labels(route, str(code)).inc()
        self.metrics.request_seconds.labels(route).observe(seconds)
        if "task" in served.log_fields:
            self.metrics.recent.append(FinishedRequest(time.monotonic(), seconds, served.log_fields["task"], code))
        key: ApiKey | None = scope.get("key")
        facts = {
            "request_id": scope["request_id"],
            "method": scope["method"],
            "route": route,
            "status": code,
            "milliseconds": round(seconds * 1000, 2),
            "key": key.name if key else None,
            "bytes": served.body_bytes,
            **served.log_fields,
        }
        with contextlib.suppress(ValueError):  # standard output was closed
            access.info(json.dumps(facts, ensure_ascii=False))


def _strip_port(host: str) -> str:
    """A Host header without its port."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() else host).lower()
