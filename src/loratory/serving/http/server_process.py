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
from loratory.serving.http.application import HttpApplication
from loratory.serving.http.middleware.header_limit import HEADER_BYTES
from loratory.serving.http.server import Server

try:
    import fcntl
    import resource
    import termios
except ImportError:  # no such calls on Windows
    fcntl = resource = termios = None  # type: ignore[assignment]

log = logging.getLogger("loratory.serving")

HEADER_TIMEOUT_SECONDS = 10.0  # within which a request's headers have to arrive
MAX_HEADER_BYTES = 2 * HEADER_BYTES  # that are read of a request before its headers are whole
MAX_PIPELINED_REQUESTS = 64  # requests of one connection that wait for the answer to the one before
SEND_BUFFER = 128 * 1024  # that the system is asked to hold of a connection's answers: its own would be megabytes
STALLED_CLIENT_SECONDS = 30.0  # without progress, after which an answer that nobody reads is given up
KEEP_ALIVE_SECONDS = 30  # that a connection without a request stays open
RESERVED_DESCRIPTORS = 128  # descriptors that are not for connections: files, pipes, and those who are turned away
MAX_REJECTED_CONNECTIONS = 64  # connections over the bound that are told so; more are closed without a word
REJECTED_LINGER_SECONDS = 0.2  # in which one that is turned away can read why
REJECTION_RESPONSE = (
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\n"
    b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
)
REJECTION_BODY = b'{"error": {"code": "unavailable", "message": "the server has no room for another connection"}}'
LISTEN_BACKLOG = 2048  # connections that wait to be accepted
MAX_ACCEPTS_PER_TURN = 256  # of them that are accepted before others have their turn
ACCEPT_PAUSE_SECONDS = 0.2  # seconds without accepting where there is no descriptor left
RELOAD_SIGNAL: int | None = getattr(signal, "SIGHUP", None)  # none on Windows
DRAIN_DELAY_SECONDS = 0.3  # seconds in which clients learn that they should leave, at least


def bind_socket(host: str, port: int) -> socket.socket:
    """A socket at this address. Raises SpecError where somebody has it, or this machine has not."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        made = socket.socket(family, kind, protocol)
    except OSError as problem:
        raise _address_in_use_error(host, port, problem) from None
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)  # connections inherit it
        made.bind(address)
    except OSError as problem:
        made.close()
        raise _address_in_use_error(host, port, problem) from None
    return made


def _address_in_use_error(host: str, port: int, problem: OSError) -> SpecError:
    return SpecError(
        f"cannot listen at {host}, port {port}: {problem.strerror or problem}",
        where="port",
        allowed="an address of this machine, and a port that nobody else has",
        remedy="end what listens there, or choose another port: --port 0 takes any that is free",
    )


def limit_connections(requested: int) -> int:
    """As many as a spec asks for, and no more than the process may open."""
    if resource is not None:
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if files != resource.RLIM_INFINITY:
            return max(min(requested, files - RESERVED_DESCRIPTORS), 1)
    return requested


def count_unsent_bytes(transport: asyncio.Transport) -> int:
    """Bytes that wait for a client; what the system holds of them counts where more wait here."""
    size: int = transport.get_write_buffer_size()
    if not size or termios is None:
        return size
    try:
        held = fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
    except OSError:  # this system does not tell of sockets
        return size
    return size + int.from_bytes(held, sys.byteorder)


class LimitedHttpProtocol(HttpToolsProtocol):
    """uvicorn's, with bounds: on how many connections there are, on what comes before a request's body (its size and
    its time), and on how long an answer waits to be read.

    A client that closes its side of the connection counts as gone, as one whose process ended: both send the same.
    The scope of a request tells when it was whole at the latest, as `arrived`: when the event loop began to read what
    had come, or a busy loop would take for new what has waited for it.
    """

    read_started_at: ClassVar[float | None] = None  # when the loop began to read, until it has

    def __init__(self, *, max_connections: int, on_rejected: Callable[[], None], **given: Any) -> None:
        super().__init__(**given)
        self._max_connections, self._on_rejected = max_connections, on_rejected
        self._header_timer: asyncio.TimerHandle | None = None
        self._rejected = False
        self._header_bytes = 0
        self._unsent_bytes, self._stalled_since = 0, 0.0

    @classmethod
    def _arrival_time(cls, loop: asyncio.AbstractEventLoop) -> float:
        if cls.read_started_at is None:
            cls.read_started_at = time.monotonic()
            loop.call_soon(cls._reset_read_start)
        return cls.read_started_at

    @classmethod
    def _reset_read_start(cls) -> None:
        cls.read_started_at = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """A client is there: count it, and turn it away where there are too many."""
        super().connection_made(transport)
        if len(self.connections) <= self._max_connections:
            self._start_header_timer()
            return
        self._rejected = True
        self._on_rejected()
        if len(self.connections) > self._max_connections + MAX_REJECTED_CONNECTIONS:
            transport.abort()
            return
        transport.write(REJECTION_RESPONSE % (len(REJECTION_BODY), REJECTION_BODY))
        self._header_timer = self.loop.call_later(REJECTED_LINGER_SECONDS, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone: nothing is timed any more."""
        self._cancel_header_timer()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """A request begins: its headers have to arrive in HEADER_TIMEOUT_SECONDS."""
        super().on_message_begin()
        self._start_header_timer()

    def on_headers_complete(self) -> None:
        """Note in the scope when they had arrived; raises ValueError, which httptools answers with 400, for too many
        pipelined requests.
        """
        self._cancel_header_timer()
        self.scope["arrived"] = self._arrival_time(self.loop)  # type: ignore[typeddict-unknown-key]
        super().on_headers_complete()
        if len(self.pipeline) > MAX_PIPELINED_REQUESTS:  # each holds memory, and costs a client next to nothing
            raise ValueError("too many requests that wait for the answer to the one before")

    def on_message_complete(self) -> None:
        """The body is whole: from then on the request counts as arrived."""
        self.scope["arrived"] = self._arrival_time(self.loop)  # type: ignore[typeddict-unknown-key]
        super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        """Pass on what a client sends, but not one that is turned away; 400 beyond MAX_HEADER_BYTES of headers."""
        if self._rejected:
            return
        begun = self._header_timer is not None
        super().data_received(data)
        if begun and self._header_timer is not None:
            self._header_bytes += len(data)
            if self._header_bytes > MAX_HEADER_BYTES and not self.transport.is_closing():
                self.send_400_response("The headers are too long.")

    def abort_if_stalled(self) -> None:
        """Give up a client that has read nothing for long of what waits for it: a closed connection waits, too."""
        size, now = count_unsent_bytes(self.transport), self.loop.time()
        if size < self._unsent_bytes or not self._unsent_bytes:
            self._stalled_since = now
        elif now - self._stalled_since > STALLED_CLIENT_SECONDS:
            self.transport.abort()
        self._unsent_bytes = size

    def _start_header_timer(self) -> None:
        if self._header_timer is None:
            self._header_timer, self._header_bytes = (
                self.loop.call_later(HEADER_TIMEOUT_SECONDS, self.transport.close),
                0,
            )

    def _cancel_header_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None


class Acceptor:
    """Accepts whatever waits at a socket, all at once, as uvicorn's servers are used.

    uvloop's own accepts one connection between two looks at all the others: in a busy loop new ones wait for seconds.
    """

    def __init__(self, listening: socket.socket, protocol: Callable[[], asyncio.Protocol]) -> None:
        self.sockets = (listening,)
        self._protocol, self._loop = protocol, asyncio.get_running_loop()
        self._connecting: set[asyncio.Task[Any]] = set()
        listening.setblocking(False)
        listening.listen(LISTEN_BACKLOG)
        self._loop.add_reader(listening, self._accept_connections)

    def _accept_connections(self) -> None:
        (listening,) = self.sockets
        for _ in range(MAX_ACCEPTS_PER_TURN):
            try:
                connection, _ = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as problem:  # too many files, for now
                log.warning("no connection can be accepted: %s", problem.strerror)
                self._loop.remove_reader(listening)
                self._loop.call_later(ACCEPT_PAUSE_SECONDS, self._resume_accepting)
                return
            connection.setblocking(False)
            task = self._loop.create_task(self._loop.connect_accepted_socket(self._protocol, connection))
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    def _resume_accepting(self) -> None:
        (listening,) = self.sockets
        if listening.fileno() >= 0:
            self._loop.add_reader(listening, self._accept_connections)

    def close(self) -> None:
        """Accept nobody any more."""
        (listening,) = self.sockets
        if listening.fileno() >= 0:
            self._loop.remove_reader(listening)
            listening.close()

    async def wait_closed(self) -> None:
        """Until those that were accepted are connected."""
        await asyncio.gather(*self._connecting, return_exceptions=True)


class ServerProcess(uvicorn.Server):
    """A server that leaves in order."""

    def __init__(self, app: HttpApplication, server: Server, announce: Callable[[str], None]) -> None:
        spec = server.spec
        self._max_connections = limit_connections(spec.limits.connections)
        count_rejected = app.metrics.requests.labels("refused", "503").inc
        protocol: Any = partial(LimitedHttpProtocol, max_connections=self._max_connections, on_rejected=count_rejected)
        super().__init__(
            uvicorn.Config(
                app,
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
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=max(int(spec.limits.drain_ms / 1000), 1),
            )
        )
        self.app, self.server, self._announce = app, server, announce
        self.on_listening = announce  # gets the URL
        self._drain_task: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, by acceptors of our own, and tell where. Raises SpecError where somebody has the address."""

        def protocol() -> asyncio.Protocol:
            made: Any = self.config.http_protocol_class
            return made(config=self.config, server_state=self.server_state, app_state={})  # type: ignore[no-any-return]

        try:
            doors: list[Any] = [
                Acceptor(one, protocol) for one in sockets or [bind_socket(self.config.host, self.config.port)]
            ]
        except OSError as problem:  # somebody was quicker, between binding and listening
            raise _address_in_use_error(self.config.host, self.config.port, problem) from None
        self.server.check_keys(now=True)  # they were read before the models were
        self.servers, self.started = doors, True
        host, port = doors[0].sockets[0].getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        self.on_listening(f"http://{shown}:{port}")
        if self._max_connections < self.server.spec.limits.connections:
            self._announce(f"at most {self._max_connections} connections: this process may open few files (ulimit -n)")

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second; uvicorn's own, and once a second a look at who reads what is sent, and at the keys."""
        if counter % 10 == 0:
            self.server.check_keys()
            for connection in list(self.server_state.connections):
                if isinstance(connection, LimitedHttpProtocol):
                    connection.abort_if_stalled()
        return await super().on_tick(counter)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Instead of uvicorn's, which would stop listening at once."""
        loop = asyncio.get_running_loop()
        handlers: dict[int, Callable[[], None]] = {
            number: partial(self.begin_shutdown, number) for number in (signal.SIGTERM, signal.SIGINT)
        }
        if self.server.key_watcher is not None and RELOAD_SIGNAL is not None:
            handlers[RELOAD_SIGNAL] = self.server.key_watcher.reload
        for number, handler in handlers.items():
            loop.add_signal_handler(number, handler)
        try:
            yield
        finally:
            for number in handlers:
                loop.remove_signal_handler(number)

    def begin_shutdown(self, number: int) -> None:
        """Begin to leave; when called again, leave now: whatever a thread is at, as if the signal had killed it."""
        if self._drain_task is not None:
            os._exit(128 + number)
        self.server.ready = False
        self._drain_task = asyncio.create_task(self._drain())

    async def _drain(self) -> None:
        await asyncio.sleep(DRAIN_DELAY_SECONDS)
        self.should_exit = True  # uvicorn closes its sockets, and waits for what is being answered
