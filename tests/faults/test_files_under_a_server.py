"""Files change while a server has them loaded: what is in memory goes on, to the bit; loading again is refused."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from fault_recording import FaultCounts
from loratory.artifacts.manifests import MANIFEST, open_artifact

from . import run_fixtures
from .run_fixtures import run_command
from .server_fixtures import RunningServer, run_server

LADDER = "  - rules\n  - tfidf\n  - lora\n"
TEXTS = ["my card was stolen please help", "i want a refund now", "x", "cannot login since monday 17"]
LOAD = {"lora_name": "tiny", "lora_path": "tiny"}


@pytest.fixture(scope="module")
def ran(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a finished run and a base of its own, only to be looked at."""
    spec = run_fixtures.make_spec(LADDER, serve="{contender: lora, fallback: [tfidf]}")
    folder = run_fixtures.make_workspace(tmp_path_factory.mktemp("ran") / "w", base, spec)
    (folder / "base").unlink()
    shutil.copytree(base, folder / "base")
    done = run_command(folder, "run", "spec.yaml")
    assert done.code == 0, done.err
    return folder


@pytest.fixture
def work(ran: Path, tmp_path: Path) -> Path:
    """A copy, to be changed."""
    folder = shutil.copytree(ran, tmp_path / "copy")
    shutil.rmtree(folder / ".loratory", ignore_errors=True)
    return folder


# ---- what happens to a file; each is told another one of its folder
def write_in_place(file: Path, other: Path, chance: random.Random) -> None:
    """As `cp` and editors do: the same inode, other bytes."""
    data = bytearray(file.read_bytes())
    place = chance.randrange(len(data))
    data[place] ^= 1 << chance.randrange(8)
    for extra in range(place + 1, min(place + chance.choice((1, 64, 4096)), len(data))):
        data[extra] = chance.randrange(256)
    with file.open("r+b") as handle:
        handle.write(data)


def truncate(file: Path, other: Path, chance: random.Random) -> None:
    os.truncate(file, chance.choice((0, 1, chance.randrange(file.stat().st_size))))


def replace(file: Path, other: Path, chance: random.Random) -> None:
    part = file.with_name("part")
    part.write_bytes(other.read_bytes())
    part.replace(file)


def exchange(file: Path, other: Path, chance: random.Random) -> None:
    """In place, both of them."""
    mine, others = file.read_bytes(), other.read_bytes()
    for one, data in ((file, others), (other, mine)):
        one.write_bytes(data)


def link(file: Path, other: Path, chance: random.Random) -> None:
    file.unlink()
    file.symlink_to(other)


def block(file: Path, other: Path, chance: random.Random) -> None:
    file.unlink()
    file.mkdir()


WAYS: Mapping[str, Callable[[Path, Path, random.Random], Any]] = {
    "written in place": write_in_place,
    "truncated": truncate,
    "deleted": lambda file, other, chance: file.unlink(),
    "replaced": replace,
    "exchanged": exchange,
    "a link": link,
    "a folder": block,
}


def files_of(fit: Path) -> list[Path]:
    """All that the manifest lists, and the manifest."""
    return [fit / name for name in (MANIFEST, *open_artifact(fit).list_names())]


def answers(server: RunningServer) -> Any:
    said = server.request("POST", "/v1/tasks/tiny/predict", {"inputs": TEXTS})
    return said.json["predictions"] if said.status == 200 else said


def spoil(server: RunningServer, work: Path, number: int, seed: int) -> Iterator[str]:
    """Change a file so many times; what did not go on, and what was loaded again all the same."""
    chance = random.Random(seed)
    (fit,) = (work / "runs").glob("tiny/contenders/lora/seed-*")
    (other_fit,) = (work / "runs").glob("tiny/contenders/tfidf/seed-*")
    kept = {file: file.read_bytes() for file in (*files_of(fit), *files_of(other_fit), *(work / "base").glob("*.*"))}
    before = answers(server)
    assert isinstance(before, list)
    for _ in range(number):
        file = chance.choice([one for one in kept if kept[one]])
        other = chance.choice([one for one in kept if kept[one] not in (kept[file], b"")])
        way = chance.choice(list(WAYS))
        WAYS[way](file, other, chance)
        what = f"{file.relative_to(work)} {way} ({other.name})"
        if (now := answers(server)) != before:
            yield f"{what}: {now}"
        again = server.request("POST", "/v1/load_lora_adapter", LOAD)
        mine = fit in file.parents or (way == "exchanged" and fit in other.parents)
        if again.status not in ((422,) if mine else (200, 422)):
            yield f"{what}: loaded again: {again}"
        if answers(server) != before:
            yield f"{what}: another answer after it was loaded again"
        for one, data in kept.items():
            if one.is_symlink() or not one.is_file() or one.read_bytes() != data:
                shutil.rmtree(one) if one.is_dir() and not one.is_symlink() else one.unlink(missing_ok=True)
                one.write_bytes(data)
    again = server.request("POST", "/v1/load_lora_adapter", LOAD)
    if again.status != 200 or answers(server) != before:
        yield f"whole again, and not loaded: {again}"


def ends_well(server: RunningServer) -> None:
    server.signal()
    done = server.wait()
    assert (done.code, "Traceback" in done.err) == (0, False), done.err[-3000:]


def test_files_change_under_a_server(process_pool: run_fixtures.ProcessPool, work: Path) -> None:
    with run_server(process_pool, work, "runs/tiny", "--adapters", "runs") as server:
        assert list(spoil(server, work, 40, 1)) == []
        ends_well(server)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_files_change_under_a_server_1_000_times(
    process_pool: run_fixtures.ProcessPool, work: Path, faults: FaultCounts
) -> None:
    with run_server(process_pool, work, "runs/tiny", "--adapters", "runs") as server:
        failed = list(spoil(server, work, 1000, 2))
        faults.tries_of("a file of an adapter or a base changed under a server").add(1000, len(failed))
        assert failed == []
        ends_well(server)
