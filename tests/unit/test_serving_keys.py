"""Keys that change while a server runs, and the names by which it may be called."""

from __future__ import annotations

import json
import logging
import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from loratory.errors import StorageError
from loratory.serving.app import create_app
from loratory.serving.http.application import HttpApplication
from loratory.serving.http.auth.allowed_hosts import AllowedHosts, allowed_hosts_for
from loratory.serving.http.auth.api_keys import ApiKeys
from loratory.serving.http.auth.login_sessions import SESSION_COOKIE
from loratory.serving.http.server import Server
from serving_fixtures import Reply, bearer_header, make_router_server, make_server, send_request

INFER = frozenset({"infer"})


class World:
    """A file of keys, and a server that was started with it."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "keys.json"
        self.keys = ApiKeys({})
        self.secrets = {name: self.keys.add(name, INFER) for name in ("ann", "bob")}
        self.keys.write(self.file)
        self.server: Server = make_router_server(folder, known=ApiKeys.read(self.file), keys=self.file)
        self.app: HttpApplication = create_app(self.server)

    def status(self, secret: str) -> int:
        return send_request(self.app, "GET", "/v1/tasks", headers=bearer_header(secret)).status

    def later(self) -> None:
        """As if the last look were some time ago."""
        assert self.server.key_watcher is not None
        self.server.key_watcher._last_check -= 10

    def cookie(self, secret: str) -> dict[str, str]:
        body = f"key={secret}".encode()
        headers = {"content-type": "application/x-www-form-urlencoded"}
        reply: Reply = send_request(self.app, "POST", "/login", body, headers=headers)
        return {"cookie": reply.headers.get("set-cookie", "").partition(";")[0]}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_new_key_is_known_when_it_is_first_used(world: World) -> None:
    assert world.status("lk_unknown") == 401
    secret = world.keys.add("new", INFER)
    assert world.status(secret) == 401
    world.keys.write(world.file)
    assert world.status(secret) == 200
    other = world.keys.add("other", INFER)
    world.keys.write(world.file)
    assert world.cookie(other)["cookie"].startswith(SESSION_COOKIE)


def test_a_removed_key_is_nobodys_and_its_sessions_end(world: World) -> None:
    cookies = {name: world.cookie(secret) for name, secret in world.secrets.items()}
    assert [send_request(world.app, "GET", "/v1/tasks", headers=one).status for one in cookies.values()] == [200, 200]
    world.keys.drop("ann")
    world.keys.write(world.file)
    world.later()
    assert [world.status(secret) for secret in world.secrets.values()] == [401, 200]
    assert [send_request(world.app, "GET", "/v1/tasks", headers=one).status for one in cookies.values()] == [401, 200]


def test_a_file_that_was_changed_in_place_is_read_again(world: World) -> None:
    """Same size, same inode, and the same second."""
    digest = next(iter(world.keys.by_digest))
    text = world.file.read_text()
    times = world.file.stat()
    assert world.status(world.secrets["ann"]) == 200
    world.file.write_text(text.replace(digest, "f" * 64))
    os.utime(world.file, ns=(times.st_atime_ns, times.st_mtime_ns))
    world.later()
    assert world.status(world.secrets["ann"]) == 401


def test_without_its_last_key_a_server_lets_nobody_in(world: World) -> None:
    for name in ("ann", "bob"):
        world.keys.drop(name)
    world.keys.write(world.file)
    world.later()
    assert [world.status(secret) for secret in world.secrets.values()] == [401, 401]
    assert send_request(world.app, "GET", "/v1/tasks").status == 401
    assert bool(world.server.keys)


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"keys": [{"name": "ann"}]}', "[" * 100_000])
def test_a_broken_file_keeps_the_keys_and_says_so_once(
    world: World, text: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    whole = world.file.read_text()
    world.file.unlink()
    if text is not None:
        world.file.write_text(text)
    with caplog.at_level(logging.INFO, logger="loratory.serving"):
        for _ in range(3):
            world.later()
            assert [world.status(secret) for secret in world.secrets.values()] == [200, 200]
            assert world.status("lk_unknown") == 401
        assert [one.levelname for one in caplog.records if "the keys of before hold" in one.message] == ["ERROR"]
        world.file.write_text(whole.replace('"bob"', '"bobby"'))
        world.later()
        assert [world.status(secret) for secret in world.secrets.values()] == [200, 200]
    said = [one.getMessage() for one in caplog.records]
    assert any("can be read again" in one for one in said)
    assert any("new: bobby; gone: bob" in one for one in said)
    assert not any(secret in " ".join(said) for secret in world.secrets.values())


def test_what_changed_is_written_down(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.keys.drop("bob")
    world.keys.add("eve", INFER)
    world.keys.write(world.file)
    world.server.check_keys(now=True)
    (line,) = map(json.loads, world.server.audit.file.read_text().splitlines())
    assert (line["event"], line["new"], line["gone"]) == ("keys changed", ["eve"], ["bob"])

    def full(*_: Any) -> None:
        raise StorageError("cannot write: the disk is full")

    monkeypatch.setattr(world.server.audit, "record", full)
    world.keys.drop("ann")
    world.keys.write(world.file)
    world.server.check_keys(now=True)  # a full disk keeps no revoked key alive
    assert world.status(world.secrets["ann"]) == 401


def test_nobody_looks_more_often_than_that(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = world.server.key_watcher
    assert watch is not None
    old = time.time() - 100
    os.utime(world.file, (old, old))
    watch.check(now=True)
    looks: list[int] = []
    monkeypatch.setattr(ApiKeys, "read", lambda file: looks.append(1))
    for _ in range(50):
        assert world.status(world.secrets["ann"]) == 200
        assert world.status("lk_unknown") == 401  # looks at the file's time, and reads it not
    assert looks == []


# -- names
@pytest.mark.parametrize(
    ("bound", "host", "answered"),
    [
        ("127.0.0.1", "localhost:8000", True),
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "[::1]:1", True),
        ("127.0.0.1", "evil.example", False),
        ("127.0.0.1", "192.168.1.7", False),
        ("127.0.0.1", "", False),
        ("::1", "[::1]:8000", True),
        ("::1", "evil.example", False),
        ("192.168.1.7", "192.168.1.7:8000", True),
        ("192.168.1.7", "192.168.1.8", False),
        ("192.168.1.7", "evil.example", False),
        ("0.0.0.0", "10.1.2.3:8000", True),
        ("0.0.0.0", "[fd00::5]:8000", True),
        ("0.0.0.0", "evil.example", False),
        ("0.0.0.0", "10.1.2.3.evil.example", False),
        ("0.0.0.0", "2130706433", False),
        ("0.0.0.0", "", False),
        ("::", "10.1.2.3", True),
        ("::", "evil.example:80", False),
        ("0", "evil.example", False),
    ],
)
def test_by_which_names_a_server_may_be_called(tmp_path: Path, bound: str, host: str, answered: bool) -> None:
    """With keys or without: a name of somebody else that is turned to this address is none of ours."""
    for known in (None, ApiKeys.read(World(tmp_path).file)):
        app = create_app(make_router_server(tmp_path / str(bool(known)), known=known), allowed_hosts_for(bound))
        assert send_request(app, "GET", "/health/live", headers={"host": host}).status == (200 if answered else 421)


def test_names_that_the_file_lists(tmp_path: Path) -> None:
    app = create_app(make_server(tmp_path), allowed_hosts_for("127.0.0.1", ("Models.Example", "fd00::5")))
    for host, status in (("models.example", 200), ("MODELS.example:8", 200), ("[fd00::5]", 200), ("example", 421)):
        reply = send_request(app, "GET", "/health/live", headers={"host": host})
        assert reply.status == status
    assert "listed under hosts" in reply.error["message"]


def test_the_machines_own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it stands for what is bound, and there only."""
    known = {"Pluto": "192.168.1.7", "192.168.1.7": "192.168.1.7", "192.168.1.8": "192.168.1.8"}
    known |= {"127.0.0.1": "127.0.0.1", "0.0.0.0": "0.0.0.0"}

    def resolve(name: str, port: Any) -> list[Any]:
        found = next((address for one, address in known.items() if one.lower() == name.lower()), None)
        if found is None:
            raise socket.gaierror
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (found, 0))]

    monkeypatch.setattr(socket, "gethostname", lambda: "Pluto")
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    has = {
        bound: "pluto" in allowed_hosts_for(bound) for bound in ("192.168.1.7", "192.168.1.8", "127.0.0.1", "0.0.0.0")
    }
    assert has == {"192.168.1.7": True, "192.168.1.8": False, "127.0.0.1": False, "0.0.0.0": True}
    known["Pluto"] = "127.0.0.1"
    assert "pluto" not in allowed_hosts_for("127.0.0.1")


def test_names_are_told_to_people() -> None:
    assert AllowedHosts(frozenset({"b", "a"}), any_address=True).description == "any address, a, b"
