"""Clients that do not behave: `crowd.py PORT NUMBER`, until it is killed. It says `here` when all of them have come."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import sys
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable

DRIP = 2.0  # seconds between two bytes of a slow client
HEAD = b"POST /v1/tasks/tiny/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n"
BODY = b'{"inputs": ["my card was stolen please help"]}'
LARGE = b"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


async def idle(reader: StreamReader, writer: StreamWriter) -> None:
    await reader.read()


async def slow_head(reader: StreamReader, writer: StreamWriter) -> None:
    await drips(reader, writer, HEAD % 10)


async def slow_body(reader: StreamReader, writer: StreamWriter) -> None:
    writer.write(HEAD % 1000)
    await drips(reader, writer, b" " * 1000)


async def drips(reader: StreamReader, writer: StreamWriter, sent: bytes) -> None:
    """A byte now and then, until the server has enough of it."""
    gone = asyncio.ensure_future(reader.read())
    try:
        for one in sent:
            writer.write(bytes([one]))
            await asyncio.wait([gone], timeout=DRIP)
            if gone.done():
                return
    finally:
        gone.cancel()


async def half_closed(reader: StreamReader, writer: StreamWriter) -> None:
    """Nothing more comes of a request that has begun."""
    writer.write(HEAD % 10)
    writer.write_eof()
    await reader.read()
    await asyncio.sleep(10)


async def asks_and_closes_half(reader: StreamReader, writer: StreamWriter) -> None:
    writer.write(HEAD % len(BODY) + BODY)
    writer.write_eof()
    await reader.read()
    await asyncio.sleep(10)


async def does_not_read(reader: StreamReader, writer: StreamWriter) -> None:
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    writer.write(LARGE * 40)
    await asyncio.sleep(3600)


KINDS: tuple[Callable[[StreamReader, StreamWriter], Awaitable[None]], ...] = (
    idle, slow_head, slow_body, half_closed, asks_and_closes_half, does_not_read
)  # fmt: skip


async def client(port: int, number: int, came: list[int]) -> None:
    """One that comes again when it was sent away."""
    await asyncio.sleep(random.Random(number).uniform(0, DRIP))
    while True:
        made = socket.socket()
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with contextlib.suppress(OSError):
            await asyncio.get_running_loop().sock_connect(made, ("127.0.0.1", port))
            reader, writer = await asyncio.open_connection(sock=made)
            came.append(number)
            try:
                await KINDS[number % len(KINDS)](reader, writer)
            finally:
                writer.close()
        made.close()
        await asyncio.sleep(0.2)


async def run(port: int, number: int) -> None:
    """So many, a like number of each kind."""
    came: list[int] = []
    tasks = [asyncio.create_task(client(port, one, came)) for one in range(number)]
    while len(set(came)) < number:
        await asyncio.sleep(0.1)
    sys.stdout.write("here\n")
    sys.stdout.flush()
    await asyncio.gather(*tasks)


if __name__ == "__main__":
    asyncio.run(run(int(sys.argv[1]), int(sys.argv[2])))
