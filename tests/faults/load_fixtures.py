"""Clients that do not behave: `load_fixtures.py PORT NUMBER`, until it is killed. It says `here` when all have come."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import sys
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable

DRIP_SECONDS = 2.0  # seconds between two bytes of a slow client
REQUEST_HEAD = b"POST /v1/tasks/tiny/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n"
BODY = b'{"inputs": ["my card was stolen please help"]}'
LARGE_REQUEST = b"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


async def stay_idle(reader: StreamReader, writer: StreamWriter) -> None:
    await reader.read()


async def send_head_slowly(reader: StreamReader, writer: StreamWriter) -> None:
    await send_slowly(reader, writer, REQUEST_HEAD % 10)


async def send_body_slowly(reader: StreamReader, writer: StreamWriter) -> None:
    writer.write(REQUEST_HEAD % 1000)
    await send_slowly(reader, writer, b" " * 1000)


async def send_slowly(reader: StreamReader, writer: StreamWriter, sent: bytes) -> None:
    """A byte now and then, until the server has enough of it."""
    gone = asyncio.ensure_future(reader.read())
    try:
        for one in sent:
            writer.write(bytes([one]))
            await asyncio.wait([gone], timeout=DRIP_SECONDS)
            if gone.done():
                return
    finally:
        gone.cancel()


async def close_half_of_request(reader: StreamReader, writer: StreamWriter) -> None:
    """Nothing more comes of a request that has begun."""
    writer.write(REQUEST_HEAD % 10)
    writer.write_eof()
    await reader.read()
    await asyncio.sleep(10)


async def close_half_after_request(reader: StreamReader, writer: StreamWriter) -> None:
    writer.write(REQUEST_HEAD % len(BODY) + BODY)
    writer.write_eof()
    await reader.read()
    await asyncio.sleep(10)


async def stop_reading(reader: StreamReader, writer: StreamWriter) -> None:
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    writer.write(LARGE_REQUEST * 40)
    await asyncio.sleep(3600)


CLIENT_KINDS: tuple[Callable[[StreamReader, StreamWriter], Awaitable[None]], ...] = (
    stay_idle, send_head_slowly, send_body_slowly, close_half_of_request, close_half_after_request, stop_reading
)  # fmt: skip


async def run_client(port: int, number: int, connected: list[int]) -> None:
    """One that comes again when it was sent away."""
    await asyncio.sleep(random.Random(number).uniform(0, DRIP_SECONDS))
    while True:
        made = socket.socket()
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with contextlib.suppress(OSError):
            await asyncio.get_running_loop().sock_connect(made, ("127.0.0.1", port))
            reader, writer = await asyncio.open_connection(sock=made)
            connected.append(number)
            try:
                await CLIENT_KINDS[number % len(CLIENT_KINDS)](reader, writer)
            finally:
                writer.close()
        made.close()
        await asyncio.sleep(0.2)


async def run_clients(port: int, number: int) -> None:
    """So many, a like number of each kind."""
    came: list[int] = []
    tasks = [asyncio.create_task(run_client(port, one, came)) for one in range(number)]
    while len(set(came)) < number:
        await asyncio.sleep(0.1)
    sys.stdout.write("here\n")
    sys.stdout.flush()
    await asyncio.gather(*tasks)


if __name__ == "__main__":
    asyncio.run(run_clients(int(sys.argv[1]), int(sys.argv[2])))
