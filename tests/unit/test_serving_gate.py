"""The one gate: nobody without a key, nobody from elsewhere, nobody too often; and what the logs hold of it."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from loratory.errors import DataError
from loratory.protocols import Input, Prediction
from loratory.serving.app import create_app
from loratory.serving.audit_log import AuditLog
from loratory.serving.http.application import HttpApplication
from loratory.serving.http.auth.api_keys import SCOPES, ApiKeys
from loratory.serving.http.log_setup import RedactingFormatter
from loratory.serving.http.middleware.rate_limit import TokenBucket
from loratory.serving.http.openapi import build_openapi
from loratory.serving.http.server import Server
from serving_fixtures import (
    ADMIN,
    INFER,
    INTENTS,
    FakeBackbone,
    FakePredictor,
    RawRequest,
    bearer_header,
    make_keys,
    make_plannable,
    make_router_server,
    make_server,
    make_service,
    send_request,
)

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get", "ZZZ")
ADMINS = ("/v1/load_lora_adapter", "/v1/unload_lora_adapter")
OPEN = {"/health/live", "/health/ready", "/login", "/page/style.css", "/page/theme.js", "/page/icon.svg"}


@pytest.fixture
def locked(tmp_path: Path) -> HttpApplication:
    return create_app(make_router_server(tmp_path, known=make_keys()))


def paths(gate: HttpApplication) -> list[str]:
    return [path.replace("{task}", "intent").replace("{id:path}", "{id}") for path in gate.http_router.endpoints]


def spellings(path: str) -> list[str]:
    return [
        path,
        f"{path}/",
        f"/{path}",
        path.replace("/", "//"),
        path.upper(),
        path.replace("/", "%2f"),
        path.replace("/", "\\"),
        f"/.{path}",
        f"{path}\n",
        f"{path}\x00",
        f"{path};a=b",
        f"{path}?a=b",
        f"{path}/../../health/live",
        f"/health/live/..{path}",
        f"/health/live{path}",
        f"/health/../{path}",
        "*" + path,
        path.removeprefix("/"),
    ]


def test_what_is_open_is_what_is_listed(locked: HttpApplication) -> None:
    assert {path for path, one in locked.http_router.endpoints.items() if one.scope is None} == OPEN
    assert {path for path, one in locked.http_router.endpoints.items() if one.scope == "admin"} == set(ADMINS)


def test_every_documented_path_has_its_route(tmp_path: Path) -> None:
    server = make_router_server(tmp_path)
    app = create_app(server)
    told = {path for path in build_openapi(server, "", "")["paths"]}
    others = {path for name in ("pii", "security", "reply") for path in told if f"/{name}" in path}
    assert told - others == set(paths(app))
    assert len(told) >= 25


def test_without_a_key_nothing_is_answered_but_what_is_open(locked: HttpApplication) -> None:
    asked = 0

    async def all_of_them() -> None:
        nonlocal asked
        known = paths(locked)
        assert {"/openapi.json", "/metrics", "/info", "/predict/", *ADMINS} <= set(known)
        for path in {*known, "", "/", "/docs", "/nothing"}:
            for spelled in spellings(path):
                for method in METHODS:
                    reply = await RawRequest(method, spelled, {"inputs": ["cash"]}).send_to(locked)
                    asked += 1
                    assert (reply.status == 401) == (spelled not in OPEN), (method, spelled, reply.status)
                    if reply.status == 401:
                        assert reply.headers["www-authenticate"] == "Bearer"
                        assert reply.error["code"] == "unauthorized"

    asyncio.run(all_of_them())
    assert asked > 3000


@pytest.mark.parametrize(
    "headers",
    [
        bearer_header("lk_wrong"),
        bearer_header(""),
        bearer_header(INFER + "x"),
        bearer_header(INFER.upper()),
        {"authorization": INFER},
        {"authorization": f"Basic {INFER}"},
        {"x-api-key": INFER},
        {"cookie": "loratory_session=1"},
        {"cookie": 'loratory_session="'},
        {"cookie": f"loratory_session={INFER}"},
    ],
)
def test_wrong_keys(locked: HttpApplication, headers: dict[str, str]) -> None:
    assert send_request(locked, "GET", "/v1/tasks", headers=headers).status == 401


def test_right_keys(locked: HttpApplication) -> None:
    for headers in (bearer_header(INFER), bearer_header(ADMIN), {"authorization": f"bearer  {INFER} "}):
        assert send_request(locked, "GET", "/v1/tasks", headers=headers).status == 200


@pytest.mark.parametrize("path", ADMINS)
def test_loading_needs_another_scope(locked: HttpApplication, path: str) -> None:
    for spelled in (path, f"{path}/", f"{path}\n"):
        for method in METHODS:
            reply = send_request(locked, method, spelled, {}, headers=bearer_header(INFER))
            assert (reply.status, reply.error["code"]) == (403, "forbidden")
    let_in = send_request(locked, "POST", path, {"lora_name": "nobody"}, headers=bearer_header(ADMIN))
    assert let_in.status == (404 if "unload" in path else 422)
    assert send_request(locked, "GET", path, headers=bearer_header(ADMIN)).status == 405


def test_a_revoked_key(tmp_path: Path) -> None:
    known = make_keys()
    app = create_app(make_router_server(tmp_path, known=known))
    known.drop("ann")
    assert send_request(app, "GET", "/v1/tasks", headers=bearer_header(INFER)).status == 401


# -- who is asked, and from where
@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LocalHost:8000", 200),
        ("[::1]:8000", 200),
        ("[::1]", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("evil.example:80", 421),
        ("localhost:evil", 421),
        ("", 421),
        ("localhost@evil.example", 421),
    ],
)
def test_hosts(tmp_path: Path, host: str, status: int) -> None:
    app = create_app(make_router_server(tmp_path), ("localhost", "[::1]"))
    for path in ("/v1/tasks", "/health/live"):
        reply = send_request(app, "GET", path, headers={"host": host})
        assert reply.status == status
    if status == 421:
        assert reply.error["code"] == "misdirected"


@pytest.mark.parametrize(
    ("origin", "host", "status"),
    [
        ("http://localhost:8000", "localhost:8000", 200),
        ("https://localhost:8000", "localhost:8000", 200),
        ("http://localhost:9000", "localhost:8000", 403),
        ("http://evil.example", "localhost:8000", 403),
        ("null", "localhost:8000", 403),
        ("null", "", 403),
        ("", "", 403),
    ],
)
def test_origins(tmp_path: Path, origin: str, host: str, status: int) -> None:
    app = create_app(make_router_server(tmp_path))
    assert (
        send_request(app, "POST", "/predict/", {"text": "a"}, headers={"origin": origin, "host": host}).status == status
    )


def test_headers_are_bounded(locked: HttpApplication) -> None:
    for headers in ({"x": "a" * 40_000}, {f"x-{n}": "a" * 1000 for n in range(40)}, {"a" * 40_000: ""}):
        reply = send_request(locked, "GET", "/health/live", headers=headers)
        assert (reply.status, reply.error["code"]) == (431, "headers_too_large")
        assert reply.headers["connection"] == "close"
    long = send_request(locked, "GET", "/v1/tasks", headers={**bearer_header("x" * 20_000), "host": "y" * 9000})
    assert (long.status, len(long.body) < 500) == (401, True)


def test_no_websockets(locked: HttpApplication) -> None:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    for kind in ("websocket", "anything"):
        scope: dict[str, Any] = {"type": kind, "path": "/health/live", "headers": []}
        asyncio.run(locked(scope, receive, send))
    assert [message["type"] for message in sent] == ["websocket.close"] * 2


# -- how much
def test_a_key_may_not_ask_too_often(tmp_path: Path) -> None:
    app = create_app(make_router_server(tmp_path, known=make_keys(), limits={"per_second": 0.4, "burst": 3}))
    replies = [send_request(app, "GET", "/v1/tasks", headers=bearer_header(INFER)) for _ in range(5)]
    assert [reply.status for reply in replies] == [200, 200, 200, 429, 429]
    assert replies[-1].error["code"] == "busy"
    assert replies[-1].headers["retry-after"] == "3"  # at 0.4 a second
    assert send_request(app, "GET", "/v1/tasks", headers=bearer_header(ADMIN)).status == 200
    assert send_request(app, "GET", "/health/live", headers=bearer_header(INFER)).status == 200


def test_a_bucket_fills_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    bucket = TokenBucket(2.0, 2, updated_at=now[0])
    assert [bucket.take() for _ in range(3)] == [0, 0, 0.5]
    now[0] += 0.5
    assert [bucket.take() for _ in range(2)] == [0, 0.5]
    now[0] += 100
    assert [bucket.take() for _ in range(3)] == [0, 0, 0.5]


def test_so_many_at_a_time(tmp_path: Path) -> None:
    free = threading.Event()

    def slow(task: Any, input: Input) -> Prediction:
        assert free.wait(10)
        return INTENTS.from_probabilities(input, {"card": 1.0})

    async def run() -> None:
        server = make_server(tmp_path, make_service("a", FakePredictor(INTENTS, slow)), limits={"requests": 2})
        app = create_app(server)
        ask = RawRequest("POST", "/v1/tasks/a/predict", {"inputs": ["x"]})
        kept = [asyncio.create_task(ask.send_to(app)) for _ in range(2)]
        await asyncio.sleep(0.01)
        for path in ("/v1/tasks", "/health/x", "/login"):
            over = await RawRequest("GET", path).send_to(app)
            assert (over.status, over.error["code"], over.headers["retry-after"]) == (429, "busy", "1")
        assert (await RawRequest("GET", "/health/ready").send_to(app)).status == 200
        free.set()
        assert [(await one).status for one in kept] == [200, 200]
        assert (await RawRequest("GET", "/v1/tasks").send_to(app)).status == 200
        assert app.open_requests == 0

    asyncio.run(run())


def test_a_body_that_does_not_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loratory.serving.http.middleware.body_limit.BODY_TIMEOUT_SECONDS", 0.05)
    reply = send_request(
        create_app(make_router_server(tmp_path)), "POST", "/predict/", body_chunks=[b"{"], complete=False
    )
    assert (reply.status, reply.headers["connection"]) == (408, "close")


HELD = ("/v1/tasks/a/predict", "/v1/tasks/a/generate", "/v1/predict", "/predict/", "/v1/chat/completions", "/page/try")


@pytest.mark.parametrize("path", [*HELD, "/api/v1/classify/batch"])
def test_what_could_not_be_answered_in_time_is_not_read(tmp_path: Path, path: str) -> None:
    """None of its bytes has come yet; what needs no backbone is answered as ever."""

    async def run() -> None:
        bench = FakeBackbone()
        bench.unblocked.clear()
        held = make_service("a", make_plannable(bench), deadline=0.2)
        server = make_server(tmp_path, held, roles={"intent": "a"})
        app = create_app(server)
        ask = [asyncio.create_task(RawRequest("POST", HELD[0], {"inputs": ["x" * 2000]}).send_to(app))]
        worker = await busy(server, bench)
        ask.append(asyncio.create_task(RawRequest("POST", HELD[0], {"inputs": ["x" * 2000]}).send_to(app)))
        await first(lambda: worker.queued_tokens)
        worker.tokens_per_second = 1000.0  # tokens a second: what waits needs half a second at least
        refused = await asyncio.wait_for(RawRequest("POST", path, body_chunks=[b"{"], complete=False).send_to(app), 2)
        assert (refused.status, refused.error["code"]) == (429, "busy")
        assert int(refused.headers["retry-after"]) >= 1
        for other in ("/health/ready", "/v1/tasks", "/info"):
            assert (await RawRequest("GET", other).send_to(app)).status == 200
        bench.unblocked.set()
        await asyncio.gather(*ask)
        worker.tokens_per_second = 1e9
        assert (await RawRequest("POST", HELD[0], {"inputs": ["card"]}).send_to(app)).status == 200

    asyncio.run(run())


def test_a_body_is_read_where_somebody_else_would_answer_in_time(tmp_path: Path) -> None:
    async def run() -> None:
        bench = FakeBackbone()
        bench.unblocked.clear()
        server = make_server(tmp_path, make_service("a", make_plannable(bench), FakePredictor(INTENTS), deadline=5.0))
        app = create_app(server)
        ask = [asyncio.create_task(RawRequest("POST", HELD[0], {"inputs": ["x"]}).send_to(app))]
        worker = await busy(server, bench)
        ask.append(asyncio.create_task(RawRequest("POST", HELD[0], {"inputs": ["x"]}).send_to(app)))
        await first(lambda: worker.queued_tokens)
        worker.tokens_per_second = 1.0
        reply = await RawRequest("POST", HELD[0], {"inputs": ["card"]}).send_to(app)
        assert reply.json["predictions"][0]["fallback"] == {"from": "stage-1", "reason": "full"}
        bench.unblocked.set()
        await asyncio.gather(*ask)

    asyncio.run(run())


def test_how_much_there_is_in_a_body_is_learnt_from_those_before_it(tmp_path: Path) -> None:
    async def run() -> None:
        bench = FakeBackbone()
        server = make_server(tmp_path, make_service("a", make_plannable(bench), deadline=0.5))
        app = create_app(server)
        assert (await RawRequest("POST", HELD[0], {"inputs": ["x" * 400] * 4}).send_to(app)).status == 200
        bench.unblocked.clear()
        bench.entered.clear()
        ask = [asyncio.create_task(RawRequest("POST", HELD[0], {"inputs": ["x"]}).send_to(app))]
        worker = await busy(server, bench)
        ask.append(asyncio.create_task(RawRequest("POST", HELD[0], {"inputs": ["x"]}).send_to(app)))
        await first(lambda: worker.queued_tokens)
        worker.tokens_per_second = 1000.0
        parts: dict[str, Any] = {"body_chunks": [b"{"], "complete": False}
        large = RawRequest("POST", HELD[0], headers={"content-length": "2400"}, **parts)  # some 600 tokens
        small = RawRequest("POST", HELD[0], headers={"content-length": "40"}, **parts)
        assert (await asyncio.wait_for(large.send_to(app), 2)).status == 429
        with pytest.raises(TimeoutError):  # it waits for the rest of its body
            await asyncio.wait_for(small.send_to(app), 0.1)
        bench.unblocked.set()
        await asyncio.gather(*ask)

    asyncio.run(run())


async def busy(server: Server, bench: FakeBackbone) -> Any:
    """The only worker, when it has begun."""
    await first(bench.entered.is_set)
    return next(iter(server.engine.list_workers().values()))


async def first(what: Any) -> Any:
    """What it gives, when that is something."""
    end = time.monotonic() + 10
    while not (found := what()):
        assert time.monotonic() < end, "it did not happen"
        await asyncio.sleep(0.001)
    return found


# -- clients that go away
def statuses(server: Server) -> list[str]:
    text = server.metrics.render().decode()
    return re.findall(r'loratory_requests_total\{route="[^"]*",status="(\d+)"\}', text)


def test_what_a_client_left_is_not_computed(tmp_path: Path) -> None:
    async def run() -> None:
        bench = FakeBackbone()
        bench.unblocked.clear()
        server = make_server(tmp_path, make_service("a", make_plannable(bench)))
        app = create_app(server)
        gone = asyncio.Event()
        path = "/v1/tasks/a/predict"
        stays = asyncio.create_task(RawRequest("POST", path, {"inputs": ["stays"]}).send_to(app))
        while not bench.entered.is_set():
            await asyncio.sleep(0.001)
        leaves = asyncio.create_task(RawRequest("POST", path, {"inputs": ["leaves"]}, disconnected=gone).send_to(app))
        (worker,) = server.engine.list_workers().values()
        while not worker.queued_tokens:
            await asyncio.sleep(0.001)
        gone.set()
        with pytest.raises(EOFError):  # it ends in peace, with no answer
            await leaves
        bench.unblocked.set()
        assert (await stays).status == 200
        assert (await RawRequest("POST", path, {"inputs": ["later"]}).send_to(app)).status == 200
        assert bench.seen_texts == ["stays", "later"]
        assert "499" in statuses(server)

    asyncio.run(run())


def test_a_client_that_leaves_in_the_middle_of_its_body(tmp_path: Path) -> None:
    gone = asyncio.Event()
    gone.set()
    server = make_router_server(tmp_path)
    with pytest.raises(EOFError):
        send_request(
            create_app(server), "POST", "/predict/", body_chunks=[b'{"text"'], complete=False, disconnected=gone
        )
    assert statuses(server) == ["499"]


@pytest.mark.parametrize("leaves", [False, True])
def test_a_server_that_is_ended_does_not_take_that_for_a_client_that_left(tmp_path: Path, leaves: bool) -> None:
    """Nor where both happen."""

    async def run() -> None:
        bench, gone = FakeBackbone(), asyncio.Event()
        bench.unblocked.clear()
        app = create_app(make_server(tmp_path, make_service("a", make_plannable(bench))))
        task = asyncio.create_task(
            RawRequest("POST", "/v1/tasks/a/predict", {"inputs": ["x"]}, disconnected=gone).send_to(app)
        )
        while not bench.entered.is_set():
            await asyncio.sleep(0.001)
        if leaves:
            gone.set()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        bench.unblocked.set()

    asyncio.run(run())


# -- what is written down
def broken(task: Any, input: Input) -> Prediction:
    raise RuntimeError(f"cannot read {input['text']}")


def test_failures_are_opaque_and_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    server = make_server(tmp_path, make_service("a", FakePredictor(INTENTS, broken)))
    reply = send_request(create_app(server), "POST", "/v1/tasks/a/predict", {"inputs": ["words"]})
    assert (reply.status, reply.error["code"], reply.error["message"]) == (
        500,
        "internal",
        "the task could not be answered",
    )
    assert "the contender stage-1 failed" in caplog.text
    caplog.clear()
    server.registry.register(make_service("a", FakePredictor(INTENTS, lambda *_: Prediction({"other": 1}))))
    reply = send_request(create_app(server), "POST", "/predict/", {"text": "x"})
    assert (reply.status, reply.error["message"]) == (500, "something went wrong here")
    assert b"KeyError" not in reply.body
    assert b"Traceback" not in reply.body
    (logged,) = [record for record in caplog.records if record.name == "loratory.serving"]
    assert reply.error["request_id"] in logged.getMessage()
    assert logged.exc_info


def lines(caplog: pytest.LogCaptureFixture) -> list[Any]:
    return [json.loads(record.getMessage()) for record in caplog.records if record.name == "loratory.access"]


def test_a_line_for_each_request(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "loratory.access")
    app = create_app(
        make_server(
            tmp_path, make_service("a", FakePredictor(INTENTS, broken), FakePredictor(INTENTS)), known=make_keys()
        )
    )
    send_request(
        app, "POST", "/v1/tasks/a/predict", {"inputs": ["x"]}, headers={**bearer_header(INFER), "x-request-id": "one"}
    )
    send_request(app, "GET", "/v1/tasks")
    send_request(app, "GET", "/nothing", headers=bearer_header(ADMIN))
    first, second, third = lines(caplog)
    assert first.pop("milliseconds") > 0
    assert first == {
        "request_id": "one",
        "method": "POST",
        "route": "/v1/tasks/{task}/predict",
        "status": 200,
        "key": "ann",
        "bytes": 17,
        "task": "a",
        "contender": "stage-2",
        "fallback": "failed",
    }
    assert (second["status"], second["route"], second["key"]) == (401, "refused", None)
    assert (third["status"], third["route"], third["key"]) == (404, "unknown", "root")


SECRET = "nobody-may-read-this"


def everything(server: Server) -> None:
    app = create_app(server)
    for body in ({"inputs": [SECRET]}, {"inputs": [{"text": 3, SECRET: 1}]}, {SECRET: 1}, SECRET.encode()):
        send_request(app, "POST", "/v1/tasks/intent/predict", body)
    for kind in ("all", SECRET):
        send_request(app, "POST", "/api/v1/classify/batch", {"texts": [SECRET], "task_type": kind})
    send_request(app, "POST", "/predict/", {"text": SECRET})
    for path in (f"/{SECRET}", f"/v1/tasks/{SECRET}"):
        send_request(
            app, "GET", path, headers={"x-secret": SECRET, "authorization": f"Bearer {SECRET}", "cookie": SECRET}
        )


def test_logs_hold_no_texts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    everything(make_router_server(tmp_path))
    assert len(lines(caplog)) == 9
    assert SECRET not in caplog.text


def test_logs_hold_texts_where_that_is_asked_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    everything(make_router_server(tmp_path, texts_in_logs=True))
    held = [line["inputs"] for line in lines(caplog) if "inputs" in line]
    one = [{"text": SECRET}]
    assert held == [one, {"intent": one, "pii": one, "security": one}, one]


def test_an_error_is_logged_without_its_message() -> None:
    try:
        try:
            raise ValueError(SECRET)
        except ValueError as problem:
            raise RuntimeError(SECRET) from problem
    except RuntimeError:
        shown = RedactingFormatter("%(message)s").formatException(sys.exc_info())
    assert SECRET not in shown
    assert shown.index("builtins.ValueError") < shown.index("builtins.RuntimeError")
    assert "test_serving_gate.py" in shown


# -- keys and the audit log
def test_the_file_of_keys(tmp_path: Path) -> None:
    file = tmp_path / "below" / "keys.json"
    made = ApiKeys({})
    secret, other = made.add("ann", frozenset({"infer"})), made.add("root", frozenset(SCOPES))
    made.write(file)
    text = file.read_text()
    assert secret not in text
    assert secret.removeprefix("lk_") not in text
    assert file.stat().st_mode & 0o777 == 0o600
    again = ApiKeys.read(file)
    found = again.find(secret), again.find(other), again.find("lk_x")
    assert [one and (one.name, set(one.scopes)) for one in found] == [("ann", {"infer"}), ("root", set(SCOPES)), None]
    with pytest.raises(DataError, match="there is a key called 'ann'"):
        again.add("ann", frozenset({"infer"}))
    again.drop("ann")
    with pytest.raises(DataError, match="there is no key called 'ann'"):
        again.drop("ann")
    assert again.find(secret) is None
    assert len(secret) >= 32
    assert secret != other


def test_keys_are_never_readable_for_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    replace = __import__("os").replace

    def noting(part: Path, file: Path) -> None:
        seen.append(part.stat().st_mode & 0o777)
        replace(part, file)

    monkeypatch.setattr("loratory.artifacts.durable_files.os.replace", noting)
    make_keys().write(tmp_path / "keys.json")
    assert seen == [0o600]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"keys": [{}]}',
        '{"keys": [{"name": "a", "scopes": ["all"], "sha256": "' + "0" * 64 + '"}]}',
        '{"keys": [{"name": "a", "scopes": "infer", "sha256": "' + "0" * 64 + '"}]}',
        '{"keys": [{"name": "a", "scopes": ["infer"], "sha256": "0"}]}',
    ],
)
def test_a_file_that_is_none_of_keys(tmp_path: Path, text: str) -> None:
    (tmp_path / "keys.json").write_text(text)
    with pytest.raises(DataError, match="no file of keys"):
        ApiKeys.read(tmp_path / "keys.json")


def write_audit_log(folder: Path, count: int = 6) -> AuditLog:
    audit = AuditLog(folder / "below" / "audit.jsonl")
    for number in range(count):
        audit.record("load", {"task": f"task-{number}", "release": "a"})
    return audit


def test_a_chain_that_nobody_touched(tmp_path: Path) -> None:
    audit = write_audit_log(tmp_path)
    assert audit.verify() == 6
    AuditLog(audit.file).record("unload", {"task": "task-1"})
    assert audit.verify() == 7
    first, *_, last = map(json.loads, audit.file.read_text().splitlines())
    assert (first["before"], first["event"], first["task"]) == ("0" * 64, "load", "task-0")
    assert last["event"] == "unload"


def tamper_rows(rows: list[str], how: str) -> list[str]:
    if how == "changed":
        return [row.replace("task-2", "task-9") for row in rows]
    if how == "first":
        return rows[1:]
    if how == "removed":
        return [row for row in rows if "task-2" not in row]
    if how == "swapped":
        return [*rows[:2], rows[3], rows[2], *rows[4:]]
    if how == "twice":
        return [*rows[:3], rows[2], *rows[3:]]
    if how == "torn":
        return [*rows[:2], rows[2][:20], *rows[3:]]
    return [*rows[:3], how, *rows[3:]]


@pytest.mark.parametrize(
    "how", ["changed", "first", "removed", "swapped", "twice", "torn", "{}", "[]", "", '{"before": "' + "0" * 64 + '"}']
)
def test_a_chain_that_somebody_touched(tmp_path: Path, how: str) -> None:
    audit = write_audit_log(tmp_path)
    rows = tamper_rows(audit.file.read_text().splitlines(), how)
    audit.file.write_text("".join(f"{row}\n" for row in rows))
    with pytest.raises(DataError, match="the chain is broken") as found:
        audit.verify()
    assert int(found.value.where.rpartition(":")[2]) in (1, 3, 4)


def test_several_processes_write_one_chain(tmp_path: Path) -> None:
    """Each with an Audit of its own, as processes have."""

    def write(number: int) -> None:
        audit = AuditLog(tmp_path / "audit.jsonl")
        for _ in range(20):
            audit.record("load", {"task": str(number)})

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert AuditLog(tmp_path / "audit.jsonl").verify() == 80


@pytest.mark.parametrize(
    ("body", "status", "where"),
    [
        ({}, 422, "lora_name"),
        ({"lora_name": "a b", "lora_path": "x"}, 422, "lora_name"),
        ({"lora_name": "a"}, 422, "lora_path"),
        ({"lora_name": "a", "lora_path": ""}, 422, "lora_path"),
        ({"lora_name": "a", "lora_path": "x", "more": 1}, 422, "more"),
        ({"lora_name": "a", "lora_path": "x"}, 403, None),  # it was started without a folder to load from
    ],
)
def test_what_is_to_be_loaded_has_to_be_said(tmp_path: Path, body: Any, status: int, where: str | None) -> None:
    reply = send_request(create_app(make_router_server(tmp_path)), "POST", ADMINS[0], body)
    assert (reply.status, reply.error["param"]) == (status, where)
