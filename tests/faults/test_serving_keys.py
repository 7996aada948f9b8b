"""A process of `loratory serve` whose keys, audit file and names are tried while it runs."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

from loratory.serving.audit_log import AuditLog
from serving_fixtures import bearer_header

from . import run_fixtures
from .run_fixtures import run_command, wait_until
from .server_fixtures import RunningServer, run_server


@pytest.fixture(scope="module")
def ran(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a finished run that needs no base."""
    folder = run_fixtures.make_workspace(
        tmp_path_factory.mktemp("ran") / "w", base, run_fixtures.make_spec("  - rules\n")
    )
    with pytest.MonkeyPatch.context() as patched:  # no charts: they take long, and nobody looks
        patched.setattr("loratory.experiment.results.render_report", lambda *_: "<html></html>")
        done = run_command(folder, "run", "spec.yaml")
    assert done.code == 0, done.err
    return folder


@pytest.fixture
def ann(ran: Path) -> str:
    """The secret of the only key."""
    for name in ("keys.json", ".loratory/audit.jsonl", ".loratory/audit.jsonl.head"):
        (ran / name).unlink(missing_ok=True)
    return run_command(ran, "keys", "add", "ann").out.strip()


def status(server: RunningServer, secret: str, **more: str) -> int:
    return server.request("GET", "/v1/tasks", **bearer_header(secret), **more).status


def test_keys_come_and_go_while_it_runs(process_pool: run_fixtures.ProcessPool, ran: Path, ann: str) -> None:
    file = ran / "keys.json"
    with run_server(process_pool, ran, "runs/tiny", "--keys", "keys.json") as server:
        bob = run_command(ran, "keys", "add", "bob").out.strip()
        assert (status(server, ann), status(server, bob)) == (200, 200)
        told = run_command(ran, "keys", "revoke", "ann")
        assert "a running server stops accepting it within a second" in told.out
        wait_until(lambda: status(server, ann) == 401, 5)
        whole = file.read_text()
        file.write_text(whole[:20])
        server.signal(signal.SIGHUP)
        assert status(server, bob) == 200
        time.sleep(1.2)
        assert status(server, bob) == 200
        file.write_text(json.dumps({"keys": []}))
        server.signal(signal.SIGHUP)
        wait_until(lambda: status(server, bob) == 401, 5)
        assert server.request("GET", "/v1/tasks").status == 401
        file.write_text(whole)
        server.signal(signal.SIGHUP)
        wait_until(lambda: status(server, bob) == 200, 5)
        server.signal()
        done = server.wait()
    assert (done.code, "Traceback" in done.err) == (0, False), done.err
    assert "this is no file of keys; the keys of before hold" in done.err
    assert ann not in done.err
    rows = [json.loads(line) for line in (ran / ".loratory/audit.jsonl").read_text().splitlines()]
    changes = [(row["new"], row["gone"]) for row in rows if row["event"] == "keys changed"]
    assert changes == [(["bob"], []), ([], ["ann"]), ([], ["bob"]), (["bob"], [])]
    assert AuditLog(ran / ".loratory/audit.jsonl").verify_chain().beyond == 0


def test_a_killed_server_leaves_a_chain_that_goes_on(
    process_pool: run_fixtures.ProcessPool, ran: Path, ann: str
) -> None:
    audit = AuditLog(ran / ".loratory/audit.jsonl")
    for torn in range(2):
        with run_server(process_pool, ran, "runs/tiny", "--keys", "keys.json") as server:
            assert status(server, ann) == 200
            server.signal(signal.SIGKILL)
            done = server.wait()
        assert done.code == -signal.SIGKILL
        assert done.err.count("torn tail") == torn
        assert audit.verify_chain().torn == torn
        with audit.file.open("ab") as handle:  # as if it had been killed in the middle of a line
            handle.write(b'{"at": "2026-')
    assert audit.verify_chain().torn == 2
    told = run_command(ran, "audit")
    assert (told.code, "torn: a crash or a full disk cut 2 lines short" in told.out) == (0, True)


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_a_page_elsewhere_cannot_call_it_by_a_name_of_its_own(
    process_pool: run_fixtures.ProcessPool, ran: Path, ann: str, address: str
) -> None:
    with run_server(process_pool, ran, "runs/tiny", "--keys", "keys.json", "--host", address) as server:
        assert [status(server, ann, Host=host) for host in ("localhost", "127.0.0.1", "evil.example")] == [
            200,
            200,
            421,
        ]
        assert server.request("GET", "/login", Host="evil.example:80").status == 421
        assert status(server, ann, Host="10.9.8.7") == (200 if address == "0.0.0.0" else 421)
        server.signal()
        done = server.wait()
    assert done.code == 0
    assert ("it answers requests for any address, " in done.read_stderr()) == (address == "0.0.0.0")
