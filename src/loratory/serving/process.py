"""The process: uvicorn around the application, and an orderly end.

SIGTERM or Ctrl-C: /health/ready says 503 and answers close their connections, so that balancers and clients go
elsewhere; what was accepted is answered; then the sockets close. A second signal ends at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from loratory.errors import SpecError
from loratory.serving.gate import HEADER_BYTES, Gate
from loratory.serving.server import Server

HEAD_SECONDS = 10.0  # within which a request's headers have to arrive
HEAD_BYTES = 2 * HEADER_BYTES  # that are read of a request before its headers are whole
LINGER = 0.3  # seconds in which clients learn that they should leave, at least


def bound(host: str, port: int) -> socket.socket:
    """A socket at this address. Raises SpecError where somebody has it, or this machine has not."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        made = socket.socket(family, kind, protocol)
    except OSError as problem:
        raise _taken(host, port, problem) from None
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
    except OSError as problem:
        made.close()
        raise _taken(host, port, problem) from None
    return made


def _taken(host: str, port: int, problem: OSError) -> SpecError:
    return SpecError(
        f"cannot listen at {host}, port {port}: {problem.strerror or problem}",
        where="port",
        allowed="an address of this machine, and a port that nobody else has",
        remedy="end what listens there, or choose another port: --port 0 takes any that is free",
    )


class Bounded(HttpToolsProtocol):
    """uvicorn's, with bounds on what comes before a request's body: its size and its time.

    It tells when a request was whole at the latest, as `arrived` of its scope: when the event loop began to read what
    had come, or a busy loop would take for new what has waited for it.
    """

    read: ClassVar[float | None] = None  # when the loop began to read, until it has

    @classmethod
    def _told(cls, loop: asyncio.AbstractEventLoop) -> float:
        if cls.read is None:
            cls.read = time.monotonic()
            loop.call_soon(cls._forget)
        return cls.read

    @classmethod
    def _forget(cls) -> None:
        cls.read = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._late: asyncio.TimerHandle | None = None
        self._head = 0
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        self._arrived()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._expect()

    def on_headers_complete(self) -> None:
        self._arrived()
        self.scope["arrived"] = self._told(self.loop)  # type: ignore[typeddict-unknown-key]
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self.scope["arrived"] = self._told(self.loop)  # type: ignore[typeddict-unknown-key]
        super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        begun = self._late is not None
        super().data_received(data)
        if begun and self._late is not None:
            self._head += len(data)
            if self._head > HEAD_BYTES and not self.transport.is_closing():
                self.send_400_response("The headers are too long.")

    def _expect(self) -> None:
        if self._late is None:
            self._late, self._head = self.loop.call_later(HEAD_SECONDS, self.transport.close), 0

    def _arrived(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


class Process(uvicorn.Server):
    """A server that leaves in order."""

    def __init__(self, gate: Gate, server: Server, announce: Callable[[str], None]) -> None:
        spec = server.spec
        super().__init__(
            uvicorn.Config(
                gate,
                interface="asgi3",
                http=Bounded,
                host=spec.host,
                port=spec.port,
                log_level="warning",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                date_header=True,
                lifespan="off",
                ws="none",
                backlog=2048,
                timeout_keep_alive=30,
                timeout_graceful_shutdown=max(int(spec.limits.drain_ms / 1000), 1),
            )
        )
        self.gate, self.server, self._announce = gate, server, announce
        self._leaving: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        try:
            await super().startup(sockets)  # type: ignore[arg-type]
        except OSError as problem:  # somebody was quicker, between binding and listening
            raise _taken(self.config.host, self.config.port, problem) from None
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            self._announce(f"http://{shown}:{port}")

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Instead of uvicorn's, which would stop listening at once."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.leave, number)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    def leave(self, number: int) -> None:
        """Begin to leave; when called again, leave now: whatever a thread is at, as if the signal had killed it."""
        if self._leaving is not None:
            os._exit(128 + number)
        self.server.ready = False
        self._leaving = asyncio.create_task(self._drain())

    async def _drain(self) -> None:
        await asyncio.sleep(LINGER)
        self.should_exit = True  # uvicorn closes its sockets, and waits for what is being answered
