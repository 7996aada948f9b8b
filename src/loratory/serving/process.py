"""The process: uvicorn around the application, bounds on its connections, and an orderly end.

SIGTERM or Ctrl-C: /health/ready says 503 and answers close their connections, so that balancers and clients go
elsewhere; what was accepted is answered; then the sockets close. A second signal ends at once. SIGHUP: the file of keys
is read again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, ClassVar

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from loratory.errors import SpecError
from loratory.serving.gate import HEADER_BYTES, Gate
from loratory.serving.server import Server

try:
    import fcntl
    import resource
    import termios
except ImportError:  # no such calls on Windows
    fcntl = resource = termios = None  # type: ignore[assignment]

log = logging.getLogger("loratory.serving")

HEAD_SECONDS = 10.0  # within which a request's headers have to arrive
HEAD_BYTES = 2 * HEADER_BYTES  # that are read of a request before its headers are whole
PIPELINED = 64  # requests of one connection that wait for the answer to the one before
SEND_BUFFER = 128 * 1024  # that the system is asked to hold of a connection's answers: its own would be megabytes
STALLED_SECONDS = 30.0  # without progress, after which an answer that nobody reads is given up
KEEP_SECONDS = 30  # that a connection without a request stays open
RESERVE = 128  # descriptors that are not for connections: files, pipes, and those who are turned away
TURNED = 64  # connections over the bound that are told so; more are closed without a word
TURNED_SECONDS = 0.2  # in which one that is turned away can read why
FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\n"
    b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
)
WHY = b'{"error": {"code": "unavailable", "message": "the server has no room for another connection"}}'
BACKLOG = 2048  # connections that wait to be accepted
AT_ONCE = 256  # of them that are accepted before others have their turn
PAUSE = 0.2  # seconds without accepting where there is no descriptor left
HANGUP: int | None = getattr(signal, "SIGHUP", None)  # none on Windows
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
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)  # connections inherit it
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


def connections_at_most(asked: int) -> int:
    """As many as a spec asks for, and no more than the process may open."""
    if resource is not None:
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if files != resource.RLIM_INFINITY:
            return max(min(asked, files - RESERVE), 1)
    return asked


def unread(transport: Any) -> int:
    """Bytes that wait for a client; what the system holds of them counts where more wait here."""
    size: int = transport.get_write_buffer_size()
    if not size or termios is None:
        return size
    try:
        held = fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
    except OSError:  # this system does not tell of sockets
        return size
    return size + int.from_bytes(held, sys.byteorder)


class Bounded(HttpToolsProtocol):
    """uvicorn's, with bounds: on how many connections there are, on what comes before a request's body (its size and
    its time), and on how long an answer waits to be read.

    A client that closes its side of the connection counts as gone, as one whose process ended: both send the same.
    The scope of a request tells when it was whole at the latest, as `arrived`: when the event loop began to read what
    had come, or a busy loop would take for new what has waited for it.
    """

    read: ClassVar[float | None] = None  # when the loop began to read, until it has

    def __init__(self, *, most: int, turned: Callable[[], None], **given: Any) -> None:
        super().__init__(**given)
        self._most, self._turned = most, turned
        self._late: asyncio.TimerHandle | None = None
        self._away = False
        self._head = 0
        self._unread, self._since = 0, 0.0

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
        if len(self.connections) <= self._most:
            self._expect()
            return
        self._away = True
        self._turned()
        if len(self.connections) > self._most + TURNED:
            transport.abort()
            return
        transport.write(FULL % (len(WHY), WHY))
        self._late = self.loop.call_later(TURNED_SECONDS, transport.close)

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
        if len(self.pipeline) > PIPELINED:  # each holds memory, and costs a client next to nothing
            raise ValueError("too many requests that wait for the answer to the one before")

    def on_message_complete(self) -> None:
        self.scope["arrived"] = self._told(self.loop)  # type: ignore[typeddict-unknown-key]
        super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        if self._away:
            return
        begun = self._late is not None
        super().data_received(data)
        if begun and self._late is not None:
            self._head += len(data)
            if self._head > HEAD_BYTES and not self.transport.is_closing():
                self.send_400_response("The headers are too long.")

    def look(self) -> None:
        """Give up a client that has read nothing for long of what waits for it: a closed connection waits, too."""
        size, now = unread(self.transport), self.loop.time()
        if size < self._unread or not self._unread:
            self._since = now
        elif now - self._since > STALLED_SECONDS:
            self.transport.abort()
        self._unread = size

    def _expect(self) -> None:
        if self._late is None:
            self._late, self._head = self.loop.call_later(HEAD_SECONDS, self.transport.close), 0

    def _arrived(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


class Door:
    """Accepts whatever waits at a socket, all at once, as uvicorn's servers are used.

    uvloop's own accepts one connection between two looks at all the others: in a busy loop new ones wait for seconds.
    """

    def __init__(self, listening: socket.socket, protocol: Callable[[], asyncio.Protocol]) -> None:
        self.sockets = (listening,)
        self._protocol, self._loop = protocol, asyncio.get_running_loop()
        self._coming: set[asyncio.Task[Any]] = set()
        listening.setblocking(False)
        listening.listen(BACKLOG)
        self._loop.add_reader(listening, self._accept)

    def _accept(self) -> None:
        (listening,) = self.sockets
        for _ in range(AT_ONCE):
            try:
                connection, _ = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as problem:  # too many files, for now
                log.warning("no connection can be accepted: %s", problem.strerror)
                self._loop.remove_reader(listening)
                self._loop.call_later(PAUSE, self._again)
                return
            connection.setblocking(False)
            task = self._loop.create_task(self._loop.connect_accepted_socket(self._protocol, connection))
            self._coming.add(task)
            task.add_done_callback(self._coming.discard)

    def _again(self) -> None:
        (listening,) = self.sockets
        if listening.fileno() >= 0:
            self._loop.add_reader(listening, self._accept)

    def close(self) -> None:
        """Accept nobody any more."""
        (listening,) = self.sockets
        if listening.fileno() >= 0:
            self._loop.remove_reader(listening)
            listening.close()

    async def wait_closed(self) -> None:
        """Until those that were accepted are connected."""
        await asyncio.gather(*self._coming, return_exceptions=True)


class Process(uvicorn.Server):
    """A server that leaves in order."""

    def __init__(self, gate: Gate, server: Server, announce: Callable[[str], None]) -> None:
        spec = server.spec
        self._most = connections_at_most(spec.limits.connections)
        turned = gate.metrics.requests.labels("refused", "503").inc
        protocol: Any = partial(Bounded, most=self._most, turned=turned)
        super().__init__(
            uvicorn.Config(
                gate,
                interface="asgi3",
                http=protocol,
                host=spec.host,
                port=spec.port,
                log_level="warning",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                date_header=True,
                lifespan="off",
                ws="none",
                timeout_keep_alive=KEEP_SECONDS,
                timeout_graceful_shutdown=max(int(spec.limits.drain_ms / 1000), 1),
            )
        )
        self.gate, self.server, self._announce = gate, server, announce
        self._leaving: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        def protocol() -> asyncio.Protocol:
            made: Any = self.config.http_protocol_class
            return made(config=self.config, server_state=self.server_state, app_state={})  # type: ignore[no-any-return]

        try:
            doors: list[Any] = [Door(one, protocol) for one in sockets or [bound(self.config.host, self.config.port)]]
        except OSError as problem:  # somebody was quicker, between binding and listening
            raise _taken(self.config.host, self.config.port, problem) from None
        self.server.look(now=True)  # they were read before the models were
        self.servers, self.started = doors, True
        host, port = doors[0].sockets[0].getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        self._announce(f"http://{shown}:{port}")
        if self._most < self.server.spec.limits.connections:
            self._announce(f"at most {self._most} connections: this process may open few files (ulimit -n)")

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second; uvicorn's own, and once a second a look at who reads what is sent, and at the keys."""
        if counter % 10 == 0:
            self.server.look()
            for connection in list(self.server_state.connections):
                if isinstance(connection, Bounded):
                    connection.look()
        return await super().on_tick(counter)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Instead of uvicorn's, which would stop listening at once."""
        loop = asyncio.get_running_loop()
        handlers: dict[int, Callable[[], None]] = {
            number: partial(self.leave, number) for number in (signal.SIGTERM, signal.SIGINT)
        }
        if self.server.watch is not None and HANGUP is not None:
            handlers[HANGUP] = self.server.watch.reread
        for number, handler in handlers.items():
            loop.add_signal_handler(number, handler)
        try:
            yield
        finally:
            for number in handlers:
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
