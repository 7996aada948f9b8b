"""A disk that refuses any one of all writes of a run: the calls themselves fail, of Python and of libraries in Rust."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fault_recording import FaultCounts
from loratory.artifacts.manifests import MANIFEST, verify_artifact
from loratory.data.splitting import ledger
from loratory.errors import ArtifactError

from . import run_fixtures
from .run_fixtures import make_spec, read_weights

COMPILER = shutil.which("cc") or shutil.which("gcc")
pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux") or COMPILER is None, reason="the calls are intercepted by a small library in C"
)
HERE = Path(__file__).parent
TRAINING = "{epochs: 1, threads: 1, checkpoint_seconds: 0}"  # a checkpoint after every step
SPEC = make_spec("  - tfidf\n  - lora\n").replace("{epochs: 2, threads: 1}", TRAINING)
COMMANDS = (
    ("run", "spec.yaml"),
    ("report", "runs/tiny"),
    ("export", "runs/tiny", "-c", "lora", "-o", "exported"),
)
# how a disk refuses: the error, whether it goes on refusing, whether it refuses removals as well
WAYS = {
    "the disk is full": (errno.ENOSPC, True, False),
    "the quota is used up": (errno.EDQUOT, True, False),
    "an I/O error": (errno.EIO, False, True),
    "the disk is read-only from then on": (errno.EROFS, True, True),
    "the disk is full for a moment": (errno.ENOSPC, False, False),
    "the disk is broken from then on": (errno.EIO, True, True),
}
ERROR_PHRASES = (
    "the ledger of test reads cannot be used",
    "the disk refuses",
    "the disk is full",
    "the disk quota is used up",
    "the disk reports an I/O error",
    "the disk is read-only",
)


@dataclass(frozen=True)
class Ended:
    """How the commands ended: a code and what was said, each; how many calls there were, and which one failed first."""

    done: list[tuple[int, str]]
    calls: int
    failed: int
    call: str


class Disk:
    """A process whose children's disk refuses."""

    def __init__(self, library: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "refuser.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "LD_PRELOAD": str(library)},
            text=True,
        )
        self._read()

    def _read(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def run(self, folder: Path, at: int = 0, way: str = "the disk is full") -> Ended:
        """All commands, of which the n-th call that writes below the folder fails; none where it is 0."""
        own = {name: value for name, value in os.environ.items() if name.startswith("LORATORY_")}
        own[ledger.LEDGER_VARIABLE] = str(folder / "ledger" / ledger.LEDGER_FILE)
        request = {"folder": str(folder), "refuse": [at, *WAYS[way]], "environment": own, "commands": COMMANDS}
        if not at:
            request["refuse"] = [0, 0, False, WAYS[way][2]]
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        told = self._read()
        assert "broken" not in told, told
        return Ended([(code, err) for code, err in told["done"]], told["calls"], told["failed"], told["call"])


@contextmanager
def refusing(folder: Path) -> Iterator[Disk]:
    library = folder / "refusing.so"
    words = ["-shared", "-fPIC", "-O1", "-o", str(library), str(HERE / "refusing.c"), "-ldl"]
    done = subprocess.run([str(COMPILER), *words], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"the library that intercepts calls cannot be made here: {done.stderr[:200]}")
    made = Disk(library)
    try:
        yield made
    finally:
        made.process.kill()
        made.process.wait()


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disk]:
    with refusing(tmp_path_factory.mktemp("refusing")) as made:
        yield made


@dataclass(frozen=True)
class Undisturbed:
    """A run to which nothing happened: its calls, its files, its weights."""

    calls: dict[bool, int]  # with removals, and without
    files: list[str]
    weights: dict[str, bytes]


@pytest.fixture(scope="module")
def undisturbed(disk: Disk, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    calls = {}
    for way in ("the disk is full", "an I/O error"):
        folder = run_fixtures.make_workspace(tmp_path_factory.mktemp("undisturbed") / "w", base, SPEC)
        ended = disk.run(folder, 0, way)
        assert [code for code, _ in ended.done] == [0] * len(COMMANDS), ended.done
        calls[WAYS[way][2]] = ended.calls
    return Undisturbed(calls, files_in(folder), read_weights(folder))


def files_in(folder: Path) -> list[str]:
    return sorted(f.relative_to(folder).as_posix() for f in folder.rglob("*") if not f.is_dir())


def refuse(disk: Disk, folder: Path, at: int, way: str, undisturbed: Undisturbed) -> str:
    """Refuse the n-th call, look at what is left, and go on; why it did not end as promised."""
    ended = disk.run(folder, at, way)
    code, said = ended.done[-1]
    found = describe_fault(ended) or left(folder, code, undisturbed) or gone_on(disk.run(folder), folder, undisturbed)
    return found and f"{way}, call {at} ({ended.call}): {found}; it said: {said}"


def describe_fault(ended: Ended) -> str:
    """What is wrong with how the commands ended, and with what a person reads."""
    code, said = ended.done[-1]
    if not ended.failed:
        return "nothing was refused"
    if code not in (0, 2) or "Traceback" in said:
        return f"it ended with {code}"
    lines = sum(line.startswith("loratory: ") for line in said.splitlines())
    return (
        ""
        if code == 0 or (lines == 1 and any(words in said for words in ERROR_PHRASES))
        else "it does not say so in one line"
    )


def left(folder: Path, code: int, undisturbed: Undisturbed) -> str:
    """What is wrong with the files. What lies there under temporary names goes with the next command."""
    try:
        for file in folder.rglob(MANIFEST):
            if "/." not in f"/{file.relative_to(folder).as_posix()}":
                verify_artifact(file.parent)
    except ArtifactError as problem:
        return str(problem)
    same = (files_in(folder), read_weights(folder)) == (undisturbed.files, undisturbed.weights)
    return "" if code or same else "it ended well, and is not whole"


def gone_on(again: Ended, folder: Path, undisturbed: Undisturbed) -> str:
    """What is wrong with the same commands on a disk that is well again."""
    if [code for code, _ in again.done] != [0] * len(COMMANDS):
        return f"it does not go on: {again.done[-1]}"
    if read_weights(folder) != undisturbed.weights:
        return "other weights"
    more = set(files_in(folder)) ^ set(undisturbed.files)
    return f"other files: {more}" if more else ""


def refuse_some(
    disk: Disk, home: Path, base: Path, undisturbed: Undisturbed, places: Iterable[tuple[str, int]]
) -> Iterator[str]:
    """Calls of a run, each in its way; why they did not end as promised."""
    for way, at in places:
        folder = run_fixtures.make_workspace(home / "w", base, SPEC)
        yield refuse(disk, folder, at, way, undisturbed)
        shutil.rmtree(folder)


@pytest.mark.slow  # the undisturbed runs before it take most of a minute
def test_some_refused_writes_of_a_run(disk: Disk, base: Path, tmp_path: Path, undisturbed: Undisturbed) -> None:
    chance = random.Random(1)
    places = [(way, chance.randint(1, undisturbed.calls[removals])) for way, (_, _, removals) in WAYS.items()]
    found = list(refuse_some(disk, tmp_path, base, undisturbed, places))
    assert [one for one in found if one] == []


@pytest.mark.slow
@pytest.mark.timeout(14_400)
def test_every_refused_write_of_a_run(
    disk: Disk, base: Path, tmp_path: Path, undisturbed: Undisturbed, faults: FaultCounts
) -> None:
    """Each call of a run fails once, in one of the ways in turn; LORATORY_TEST_STRIDE=5 takes every fifth."""
    tries = faults.tries_of("a disk that refuses any one write, sync, rename or new folder of a run")
    ways = [*WAYS] * (max(undisturbed.calls.values()) // len(WAYS) + 1)
    places = [(way, at) for at, way in enumerate(ways, 1) if at <= undisturbed.calls[WAYS[way][2]]]
    stride, failed = int(os.environ.get("LORATORY_TEST_STRIDE", "1")), []
    for one in refuse_some(disk, tmp_path, base, undisturbed, places[::stride]):
        tries.add(1, bool(one))
        failed += [one] if one else []
    assert failed == []
