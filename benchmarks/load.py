"""An open-loop load generator: requests leave when they are due, whether or not earlier ones were answered.

Latency is counted from when a request was due, so a slow server cannot hide behind a generator that waits for it.
Keep-alive connections, one request at a time on each; a connection that is missing is opened.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


def post(path: str, body: bytes, port: int) -> bytes:
    """A whole request."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


class Connection(asyncio.Protocol):
    """One answer at a time."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.waiting: asyncio.Future[tuple[int, bytes]] | None = None
        self.buffer = b""
        self.open = True

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self.buffer[:end].lower()
        at = head.find(b"content-length:")
        size = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(self.buffer) < end + 4 + size:
            return
        body, status = self.buffer[end + 4 : end + 4 + size], int(head[9:12])
        self.buffer = self.buffer[end + 4 + size :]
        if b"connection: close" in head:
            self.open = False
            self.transport.close()
        if self.waiting and not self.waiting.done():
            self.waiting.set_result((status, body))

    def connection_lost(self, problem: Exception | None) -> None:
        self.open = False
        if self.waiting and not self.waiting.done():
            self.waiting.set_exception(ConnectionResetError())

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        self.waiting = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self.waiting


@dataclass
class Ledger:
    """Every request ends in exactly one line."""

    statuses: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)  # of those answered with 200, from when they were due
    bodies: list[bytes | None] = field(default_factory=list)
    ended: float = 0.0  # seconds from the first to the last answer
    behind: float = 0.0  # seconds by which a request left late, at most: the generator's own

    def quantile(self, share: float) -> float:
        """Of the latencies, in milliseconds."""
        ordered = sorted(self.seconds)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)] * 1000 if ordered else float("nan")

    @property
    def good(self) -> int:
        """Answered with 200."""
        return self.statuses["200"]


@dataclass
class Client:
    """Connections to one port, and what became of every request."""

    port: int
    most: int
    patience: float
    ledger: Ledger = field(default_factory=Ledger)
    idle: list[Connection] = field(default_factory=list)
    opened: int = 0
    began: float = field(default_factory=time.perf_counter)

    async def connection(self) -> Connection | None:
        """An idle one, or a new one while there may be more."""
        while self.idle:
            found = self.idle.pop()
            if found.open:
                return found
            self.opened -= 1
        if self.opened >= self.most:
            return None
        self.opened += 1
        try:
            made = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", self.port)
        except OSError:
            self.opened -= 1
            raise
        return made[1]

    async def ask(self, number: int, request: bytes, due: float) -> None:
        """Ends in one line of the ledger."""
        connection: Connection | None = None
        try:
            async with asyncio.timeout(self.patience):
                connection = await self.connection()
                if connection is None:
                    self.ledger.statuses["no connection"] += 1
                    return
                status, body = await connection.ask(request)
        except TimeoutError:
            self.ledger.statuses["timeout"] += 1
            if connection is not None:
                connection.transport.close()
                self.opened -= 1
            return
        except OSError:
            self.ledger.statuses["reset"] += 1
            self.opened -= connection is not None
            return
        self.note(number, status, body, due)
        if connection.open:
            self.idle.append(connection)
        else:
            self.opened -= 1

    def note(self, number: int, status: int, body: bytes, due: float) -> None:
        """An answer."""
        now = time.perf_counter()
        self.ledger.statuses[str(status)] += 1
        self.ledger.ended = now - self.began
        if status == 200:
            self.ledger.seconds.append(now - due)
            self.ledger.bodies[number] = body


async def _send(client: Client, requests: Sequence[bytes], rate: float) -> Ledger:
    client.ledger.bodies = [None] * len(requests)
    tasks = []
    for number, request in enumerate(requests):
        due = client.began + number / rate
        if (left := due - time.perf_counter()) > 0:
            await asyncio.sleep(left)
        client.ledger.behind = max(client.ledger.behind, time.perf_counter() - due)
        tasks.append(asyncio.create_task(client.ask(number, request, due)))
    await asyncio.gather(*tasks)
    for connection in client.idle:
        connection.transport.close()
    return client.ledger


def send(port: int, requests: Sequence[bytes], rate: float, most: int = 512, patience: float = 30.0) -> Ledger:
    """Send all at so many a second over at most so many connections; each waits for its answer at most `patience`."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_send(Client(port, most, patience), requests, rate))
