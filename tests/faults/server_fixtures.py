"""A server's process for tests: started, asked over sockets, signalled; and what it wrote down."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .run_fixtures import CommandResult, ProcessPool, wait_until

FAST_OPTIONS = ("--set", "precision=fp32", "--set", "threads=1")


@dataclass(frozen=True)
class HttpResponse:
    """A status with its headers and body; status 0 where the connection ended without an answer."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class KeepAliveConnection:
    """One connection that stays open between requests, as long as both sides want it to."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._reader: Any = None
        self._writer: Any = None

    async def request(self, method: str, path: str, body: bytes = b"", **headers: str) -> HttpResponse:
        """Raises ConnectionRefusedError where nobody listens any more."""
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self.port)
        told = {"Host": f"127.0.0.1:{self.port}", "Content-Length": str(len(body)), **headers}
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in told.items())]
        try:
            self._writer.write("\r\n".join([*lines, "", ""]).encode() + body)
            await self._writer.drain()
            return await self._read()
        except (ConnectionError, asyncio.IncompleteReadError):
            self.close()
            return HttpResponse(0)

    async def _read(self) -> HttpResponse:
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        body = await self._reader.readexactly(int(headers.get("content-length", 0)))
        if headers.get("connection") == "close":
            self.close()
        return HttpResponse(int(head[0].split()[1]), headers, body)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writer = None


@dataclass
class RunningServer:
    """A process that serves."""

    pid: int
    port: int
    process_pool: ProcessPool
    result: CommandResult | None = None

    def request(self, method: str, path: str, body: Any = None, **headers: str) -> HttpResponse:
        async def once() -> HttpResponse:
            line = KeepAliveConnection(self.port)
            try:
                return await line.request(method, path, b"" if body is None else json.dumps(body).encode(), **headers)
            finally:
                line.close()

        return asyncio.run(once())

    def is_ready(self) -> bool:
        try:
            return self.request("GET", "/health/ready").status == 200
        except OSError:
            return False

    def signal(self, number: int = signal.SIGTERM) -> None:
        os.kill(self.pid, number)

    def wait(self) -> CommandResult:
        """Wait until it has ended."""
        if self.result is None:
            self.result = self.process_pool.wait()
        return self.result

    def count_open_files(self) -> int:
        """Open descriptors."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def resident_mebibytes(self) -> float:
        """Resident, in MiB."""
        return float(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def read_access_log(done: CommandResult) -> list[Mapping[str, Any]]:
    """The lines of the requests that a process has answered, or given up."""
    rows = [json.loads(line) for line in done.err.splitlines() if line.startswith("{")]
    return [row for row in rows if "request_id" in row]


def find_free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@contextmanager
def run_server(process_pool: ProcessPool, folder: Path, *words: str | Path) -> Iterator[RunningServer]:
    """`loratory serve` in a folder; it is killed where the test has not ended it."""
    port = find_free_port()
    pid = process_pool.start(folder, "serve", *words, "--port", str(port), *FAST_OPTIONS)
    made = RunningServer(pid, port, process_pool)
    try:
        wait_until(lambda: made.is_ready() or has_exited(pid))
        assert not has_exited(pid), made.wait().err
        yield made
    finally:
        if made.result is None:
            os.kill(pid, signal.SIGKILL)
            made.wait()


def has_exited(pid: int) -> bool:
    """Whether it has ended; the pool has not reaped it yet."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


@dataclass
class RequestTally:
    """Requests by id, with their status."""

    statuses: dict[str, int] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    missing_retry_after: int = 0  # refusals that do not say when to come again

    def record(self, name: str, said: HttpResponse, seconds: float) -> None:
        assert name not in self.statuses
        self.statuses[name] = said.status
        self.seconds.append(seconds)
        self.missing_retry_after += said.status == 429 and not said.headers.get("retry-after", "").isdigit()

    def count_status(self, status: int) -> int:
        return sum(one == status for one in self.statuses.values())


async def send_until_closed(
    port: int, path: str, bodies: Sequence[bytes], tally: RequestTally, client_name: str
) -> None:
    """One request after another on one connection, or the next, until nobody listens any more."""
    line = KeepAliveConnection(port)
    number = 0
    while True:
        name = f"{client_name}-{number}"
        started = time.monotonic()
        try:
            said = await line.request("POST", path, bodies[number % len(bodies)], **{"X-Request-Id": name})
        except OSError:
            return
        tally.record(name, said, time.monotonic() - started)
        number += 1
