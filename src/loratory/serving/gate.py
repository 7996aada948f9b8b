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

from loratory.serving.cascade import Broken
from loratory.serving.keys import Key, Keys
from loratory.serving.metrics import Metrics, Seen
from loratory.serving.refusals import Refusal, as_json, of_problem
from loratory.serving.routing import Endpoint, Routes
from loratory.serving.served import Served
from loratory.serving.services import Service
from loratory.serving.sessions import Sessions
from loratory.specs.serve import LimitsSpec

access = logging.getLogger("loratory.access")
log = logging.getLogger("loratory.serving")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

HEALTH = frozenset({"/health/live", "/health/ready"})
# What anybody may ask: the last three are what the page to sign in looks like.
PUBLIC = HEALTH | {"/login", "/page/style.css", "/page/theme.js", "/page/icon.svg"}
ADMIN = ("/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/v1/admin/")
BODY_SECONDS = 10.0  # within which a body has to arrive
EARLY_BYTES = 64 * 1024  # of a body that are awaited before its request takes room
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
HEADER_BYTES = 32 * 1024  # of all headers of a request
DIGITS = 15  # of a content-length that is a number of bytes


class Gone(Exception):
    """The client has gone away: nobody is left to answer."""


@dataclass
class Bucket:
    """A token bucket: `burst` requests at once, `rate` a second on average."""

    rate: float
    burst: int
    full: float = 0.0
    at: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.full = float(self.burst)

    def wait(self) -> float:
        """Seconds until there is a token; 0 where one was taken."""
        now = time.monotonic()
        self.full, self.at = min(self.burst, self.full + (now - self.at) * self.rate), now
        if self.full >= 1:
            self.full -= 1
            return 0.0
        return (1 - self.full) / self.rate


@dataclass
class Gate:
    """An ASGI application around routes."""

    routes: Routes
    keys: Keys
    limits: LimitsSpec
    metrics: Metrics
    sessions: Sessions
    hosts: Container[str] | None = None  # names that the server answers to; None: all
    leaving: Callable[[], bool] = lambda: False
    foresee: Callable[[Sequence[Service], Served], None] = lambda services, served: None  # raises Busy
    look: Callable[[bool], None] = lambda now: None  # at the file of keys: it may have changed
    told: Callable[[Refusal, Message], tuple[int, dict[str, str], bytes]] = as_json  # status, headers, body

    def __post_init__(self) -> None:
        self._open = 0
        self._buckets: dict[str, Bucket] = {}

    @property
    def open(self) -> int:
        """Requests that are being answered."""
        return self._open

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "lifespan":
            raise NotImplementedError  # so ASGI wants it of who has no use for it
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _http(self, scope: Message, receive: Receive, send: Send) -> None:
        started, path = time.monotonic(), scope["path"]
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        given = headers.get("x-request-id", "")
        scope["request_id"] = request_id = given if REQUEST_ID.fullmatch(given) else f"{random.getrandbits(64):016x}"
        answered = {"status": 0}
        served = scope["served"] = Served(scope.get("arrived", started))

        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start":
                answered["status"] = message["status"]
                added = [(b"x-request-id", request_id.encode()), (b"x-content-type-options", b"nosniff")]
                if self.leaving():
                    added.append((b"connection", b"close"))
                message["headers"] = [*message.get("headers", ()), *added]
            await send(message)

        try:
            await self._answer(scope, headers, receive, tell, answered)
        finally:
            self._note(scope, answered["status"], time.monotonic() - started, served, path)

    async def _answer(
        self, scope: Message, headers: dict[str, str], receive: Receive, send: Send, answered: dict[str, int]
    ) -> None:
        try:
            self._admit(scope, headers)
            endpoint = self.routes.find(scope)
            served: Served = scope["served"]
            served.size = self._size(headers)
            self.foresee(endpoint.asked(scope), served)
            with contextlib.ExitStack() as place:
                body = await self._body(receive, lambda: self._enter(scope["path"], place))
                served.arrived, served.size = scope.get("arrived", time.monotonic()), len(body)
                await self._run(endpoint, scope, body, receive, send)
        except Gone:
            return
        except Exception as problem:
            refusal = of_problem(problem)
            if refusal.status == 500 and not isinstance(problem, Broken):  # that was logged where it happened
                log.exception("request %s", scope["request_id"])
            if answered["status"]:  # the answer had begun: all that can be done is to end it
                return
            status, told, content = self.told(refusal, scope)
            told["content-length"] = str(len(content))
            if refusal.status in (408, 413, 431):  # the rest of the body is not read
                told["connection"] = "close"
            pairs = [(name.encode(), value.encode("latin-1", "replace")) for name, value in told.items()]
            await send({"type": "http.response.start", "status": status, "headers": pairs})
            await send({"type": "http.response.body", "body": content})

    def _admit(self, scope: Message, headers: dict[str, str]) -> None:
        """Raises Refusal."""
        path, public = scope["path"], scope["path"] in PUBLIC
        if sum(len(name) + len(value) for name, value in scope["headers"]) > HEADER_BYTES:
            raise Refusal("headers_too_large", f"the headers have more than {HEADER_BYTES} bytes")
        host = headers.get("host", "")
        if self.hosts is not None and _name(host) not in self.hosts:
            message = (
                f"this server does not answer for the host {host[:80]!r}; others are listed under hosts in its file"
            )
            raise Refusal("misdirected", message)
        origin = headers.get("origin")
        if origin is not None and (not host or origin.partition("://")[2] != host):
            raise Refusal("forbidden", "requests from pages of other origins are not answered")
        self._room(path)
        scope["key"] = key = self._known(headers)
        if public:
            return
        if self.keys and key is None:
            raise Refusal("unauthorized", "this needs a key: send it as Authorization: Bearer KEY")
        needed = "admin" if path.startswith(ADMIN) else "infer"
        if key is not None and needed not in key.scopes:
            raise Refusal("forbidden", f"this key has no scope {needed}")
        self._limit(key)

    def _room(self, path: str) -> None:
        if self._open >= self.limits.requests and path not in HEALTH:
            raise Refusal("busy", "the server has no room for this now", after=1.0)

    def _enter(self, path: str, place: contextlib.ExitStack) -> None:
        """Take room until the request is answered. Raises Refusal."""
        self._room(path)
        self._open += 1
        place.callback(self._leave)

    def _leave(self) -> None:
        self._open -= 1

    def _known(self, headers: dict[str, str]) -> Key | None:
        self.look(False)
        kind, _, secret = headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not secret:
            return self.sessions.find(headers.get("cookie", ""))
        found = self.keys.find(secret.strip())
        if found is None:  # it may be a new one
            self.look(True)
            found = self.keys.find(secret.strip())
        return found

    def _limit(self, key: Key | None) -> None:
        if self.limits.per_second is None:
            return
        name = key.digest if key else ""
        bucket = self._buckets.setdefault(name, Bucket(self.limits.per_second, self.limits.burst))
        if wait := bucket.wait():
            raise Refusal("busy", "this key has sent too many requests", after=wait)

    def _size(self, headers: dict[str, str]) -> int:
        """Of the body, as far as it is told. Raises Refusal."""
        told = headers.get("content-length", "")
        if not (told.isascii() and told.isdigit()):
            return 0
        if len(told) > DIGITS or int(told) > self.limits.body_bytes:
            raise Refusal("too_large", f"the body has more than {self.limits.body_bytes} bytes")
        return int(told)

    async def _body(self, receive: Receive, enter: Callable[[], None]) -> bytes:
        """All of it. A request takes room when its body is there, or much of it: clients that send slowly, or nothing
        more, hold up nobody.
        """
        most, entered = self.limits.body_bytes, False
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Gone
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > most:
                        raise Refusal("too_large", f"the body has more than {most} bytes")
                    last = not message.get("more_body")
                    if not entered and (last or size > EARLY_BYTES):
                        enter()
                        entered = True
                    if last:
                        return b"".join(parts)
        except TimeoutError:
            raise Refusal("timeout_of_request", f"the body did not arrive within {BODY_SECONDS:.0f} s") from None

    async def _run(self, endpoint: Endpoint, scope: Message, body: bytes, receive: Receive, send: Send) -> None:
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
            raise Gone from None
        finally:
            watcher.cancel()

    def _note(self, scope: Message, status: int, seconds: float, served: Served, path: str) -> None:
        route = getattr(scope.get("route"), "path", None) or ("unknown" if status in (404, 405) else "refused")
        code = status or 499  # the client went away
        self.metrics.requests.labels(route, str(code)).inc()
        self.metrics.seconds.labels(route).observe(seconds)
        if "task" in served.facts:
            self.metrics.recent.append(Seen(time.monotonic(), seconds, served.facts["task"], code))
        key: Key | None = scope.get("key")
        facts = {
            "request_id": scope["request_id"],
            "method": scope["method"],
            "route": route,
            "status": code,
            "milliseconds": round(seconds * 1000, 2),
            "key": key.name if key else None,
            "bytes": served.size,
            **served.facts,
        }
        with contextlib.suppress(ValueError):  # standard output was closed
            access.info(json.dumps(facts, ensure_ascii=False))


def _name(host: str) -> str:
    """A Host header without its port."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() else host).lower()
