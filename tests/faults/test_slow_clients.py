"""Clients that are slow, silent, half-closed, too many, or that do not read: the others do not notice."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from loratory.serving.app import create_app
from loratory.serving.http import server_process as processes
from loratory.serving.http.server import Server
from loratory.serving.http.server_process import ServerProcess, bind_socket, limit_connections
from serving_fixtures import FakeBackbone, make_plannable, make_router_server, make_server, make_service

from . import run_fixtures
from .run_fixtures import run_command, wait_until
from .server_fixtures import KeepAliveConnection, RunningServer, run_server

PREDICT = "/v1/tasks/tiny/predict"
PREDICT_BODY = json.dumps({"inputs": ["my card was stolen please help"]}).encode()


@pytest.fixture(scope="module")
def ran(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a finished run."""
    folder = run_fixtures.make_workspace(
        tmp_path_factory.mktemp("slow") / "w",
        base,
        run_fixtures.make_spec("  - tfidf\n  - lora\n", serve="{contender: lora}"),
    )
    done = run_command(folder, "run", "spec.yaml")
    assert done.code == 0, done.err
    return folder


# -- many of them, beside a process
@contextlib.contextmanager
def run_slow_clients(port: int, number: int) -> Iterator[None]:
    """In a process of their own, so that they do not hold up those whose answers are timed."""
    script = Path(__file__).with_name("load_fixtures.py")
    process = subprocess.Popen([sys.executable, str(script), str(port), str(number)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"here\n"
        time.sleep(3.0)  # what they ask for as they come is another thing: overload
        yield
    finally:
        process.kill()
        process.communicate()


async def healthy(port: int, seconds: float) -> list[float]:
    """Milliseconds of each answer, of two clients at a low load; every one has to be a 200."""
    waited: list[float] = []

    async def one() -> None:
        line, end = KeepAliveConnection(port), time.monotonic() + seconds
        while time.monotonic() < end:
            started = time.monotonic()
            said = await line.request("POST", PREDICT, PREDICT_BODY)
            waited.append((time.monotonic() - started) * 1000)
            assert said.status == 200, said
            await asyncio.sleep(0.01)
        line.close()

    await asyncio.gather(one(), one())
    return waited


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(int(share * len(values)), len(values) - 1)]


def measure_beside_slow_clients(server: RunningServer, number: int, turns: int, seconds: float) -> dict[str, float]:
    """What the others notice, and what is left behind."""
    asyncio.run(healthy(server.port, 1.0))  # warm
    files, memory = server.count_open_files(), server.resident_mebibytes()
    peaks: dict[str, float] = {}
    left = []
    alone, among = [], []
    for _ in range(turns):  # the machine has moods
        alone += asyncio.run(healthy(server.port, seconds))
        with run_slow_clients(server.port, number):
            among += asyncio.run(healthy(server.port, seconds))
            peaks["files"] = server.count_open_files() - files
            peaks["memory"] = server.resident_mebibytes() - memory
        time.sleep(0.5)
        left.append(server.resident_mebibytes() - memory)
    wait_until(lambda: server.count_open_files() <= files, 10)
    return {
        "asked": len(alone) + len(among),
        "p99 without": percentile(alone, 0.99),
        "p99 with": percentile(among, 0.99),
        "p50 without": percentile(alone, 0.5),
        "p50 with": percentile(among, 0.5),
        "files held": peaks["files"],
        "files left": server.count_open_files() - files,
        "MiB held": peaks["memory"],
        "MiB left": left[-1],
        "MiB left by the first crowd": left[0],
    }


def format_facts(facts: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.1f}" for name, value in facts.items())


def test_others_do_not_notice_slow_clients(process_pool: run_fixtures.ProcessPool, ran: Path) -> None:
    with run_server(process_pool, ran, "runs/tiny") as server:
        facts = measure_beside_slow_clients(server, 60, 1, 2.0)
        assert server.is_ready()
    assert facts["files held"] > 30, format_facts(facts)
    assert facts["files left"] <= 0, format_facts(facts)
    assert facts["MiB left"] < 30, format_facts(facts)
    assert facts["p99 with"] < 2 * facts["p99 without"] + 50, format_facts(facts)  # few requests on a busy machine


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_others_do_not_notice_1000_slow_clients(
    process_pool: run_fixtures.ProcessPool, ran: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with run_server(process_pool, ran, "runs/tiny") as server:
        facts = measure_beside_slow_clients(server, 1000, 3, 10.0)
    with capsys.disabled():
        print(f"\n{format_facts(facts)}")  # noqa: T201
    assert facts["files held"] > 500, format_facts(facts)
    assert facts["files left"] <= 0, format_facts(facts)
    assert facts["MiB left"] < 150, format_facts(facts)  # freed memory is kept by choice (models/memory.py):
    assert facts["MiB left"] < facts["MiB left by the first crowd"] + 10, format_facts(facts)  # the next ones find it
    assert facts["p99 with"] <= 2 * facts["p99 without"], format_facts(facts)


# -- one rule at a time, in this process
@dataclass
class Here:
    """A server on this event loop."""

    port: int
    process: ServerProcess
    server: Server

    async def open(self, *parts: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        for part in parts:
            writer.write(part)
        return reader, writer

    async def status(self, path: str = "/health/live") -> int:
        line = KeepAliveConnection(self.port)
        try:
            return (await line.request("GET", path)).status
        finally:
            line.close()

    @property
    def connections(self) -> list[Any]:
        return list(self.process.server_state.connections)


@contextlib.asynccontextmanager
async def serving(server: Server) -> AsyncIterator[Here]:
    process = ServerProcess(create_app(server), server, lambda _: None)
    listening = bind_socket("127.0.0.1", 0)
    serving = asyncio.create_task(process.serve([listening]))
    while not process.started:
        await asyncio.sleep(0.01)
    try:
        yield Here(listening.getsockname()[1], process, server)
    finally:
        process.should_exit = True
        await asyncio.wait_for(serving, 20)
        server.engine.close()


async def soon(what: Callable[[], bool], seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen"
        await asyncio.sleep(0.01)


async def said(reader: asyncio.StreamReader) -> bytes:
    """All that comes until the other side closes."""
    return await asyncio.wait_for(reader.read(), 10)


LIVE = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
ASKED = b"POST /v1/tasks/intent/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
CASH = b'{"inputs": ["cash"]}'


def test_connections_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "MAX_REJECTED_CONNECTIONS", 2)
    monkeypatch.setattr(processes, "REJECTED_LINGER_SECONDS", 0.5)

    async def run() -> None:
        async with serving(make_router_server(tmp_path, limits={"connections": 3})) as here:
            kept = [await here.open() for _ in range(3)]
            await soon(lambda: len(here.connections) == 3)
            turned = [await here.open(LIVE) for _ in range(4)]
            answers = await asyncio.gather(*(said(reader) for reader, _ in turned), return_exceptions=True)
            heads = [one.partition(b"\r\n\r\n") for one in answers if isinstance(one, bytes) and one]
            assert len(heads) == 2  # the others were closed without a word
            for head, _, body in heads:
                assert head.startswith(b"HTTP/1.1 503 ")
                assert b"\r\nretry-after: 1\r\nconnection: close" in head
                assert f"content-length: {len(body)}".encode() in head
                assert json.loads(body)["error"]["code"] == "unavailable"
            for _, writer in [*kept, *turned]:
                writer.close()
            await soon(lambda: not here.connections)
            assert await here.status() == 200
            counted = here.server.metrics.registry.get_sample_value(
                "loratory_requests_total", {"route": "refused", "status": "503"}
            )
            assert counted == 4

    asyncio.run(run())


def test_no_more_connections_than_the_process_may_open(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (300, hard))
        assert limit_connections(2048) == 300 - processes.RESERVED_DESCRIPTORS
        assert limit_connections(100) == 100
        said: list[str] = []

        async def run() -> None:
            server = make_router_server(tmp_path)
            process = ServerProcess(create_app(server), server, said.append)
            listening = bind_socket("127.0.0.1", 0)
            process.should_exit = False
            task = asyncio.create_task(process.serve([listening]))
            while not process.started:
                await asyncio.sleep(0.01)
            process.should_exit = True
            await task
            server.engine.close()

        asyncio.run(run())
        assert "at most 172 connections" in said[-1]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_requests_whose_bodies_do_not_come_take_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loratory.serving.http.middleware.body_limit.BODY_TIMEOUT_SECONDS", 1.0)

    async def run() -> None:
        async with serving(make_router_server(tmp_path, limits={"requests": 2})) as here:
            slow = [await here.open(ASKED % 9, b"{") for _ in range(5)]
            await soon(lambda: len(here.connections) == 5)
            await asyncio.sleep(0.1)
            line = KeepAliveConnection(here.port)
            assert (await line.request("POST", "/v1/tasks/intent/predict", CASH)).status == 200
            line.close()
            answers = [await said(reader) for reader, _ in slow]
            assert all(one.startswith(b"HTTP/1.1 408 ") for one in answers), answers
            for _, writer in slow:
                writer.close()

    asyncio.run(run())


@pytest.mark.parametrize("size", [0, 65_000, 66_000, 700_000, 3_000_000])
def test_bodies_of_every_size_arrive_whole(tmp_path: Path, size: int) -> None:
    body = json.dumps({"inputs": ["cash"], "probabilities": False}).encode()
    body = b" " * size + body
    wanted = 413 if size > 1 << 20 else 200

    async def run() -> None:
        async with serving(make_router_server(tmp_path)) as here:
            reader, writer = await here.open(
                ASKED.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n") % len(body)
            )
            if wanted == 200:  # another is refused before it is sent
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
                writer.write(body)
            assert int((await reader.readuntil(b"\r\n\r\n")).split()[1]) == wanted
            writer.close()

    asyncio.run(run())


LARGE = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def does_not_read(here: Here) -> socket.socket:
    """One that asks again and again, and reads nothing of the answers."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    made.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(made, ("127.0.0.1", here.port))
    end = time.monotonic() + 5
    while not any(one.flow.write_paused for one in here.connections):
        assert time.monotonic() < end, "its answers never piled up"
        with contextlib.suppress(OSError, TimeoutError):
            await asyncio.wait_for(loop.sock_sendall(made, LARGE * 20), 0.1)
        await asyncio.sleep(0.02)
    return made


@pytest.mark.parametrize("half", [False, True])
def test_answers_that_nobody_reads_are_bounded_and_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, half: bool
) -> None:
    async def run() -> None:
        async with serving(make_router_server(tmp_path)) as here:
            answer = len(json.dumps(here.server.spec.model_dump(), default=str))
            monkeypatch.setattr(processes, "STALLED_CLIENT_SECONDS", 2.0)
            made = await does_not_read(here)
            (one,) = here.connections
            await asyncio.sleep(0.3)
            assert 0 < one.transport.get_write_buffer_size() < (1 << 18) + answer
            assert len(one.pipeline) <= processes.MAX_PIPELINED_REQUESTS
            if half:
                made.shutdown(socket.SHUT_WR)  # then the transport is closed, and waits for its buffer to be read
            assert await here.status() == 200
            await soon(lambda: not here.connections, 8.0)
            made.close()

    asyncio.run(run())


def test_a_slow_reader_that_goes_on_gets_all_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "STALLED_CLIENT_SECONDS", 1.5)

    async def run() -> None:
        async with serving(make_router_server(tmp_path)) as here:
            loop = asyncio.get_running_loop()
            made = await does_not_read(here)
            read, started = 0, time.monotonic()
            while time.monotonic() < started + 4.5:
                read += len(await loop.sock_recv(made, 60_000))
                await asyncio.sleep(0.3)
            assert len(here.connections) == 1
            assert read > 40_000
            made.close()

    asyncio.run(run())


def test_too_many_requests_at_once_on_a_connection(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(make_router_server(tmp_path)) as here:
            reader, writer = await here.open(LIVE * 20)
            for _ in range(20):
                assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200 ")
            writer.write(LIVE * 3000)
            with contextlib.suppress(ConnectionError):
                assert (await said(reader)).count(b"200 OK") < 1000
            writer.close()
            await soon(lambda: not here.connections)
            assert await here.status() == 200

    asyncio.run(run())


def test_a_client_that_closes_its_side_is_gone(tmp_path: Path) -> None:
    """With its request whole or not: nothing more is computed for it, and what had been said before still comes."""

    async def run() -> None:
        bench = FakeBackbone()
        async with serving(make_server(tmp_path, make_service("intent", make_plannable(bench)))) as here:
            bench.unblocked.clear()
            reader, writer = await here.open(LIVE)
            await reader.readuntil(b"}")
            writer.write(ASKED % len(CASH) + CASH)
            assert await asyncio.to_thread(bench.entered.wait, 5)
            writer.write_eof()
            assert await said(reader) == b""
            await soon(lambda: not here.connections)
            bench.unblocked.set()
            reader, writer = await here.open(ASKED % 100)
            writer.write_eof()
            assert await said(reader) == b""
            seen = [one.status for one in here.server.metrics.recent]
            assert seen in ([499], [499, 499])
            assert await here.status() == 200

    asyncio.run(run())
