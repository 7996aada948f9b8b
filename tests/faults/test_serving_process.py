"""A process of `loratory serve`: signals, overload, files that vanish, and every way in which it must not start."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import transformers
import uvicorn

from fault_recording import FaultCounts
from loratory.integrations.semantic_router.router_names import ROUTER_TASKS, adapter_folder_name, make_label_mappings
from loratory.serving.app import create_app
from loratory.serving.audit_log import AuditLog
from loratory.serving.http.server_process import LimitedHttpProtocol, ServerProcess, bind_socket
from serving_fixtures import make_router_server
from tiny_models import make_config, make_word_piece_tokenizer

from . import run_fixtures
from .run_fixtures import run_command, wait_until
from .server_fixtures import (
    KeepAliveConnection,
    RequestTally,
    RunningServer,
    find_free_port,
    has_exited,
    read_access_log,
    run_server,
    send_until_closed,
)

LADDER = "  - rules\n  - tfidf\n  - lora\n"
TEXT = "my card was stolen please help"
ONE_INPUT_BODY = json.dumps({"inputs": [TEXT]}).encode()
PREDICT = "/v1/tasks/tiny/predict"
KINDS = {"intent": ("law", "math", "other"), "pii": ("O", "B-PERSON", "I-PERSON"), "jailbreak": ("benign", "jailbreak")}


@pytest.fixture(scope="module")
def ran(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a finished run of a short ladder, only to be looked at."""
    spec = run_fixtures.make_spec(LADDER, serve="{contender: lora, fallback: [tfidf], deadline_ms: 2000}")
    folder = run_fixtures.make_workspace(tmp_path_factory.mktemp("ran") / "w", base, spec)
    done = run_command(folder, "run", "spec.yaml")
    assert done.code == 0, done.err
    return folder


@pytest.fixture
def work(ran: Path, tmp_path: Path) -> Path:
    """A copy, to be changed."""
    folder = shutil.copytree(ran, tmp_path / "copy", symlinks=True, copy_function=shutil.copy2)
    shutil.rmtree(folder / ".loratory", ignore_errors=True)
    return folder


# -- signals
async def readiness(port: int, seen: list[int]) -> None:
    """What a balancer sees, asking on a connection of its own each time, until nobody listens."""
    while True:
        line = KeepAliveConnection(port)
        try:
            seen.append((await line.request("GET", "/health/ready")).status)
        except OSError:
            return
        finally:
            line.close()
        await asyncio.sleep(0.02)


def ended_under_load(server: RunningServer, clients: int, after: float) -> tuple[RequestTally, list[int]]:
    """SIGTERM while clients keep asking."""
    tally = RequestTally()
    seen: list[int] = []
    bodies = [ONE_INPUT_BODY, json.dumps({"inputs": [TEXT, "i want a refund now"] * 8}).encode()]

    async def run() -> None:
        asking = [
            asyncio.create_task(send_until_closed(server.port, PREDICT, bodies, tally, f"c{n}")) for n in range(clients)
        ]
        await asyncio.sleep(after)
        server.signal()
        await asyncio.wait_for(asyncio.gather(readiness(server.port, seen), *asking), 30)

    asyncio.run(run())
    return tally, seen


def leaves_in_order(process_pool: run_fixtures.ProcessPool, ran: Path, clients: int, after: float) -> int:
    """One SIGTERM; how many requests were answered."""
    with run_server(process_pool, ran, "runs/tiny") as server:
        tally, seen = ended_under_load(server, clients, after)
        done = server.wait()
    assert done.code == 0, done.err
    assert "Traceback" not in done.err
    known = [seen.index(503), *(i for i, status in enumerate(seen) if status == 200)]  # it said that it would leave
    assert max(known[1:], default=-1) < known[0]
    rows = [row for row in read_access_log(done) if row["route"].endswith("predict")]
    named = [row["request_id"] for row in rows]
    assert len(set(named)) == len(named)  # each ends once
    assert all(tally.statuses[row["request_id"]] == row["status"] for row in rows)  # and as the client was told
    assert {row["status"] for row in rows} == {200}
    never = {name for name, status in tally.statuses.items() if not status}
    assert not never & set(named)  # who got no answer was never let in
    assert tally.count_status(200) == len(rows)
    return len(rows)


def test_what_was_accepted_is_answered_before_it_ends(process_pool: run_fixtures.ProcessPool, ran: Path) -> None:
    answered = [
        leaves_in_order(process_pool, ran, clients, after) for clients, after in ((1, 0.1), (8, 0.3), (24, 0.3))
    ]
    assert min(answered) > 5
    assert sum(answered) > 100


@contextlib.contextmanager
def hold_unfinished_request(port: int) -> Iterator[None]:
    """A request whose body does not come."""
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(f"POST {PREDICT} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n{{".encode())
        time.sleep(0.1)
        yield


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_it_at_once(process_pool: run_fixtures.ProcessPool, ran: Path, number: int) -> None:
    with run_server(process_pool, ran, "runs/tiny") as server, hold_unfinished_request(server.port):
        server.signal(number)
        time.sleep(1.0)
        assert not has_exited(server.pid)  # it waits for the body
        server.signal(number)
        started = time.monotonic()
        assert server.wait().code == 128 + number
        assert time.monotonic() - started < 1.0


def test_it_does_not_wait_for_longer_than_it_was_told(process_pool: run_fixtures.ProcessPool, ran: Path) -> None:
    with (
        run_server(process_pool, ran, "runs/tiny", "--set", "limits.drain_ms=1000") as server,
        hold_unfinished_request(server.port),
    ):
        started = time.monotonic()
        server.signal()
        assert server.wait().code == 0
        assert 1.0 < time.monotonic() - started < 4.0


# -- overload
def config(work: Path, **more: Any) -> Path:
    """Two names for one run: with a fallback, and without."""
    run = {"path": "runs/tiny", "contender": "lora", "deadline_ms": 1000}
    tasks = {"alone": {**run, "fallback": []}, "pair": {**run, "fallback": ["tfidf"]}}
    file = work / "server.yaml"
    file.write_text(json.dumps({"tasks": tasks, **more}), encoding="utf-8")
    return file


LONG = json.dumps({"inputs": [f"{TEXT} {TEXT} {TEXT} {TEXT}"] * 128, "probabilities": False}).encode()


async def one_after_another(port: int, path: str, seconds: float) -> float:
    """Answers a second of a server that two clients keep busy."""
    tally = RequestTally()
    asking = [asyncio.create_task(send_until_closed(port, path, [LONG], tally, f"capacity-{n}")) for n in range(2)]
    await asyncio.sleep(seconds)
    for task in asking:
        task.cancel()
    await asyncio.gather(*asking, return_exceptions=True)
    return tally.count_status(200) / seconds


async def at_a_rate(port: int, path: str, rate: float, seconds: float) -> RequestTally:
    """An open loop: requests come when they come, whether the ones before were answered or not."""
    tally, started, asking = RequestTally(), time.monotonic(), []

    async def once(number: int) -> None:
        line, began = KeepAliveConnection(port), time.monotonic()
        tally.record(f"open-{number}", await line.request("POST", path, LONG), time.monotonic() - began)
        line.close()

    for number in range(int(rate * seconds)):
        await asyncio.sleep(max(started + number / rate - time.monotonic(), 0))
        asking.append(asyncio.create_task(once(number)))
    await asyncio.gather(*asking)
    return tally


async def at_a_share(server: RunningServer, share: float, after: float) -> tuple[RequestTally, list[int]]:
    """SIGTERM while requests come at this share of what the server can answer, whether those before were answered."""
    capacity = max(await one_after_another(server.port, PREDICT, 0.7), 2.0)  # a busy machine may answer none so soon
    tally, started = RequestTally(), time.monotonic()
    seen: list[int] = []
    asking: list[asyncio.Task[None]] = []

    async def once(number: int) -> None:
        line, began, name = KeepAliveConnection(server.port), time.monotonic(), f"open-{number}"
        with contextlib.suppress(OSError):  # nobody listens any more
            said = await line.request("POST", PREDICT, LONG, **{"X-Request-Id": name})
            tally.record(name, said, time.monotonic() - began)
        line.close()

    asking.append(asyncio.create_task(readiness(server.port, seen)))
    rate, signalled = share * capacity, False
    for number in range(int(rate * (after + 0.5)) + 1):
        await asyncio.sleep(max(started + number / rate - time.monotonic(), 0))
        asking.append(asyncio.create_task(once(number)))
        if not signalled and time.monotonic() - started >= after:
            server.signal()
            signalled = True
    if not signalled:
        server.signal()
    await asyncio.wait_for(asyncio.gather(*asking), 60)
    return tally, seen


def check_leaving(tally: RequestTally, seen: list[int], done: run_fixtures.CommandResult, allowed: set[int]) -> int:
    """It says that it leaves, answers what it accepted, and then ends; how many requests were answered."""
    assert done.code == 0, done.err
    assert "Traceback" not in done.err
    known = [seen.index(503), *(i for i, status in enumerate(seen) if status == 200)]  # it said that it would leave
    assert max(known[1:], default=-1) < known[0]
    rows = {row["request_id"]: row["status"] for row in read_access_log(done) if row["route"].endswith("predict")}
    answered = {name for name, status in tally.statuses.items() if status == 200}
    assert all(rows.get(name) == 200 for name in answered)  # who was answered was let in, and ended once
    told = {name: status for name, status in tally.statuses.items() if status}
    assert set(told.values()) <= allowed, told
    let_in = {name for name, status in rows.items() if status == 200 and name.startswith("open-")}
    assert let_in <= answered  # who was let in got the answer
    return len(answered)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("share", [0.5, 1.0, 1.5])
def test_100_signals_under_load(
    process_pool: run_fixtures.ProcessPool, ran: Path, share: float, faults: FaultCounts
) -> None:
    """34 signals at each of 50, 100 and 150 % of what the server can answer."""
    tries, answered = faults.tries_of("SIGTERM of a server at 50, 100 and 150 % load"), 0
    for number in range(34):
        with run_server(process_pool, ran, "runs/tiny") as server:
            tally, seen = asyncio.run(at_a_share(server, share, 0.2 + number % 7 / 10))
            done = server.wait()
        answered += check_leaving(tally, seen, done, {200, 429, 503})
        tries.add()
    assert answered > 100


async def overload_server(
    server: RunningServer, path: str, times: float, seconds: float
) -> tuple[float, RequestTally, float]:
    """Capacity, what came of more than that, and seconds until it answers again."""
    capacity = await one_after_another(server.port, path, 0.7)
    tally = await at_a_rate(server.port, path, times * capacity, seconds)
    started, line = time.monotonic(), KeepAliveConnection(server.port)
    while (await line.request("POST", path, LONG)).status != 200:
        await asyncio.sleep(0.05)
    line.close()
    return capacity, tally, time.monotonic() - started


Degrees = Sequence[tuple[str, float]]
SOME: Degrees = (("alone", 3.0), ("pair", 3.0), ("alone", 10.0))


def holds(process_pool: run_fixtures.ProcessPool, work: Path, seconds: float, degrees: Degrees) -> list[str]:
    """Overload in several degrees on one process; a line for each."""
    told = []
    with run_server(process_pool, work, "--config", config(work)) as server:
        asyncio.run(one_after_another(server.port, "/v1/tasks/pair/predict", 0.5))
        memory = server.resident_mebibytes()
        for path, times in degrees:
            capacity, tally, recovery = asyncio.run(
                overload_server(server, f"/v1/tasks/{path}/predict", times, seconds)
            )
            statuses = {status: tally.count_status(status) for status in sorted(set(tally.statuses.values()))}
            grown, longest = server.resident_mebibytes() - memory, max(tally.seconds)
            told.append(
                f"{path} {times:g}x of {capacity:.0f}/s: {statuses}, goodput {statuses.get(200, 0) / seconds:.0f}/s, "
                f"longest {longest:.1f} s, recovery {recovery:.2f} s, {grown:+.0f} MiB"
            )
            assert set(statuses) <= {200, 429, 503, 504}, told
            assert statuses.get(200), told
            assert not tally.missing_retry_after, told
            assert recovery < 5.0, told
            assert grown < 200, told
        assert sum("429" in line for line in told) >= 2, told
        server.signal()
        done = server.wait()
    assert done.code == 0
    kept = [row["milliseconds"] for row in read_access_log(done) if row["status"] == 200 and row.get("task")]
    assert max(kept) < 3000  # all of them are due after a second
    return told


def test_overload_is_refused_and_goes_by(process_pool: run_fixtures.ProcessPool, work: Path) -> None:
    holds(process_pool, work, 1.0, SOME)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_overload_for_longer(
    process_pool: run_fixtures.ProcessPool, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = holds(process_pool, work, 8.0, (*SOME, ("pair", 10.0)))
    with capsys.disabled():
        print("", *told, sep="\n")  # noqa: T201


# -- clients that do not behave
def test_headers_without_an_end_are_cut_off(process_pool: run_fixtures.ProcessPool, ran: Path) -> None:
    with run_server(process_pool, ran, "runs/tiny") as server:
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(b"GET /health/live HTTP/1.1\r\nX: ")
            with contextlib.suppress(ConnectionError):
                for _ in range(200):
                    client.sendall(b"a" * 10_000)
                    time.sleep(0.001)
            client.settimeout(5)
            with contextlib.suppress(ConnectionError):
                assert client.recv(100).startswith(b"HTTP/1.1 400") or not client.recv(100)
        assert server.resident_mebibytes() < 2000
        assert server.is_ready()


def test_clients_that_do_not_say_what_they_want_are_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, in the middle of a request's head, and in that of the next one on the same connection."""
    monkeypatch.setattr("loratory.serving.http.server_process.HEADER_TIMEOUT_SECONDS", 0.3)
    whole = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"

    async def client(port: int, *parts: bytes) -> tuple[bytes, float]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for part in parts:
            writer.write(part)
            await asyncio.sleep(0.05)
        started = time.monotonic()
        said = await asyncio.wait_for(reader.read(), 5)
        writer.close()
        return said, time.monotonic() - started

    async def run() -> None:
        server = make_router_server(tmp_path)
        process = ServerProcess(create_app(server), server, lambda _: None)
        socket = bind_socket("127.0.0.1", 0)
        serving = asyncio.create_task(process.serve([socket]))
        port = socket.getsockname()[1]
        while not process.started:
            await asyncio.sleep(0.01)
        parts: list[list[bytes]] = [[], [b"GET /hea"], [whole, b"GET /health/live HTTP/1.1\r\nHo"]]
        ended = await asyncio.gather(*(client(port, *one) for one in parts))
        assert [said.count(b"200 OK") for said, _ in ended] == [0, 0, 1]
        assert max(seconds for _, seconds in ended) < 2.0
        process.should_exit = True
        await asyncio.wait_for(serving, 10)

    asyncio.run(run())


def test_what_waits_for_a_busy_loop_is_not_new() -> None:
    """The loop is held up by whatever it reads first; the others had come before that."""
    arrived: list[tuple[float, float]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        arrived.append((scope["arrived"], time.monotonic()))
        time.sleep(0.05)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async def run() -> None:
        protocol: Any = partial(LimitedHttpProtocol, max_connections=100, on_rejected=lambda: None)
        config = uvicorn.Config(app, http=protocol, lifespan="off", log_config=None, interface="asgi3")
        process, socket = uvicorn.Server(config), bind_socket("127.0.0.1", 0)
        serving = asyncio.create_task(process.serve([socket]))
        while not process.started:
            await asyncio.sleep(0.01)
        lines = [await asyncio.open_connection(*socket.getsockname()[:2]) for _ in range(8)]
        for _, writer in lines:
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        for reader, _ in lines:
            assert b"200" in await reader.readuntil(b"\r\n\r\n")
        process.should_exit = True
        for _, writer in lines:
            writer.close()
        await asyncio.wait_for(serving, 10)

    asyncio.run(run())
    told, began = (max(times) - min(times) for times in zip(*arrived, strict=True))
    assert began > 0.3
    assert told < 0.1  # they were read in one go, or in two


def test_clients_that_leave_make_no_noise(process_pool: run_fixtures.ProcessPool, ran: Path) -> None:
    with run_server(process_pool, ran, "runs/tiny") as server:
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", server.port)) as client:
                head = f"POST {PREDICT} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(LONG)}\r\n\r\n"
                client.sendall(head.encode() + LONG)
                time.sleep(0.005)
        with hold_unfinished_request(server.port):
            pass
        wait_until(server.is_ready)
        time.sleep(0.2)
        server.signal()
        done = server.wait()
    assert done.code == 0
    assert "Traceback" not in done.err
    assert 499 in [row["status"] for row in read_access_log(done)]


# -- files that change while it serves
BREAKS: Mapping[str, Callable[[Path], Any]] = {
    "deleted": lambda file: file.unlink(),
    "truncated": lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
    "swapped": lambda file: file.write_bytes(file.read_bytes()[::-1]),
    "emptied": lambda file: file.write_bytes(b""),
}


def test_the_loaded_copy_goes_on_when_its_files_are_gone(process_pool: run_fixtures.ProcessPool, work: Path) -> None:
    (kept,) = (work / "runs").glob("tiny/contenders/lora/seed-*")
    files = [kept / "head.safetensors", kept / "adapter/adapter_model.safetensors", kept / "manifest.json"]
    load = {"lora_name": "tiny", "lora_path": "tiny"}
    with run_server(process_pool, work, "runs/tiny", "--adapters", "runs") as server:
        before = server.request("POST", PREDICT, {"inputs": [TEXT]}).json["predictions"]
        again = server.request("POST", "/v1/load_lora_adapter", load)
        assert (again.status, again.json["release"]) == (200, before[0]["release"])
        for how, ruin in BREAKS.items():
            for file in files:
                whole = file.read_bytes()
                ruin(file)
                refused = server.request("POST", "/v1/load_lora_adapter", load)
                assert refused.status == 422, (how, file.name, refused.body)
                assert len(refused.json["error"]["message"]) > 10
                assert server.request("POST", PREDICT, {"inputs": [TEXT]}).json["predictions"] == before
                file.write_bytes(whole)
        shutil.rmtree(kept)
        assert server.request("POST", "/v1/load_lora_adapter", load).status == 422
        assert server.request("POST", PREDICT, {"inputs": [TEXT]}).json["predictions"] == before
        for path in ("..", "../..", "/", "nobody", "", "tiny\x00", "a" * 5000, "tiny/../../runs/../.."):
            outside = server.request("POST", "/v1/load_lora_adapter", {**load, "lora_path": path})
            assert (outside.status, outside.json["error"]["param"]) == (422, "lora_path"), path
        server.signal()
        done = server.wait()
    assert (done.code, "Traceback" in done.err) == (0, False), done.err
    audit = AuditLog(work / ".loratory/audit.jsonl")
    rows = [json.loads(line) for line in audit.file.read_text().splitlines()]
    assert audit.verify() == len(rows)
    assert [row["event"] for row in rows] == ["load", "load", *["load refused"] * (len(BREAKS) * len(files) + 1)]
    assert {row["release"] for row in rows[:2]} == {before[0]["release"]}
    assert all(row["reason"] and row["path"] == "tiny" for row in rows[2:])


def test_it_loads_and_unloads_while_it_runs(process_pool: run_fixtures.ProcessPool, work: Path) -> None:
    with run_server(process_pool, work, "runs/tiny", "--adapters", "runs") as server:
        body = {"lora_name": "other", "lora_path": "tiny/contenders/tfidf"}
        (seed,) = (work / "runs/tiny/contenders/tfidf").iterdir()
        loaded = server.request(
            "POST", "/v1/load_lora_adapter", {**body, "lora_path": f"tiny/contenders/tfidf/{seed.name}"}
        )
        assert loaded.json["status"] == "loaded", loaded.body
        (one,) = server.request("POST", "/v1/tasks/other/predict", {"inputs": [TEXT]}).json["predictions"]
        assert (one["release"], one["answer"]) == (loaded.json["release"], {"label": "FRAUD"})
        assert server.request("POST", "/v1/unload_lora_adapter", {"lora_name": "other"}).json["status"] == "unloaded"
        assert server.request("POST", "/v1/tasks/other/predict", {"inputs": [TEXT]}).status == 404
        assert server.request("POST", "/v1/unload_lora_adapter", {"lora_name": "other"}).status == 404
        server.signal()
        assert server.wait().code == 0
    events = [json.loads(line)["event"] for line in (work / ".loratory/audit.jsonl").read_text().splitlines()]
    assert events == ["load", "load", "unload"]


# -- ways to start
def test_the_installed_command_serves_model_dir_with_keys(ran: Path, tmp_path: Path) -> None:
    """No fork of a prepared process: what a person starts."""
    keys = tmp_path / "keys.json"
    secret = run_command(tmp_path, "keys", "add", "ann", "--file", keys).out.strip()
    port = find_free_port()
    words = [sys.executable, "-m", "loratory", "serve", "--host", "0.0.0.0", "--port", str(port), "--keys", str(keys)]
    environment = {**os.environ, "MODEL_DIR": str(ran / "runs/tiny")}
    process = subprocess.Popen(
        words, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    server = RunningServer(process.pid, port, process_pool=None)  # type: ignore[arg-type]
    try:
        wait_until(lambda: server.is_ready() or process.poll() is not None)
        assert process.poll() is None
        ask = {"inputs": [TEXT]}
        assert server.request("POST", PREDICT, ask).status == 401
        found = server.request("POST", PREDICT, ask, Authorization=f"Bearer {secret}").json["predictions"]
        assert found[0]["answer"] == {"label": "FRAUD"}
        assert found[0]["served_by"] == "lora"
    finally:
        process.terminate()
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "")
    assert f"http://0.0.0.0:{port}" in err
    assert "tiny (classify): lora -> tfidf, within 2000 ms" in err
    assert secret not in err
    assert TEXT not in err


def router_models(home: Path) -> Path:
    """The three models that a semantic router would take, tiny."""
    tokenizer = make_word_piece_tokenizer()
    for task, names in KINDS.items():
        job = ROUTER_TASKS[task]
        folder = home / f"{adapter_folder_name(job, 'bert', 8)}_rust"
        config = make_config(
            "bert", tokenizer, id2label=dict(enumerate(names)), label2id={n: i for i, n in enumerate(names)}
        )
        kind: Any = getattr(transformers, f"AutoModelFor{'Token' if task == 'pii' else 'Sequence'}Classification")
        kind.from_config(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        (folder / "lora_config.json").write_text(json.dumps({"rank": 8}), encoding="utf-8")
        for file, mapping in make_label_mappings(job, names).items():
            (folder / file).write_text(json.dumps(mapping), encoding="utf-8")
    return home


def test_discovered_models_play_their_roles(process_pool: run_fixtures.ProcessPool, tmp_path: Path) -> None:
    router_models(tmp_path / "models")
    with run_server(process_pool, tmp_path, "--discover", "models") as server:
        reply = server.request("POST", "/api/v1/classify/batch", {"texts": ["hello", "cash"], "task_type": "all"})
        assert reply.status == 200, reply.body
        rows = reply.json["results"]
        assert [sorted(row) for row in rows] == [["intent", "pii", "security"]] * 2
        assert {row["intent"]["category"] for row in rows} <= {"law", "math", "other"}
        assert {row["pii"]["category"] for row in rows} <= {"PERSON", "no_pii"}
        assert {row["security"]["category"] for row in rows} <= {"jailbreak", "safe"}
        server.signal()
        assert server.wait().code == 0


def read_start_error(folder: Path, *words: str | Path) -> str:
    """How it does not start: exit code 2 and a message without a traceback."""
    done = run_command(folder, "serve", *words)
    assert (done.code, done.out) == (2, ""), done.err
    return " ".join(done.read_stderr().split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], ["there is nothing to serve", "loratory serve RUN"]),
        (["runs/tiny", "--host", "0.0.0.0"], ["other machines can reach 0.0.0.0", "loratory keys add"]),
        (["runs/tiny", "--host", "::"], ["other machines can reach"]),
        (["runs/tiny", "--set", "limits.text=3"], ["text", "did you mean 'texts'?"]),
        (["runs/tiny", "--set", "limit.texts=3"], ["did you mean 'limits'?"]),
        (["runs/tiny", "--set", "limits.texts=0"], ["texts", "1"]),
        (["runs/tiny", "runs/tiny"], ["two tasks are called 'tiny'", "tiny-2=runs/tiny"]),
        (["a=runs/tiny", "a=runs/tiny"], ["two tasks are called 'a'"]),
        (["runs/tinny"], ["no such folder"]),
        (["runs"], ["neither a run"]),
        (["runs/tiny", "--keys", "nobody.json"], ["no file of keys", "loratory keys add"]),
        (["runs/tiny", "--keys", "none.json"], ["there is no key in this file"]),
        (["runs/tiny", "--set", "roles.intent=other"], ["'other' is no task", "allowed: tiny"]),
        (["runs/tiny", "--set", "default=tinny"], ["'tinny' is no task", "did you mean 'tiny'?"]),
        (["--config", "fallback.yaml"], ["no fitted contender 'tfdif'", "did you mean 'tfidf'?", "rules, tfidf, lora"]),
        (["--config", "key.yaml"], ["key.yaml:2", "did you mean 'contender'?"]),
        (["--config", "nobody.yaml"], ["nobody.yaml"]),
        (["runs/tiny", "--discover", "runs"], ["loratory discover runs"]),
        (["runs/tiny", "--host", "203.0.113.7", "--keys", "one.json"], ["cannot listen at 203.0.113.7"]),
    ],
)
def test_it_does_not_start(work: Path, words: list[str], said: list[str]) -> None:
    (work / "none.json").write_text('{"keys": []}', encoding="utf-8")
    (work / "fallback.yaml").write_text("tasks:\n  a: {path: runs/tiny, fallback: [tfdif]}\n", encoding="utf-8")
    (work / "key.yaml").write_text("tasks:\n  a: {path: runs/tiny, contendr: lora}\n", encoding="utf-8")
    run_command(work, "keys", "add", "ann", "--file", "one.json")
    message = read_start_error(work, *words)
    for part in said:
        assert part in message, message


def test_a_port_that_somebody_has(work: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        message = read_start_error(work, "runs/tiny", "--port", str(port))
    assert f"cannot listen at 127.0.0.1, port {port}" in message
    assert "--port 0" in message


def test_keys_are_added_listed_and_revoked(tmp_path: Path) -> None:
    def keys(*words: str) -> run_fixtures.CommandResult:
        return run_command(tmp_path, "keys", *words)

    first, second = keys("add", "ann"), keys("add", "root", "--admin")
    assert (first.code, second.code) == (0, 0)
    assert first.out.startswith("lk_")
    assert first.out != second.out
    assert keys("list").out.splitlines() == ["ann  infer", "root  admin infer"]
    assert first.out.strip() not in (tmp_path / "keys.json").read_text()
    taken = keys("add", "ann")
    assert (taken.code, "there is a key called 'ann'" in taken.read_stderr()) == (2, True)
    assert keys("revoke", "ann").code == 0
    assert keys("list").out.splitlines() == ["root  admin infer"]
    assert keys("revoke", "ann").code == keys("add").code == keys("add", "a b").code == keys("ad", "bob").code == 2
    assert "did you mean 'add'?" in keys("ad", "bob").read_stderr()
    audit = AuditLog(tmp_path / ".loratory/audit.jsonl")
    assert audit.verify() == 3
    assert first.out.strip() not in audit.file.read_text()


def test_the_chain_of_what_was_written_down_is_checked(tmp_path: Path) -> None:
    missing = run_command(tmp_path, "audit")
    assert (missing.code, missing.out) == (2, "")
    assert "audit.jsonl" in missing.read_stderr()
    for name in ("ann", "bob", "root"):
        run_command(tmp_path, "keys", "add", name)
    file = tmp_path / ".loratory/audit.jsonl"
    lines = file.read_text().splitlines()
    times = [json.loads(line)["at"] for line in lines]
    told = run_command(tmp_path, "audit")
    assert (told.code, told.out.partition(";")[0]) == (0, f"3 lines, {times[0]} to {times[2]}")
    chain = json.loads(run_command(tmp_path, "audit", file, "--json").out)
    last = hashlib.sha256(lines[-1].encode()).hexdigest()
    whole = {"torn": 0, "beyond": 0, "parts": [str(file)]}
    assert chain == {"lines": 3, "first": times[0], "last": times[2], "head": last, **whole}
    changed = lines[1].replace("bob", "eve")
    ways = {
        "changed": ([lines[0], changed, lines[2]], 3),
        "removed": ([lines[0], lines[2]], 2),
        "put in": ([lines[0], changed, *lines[1:]], 3),
        "in another order": ([lines[1], lines[0], lines[2]], 1),
        "no JSON": ([lines[0], "[" * 100_000], 2),
    }
    for how, (found, number) in ways.items():
        file.write_text("\n".join(found) + "\n")
        done = run_command(tmp_path, "audit", file)
        assert (done.code, done.out) == (2, ""), how
        assert "the chain is broken" in done.read_stderr(), how
        assert f"audit.jsonl:{number}" in done.err, how
    for text in ("", f"{lines[0]}\n"):
        file.write_text(text)
        cut = run_command(tmp_path, "audit")
        assert (cut.code, cut.out) == (2, "")
        assert lines[2] not in cut.read_stderr()
        assert "knows 3" in cut.read_stderr()
    file.write_text("\n".join([*lines, '{"at": "2026-']))
    torn = run_command(tmp_path, "audit")
    assert (torn.code, torn.out.splitlines()[1]) == (
        0,
        "torn: 1 line, cut short by a crash or a full disk while it was written",
    )
