"""Power lost between any two writes: a reader sees the state of before or of afterwards, and what was acknowledged."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch

from fault_recording import FaultCounts
from loratory.artifacts import manifests
from loratory.artifacts.durable_files import append_line, remove_leftovers, write_json, write_text
from loratory.artifacts.manifests import extend_artifact, open_artifact, stage_artifact
from loratory.errors import ArtifactError, DataError
from loratory.experiment.artifact_lookup import read_ladder, seal_run, unseal_run
from loratory.protocols import TrainingState
from loratory.serving import key_administration
from loratory.serving.audit_log import AuditLog
from loratory.serving.http.auth.api_keys import ApiKeys
from loratory.training.checkpoints import FolderCheckpoints

from .power import Trace, crash, tracing

Tree = dict[str, bytes]
TIMES = 4  # that something is written, where it is written again and again


@dataclass(frozen=True)
class Case:
    """What lies there before, what is done and acknowledged, and what a reader must find after a crash.

    `read` raises AssertionError for anything else; it is told how much had been acknowledged. `again` does the same
    work once more, as the next command does.
    """

    before: Callable[[Path], object]
    work: Callable[[Path, Trace], object]
    read: Callable[[Path, int], object]
    again: Callable[[Path], object]


def nothing(root: Path) -> None:
    """A folder without anything in it."""


def tree(folder: Path) -> Tree:
    """The files of a valid artifact; raises ArtifactError."""
    made = open_artifact(folder)
    made.check_all()
    return {name: made.read(name) for name in made.list_names()}


# ---- artifacts
OLD: Tree = {"a.txt": b"old" * 2000, "inner/b.txt": b"b"}
NEW: Tree = {"a.txt": b"new, and longer " * 2000, "inner/b.txt": b"c"}
MORE: Tree = {**OLD, "more/c.txt": b"c" * 5000}


def stage(root: Path, files: Tree) -> None:
    with stage_artifact(root / "runs" / "fit", {"kind": "fit"}) as part:
        for name, data in files.items():
            (part / name).parent.mkdir(exist_ok=True)
            (part / name).write_bytes(data)


def stage_all(root: Path, states: Sequence[Tree]) -> None:
    for one in states:
        stage(root, one)


def extend(root: Path, files: Tree) -> None:
    with extend_artifact(root / "runs" / "fit") as part:
        for name, data in files.items():
            (part / name).parent.mkdir(exist_ok=True)
            (part / name).write_bytes(data)


def one_of(root: Path, acknowledged: int, *states: Tree | None) -> None:
    """The folder is one of these, the last where that was acknowledged; None: no artifact."""
    try:
        found: Tree | None = tree(root / "runs" / "fit")
    except ArtifactError:
        found = None
    assert found in (states[-1:] if acknowledged else states)


def exchanges(root: Path) -> bool:
    """Whether folders change places here, and the test has not taken that away."""
    one, other = root / "runs" / "one", root / "runs" / "other"
    for folder in (one, other):
        folder.mkdir()
    able = bool(vars(manifests)["exchange"](one, other))
    for folder in (one, other):
        folder.rmdir()
    return able


def done(trace: Trace, work: Callable[[Path, Any], object], root: Path, what: Any) -> None:
    """Do it, and say so."""
    work(root, what)
    trace.acknowledge()


def made_again(work: Callable[[Path, Tree], object], root: Path, files: Tree, after: Tree) -> None:
    """The next command's work is whole."""
    work(root, files)
    one_of(root, 1, after)


def make_stage_case(*before: Tree) -> Case:
    def sweep_and_check(root: Path, acknowledged: int) -> None:
        if (root / "runs").is_dir() and not exchanges(root):
            remove_leftovers(
                root / "runs" / "fit"
            )  # gives the older folder its name back where two renames were needed
        one_of(root, acknowledged, *(before or (None,)), NEW)

    return Case(
        lambda root: stage_all(root, before),
        lambda root, trace: done(trace, stage, root, NEW),
        sweep_and_check,
        lambda root: made_again(stage, root, NEW, NEW),
    )


def make_extend_case(files: Tree, between: Tree | None, after: Tree) -> Case:
    return Case(
        lambda root: stage(root, OLD),
        lambda root, trace: done(trace, extend, root, files),
        lambda root, acknowledged: one_of(root, acknowledged, OLD, *([between] if between is not None else []), after),
        lambda root: made_again(extend, root, files, after),
    )


# ---- checkpoints
def state(number: int) -> TrainingState:
    return TrainingState({"weight": torch.full((400,), float(number))}, {"step": number})


def checkpoints(root: Path) -> FolderCheckpoints:
    return FolderCheckpoints(root / "runs" / ".seed-1.checkpoints", "one")


def keep(root: Path, trace: Trace) -> None:
    for number in range(1, TIMES + 1):
        checkpoints(root).save(state(number))
        trace.acknowledge()


def check_latest_checkpoint(root: Path, acknowledged: int) -> int:
    found = checkpoints(root).load_latest()
    step = 0 if found is None else int(str(found.facts["step"]))
    assert found is None or torch.equal(found.tensors["weight"], state(step).tensors["weight"])
    assert acknowledged <= step <= TIMES + 1
    return step


def go_on(root: Path) -> None:
    step = check_latest_checkpoint(root, 0)
    checkpoints(root).save(state(step + 1))
    assert check_latest_checkpoint(root, 0) == step + 1


# ---- lines and files
def append(root: Path, trace: Trace) -> None:
    for number in range(TIMES):
        append_line(root / "logs" / "log.jsonl", json.dumps({"number": number, "more": "x" * 300}))
        trace.acknowledge()


def lines(root: Path, acknowledged: int) -> None:
    file = root / "logs" / "log.jsonl"
    found = []
    for raw in file.read_bytes().split(b"\n") if file.exists() else []:
        with suppress(ValueError, TypeError):
            found.append(json.loads(raw)["number"])
    assert found == list(range(len(found)))
    assert acknowledged <= len(found)


def another_line(root: Path) -> None:
    append_line(root / "logs" / "log.jsonl", '{"last": 1}')
    assert (root / "logs" / "log.jsonl").read_bytes().split(b"\n")[-2:] == [b'{"last": 1}', b""]


def rewrite(root: Path, trace: Trace) -> None:
    for number in range(1, TIMES + 1):
        write_text(root / "made" / "file.txt", f"{number}" * 3000)
        trace.acknowledge()


def check_rewritten_file(root: Path, acknowledged: int) -> None:
    file = root / "made" / "file.txt"
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    assert text in ["" if number == 0 else f"{number}" * 3000 for number in range(acknowledged, TIMES + 1)]


# ---- the audit file and the keys
def audit(root: Path) -> AuditLog:
    return AuditLog(root / ".loratory" / "audit.jsonl")


def note(root: Path, trace: Trace) -> None:
    for number in range(TIMES):
        audit(root).record("load", {"number": number, "path": "x" * 300})
        trace.acknowledge()


def check_audit_chain(root: Path, acknowledged: int) -> None:
    try:
        assert acknowledged <= audit(root).verify() <= TIMES
    except DataError:
        assert not acknowledged


def note_on(root: Path) -> None:
    """It says what happened, and the chain holds all the same."""
    audit(root).record("load", {"number": TIMES})
    rows = [
        json.loads(raw)
        for raw in audit(root).file.read_bytes().split(b"\n")
        if raw.startswith(b'{"at"') and raw.endswith(b"}")
    ]
    assert rows[-1]["number"] == audit(root).verify()
    assert rows[-1]["event"] == "load"


def add_keys(root: Path, trace: Trace) -> None:
    for number in range(TIMES):
        key_administration.add_key("add", root / "keys.json", f"key-{number}", False)
        trace.acknowledge()


def check_added_keys(root: Path, acknowledged: int) -> None:
    file = root / "keys.json"
    names = [key.name for key in ApiKeys.read(file).by_digest.values()] if file.exists() else []
    assert names == [f"key-{number}" for number in range(len(names))]
    assert acknowledged <= len(names)


# ---- the evidence of a run
def evidence(root: Path, score: float) -> None:
    (root / "run").mkdir(exist_ok=True)
    ladder = {"verdict": {"recommended": "a"}, "contenders": [{"name": "a", "score": score}]}
    unseal_run(root / "run")
    write_json(root / "run" / "ladder.json", ladder)
    write_json(root / "run" / "verdict.json", {"score": score})
    write_text(root / "run" / "report.html", f"<p>{score}</p>")
    seal_run(root / "run")


def check_results(root: Path, acknowledged: int) -> None:
    """One that was stopped while its evidence was written has none, which the message says."""
    try:
        score = read_ladder(root / "run")["contenders"][0]["score"]
        run = tree(root / "run")
    except ArtifactError:
        assert not acknowledged
        return
    assert json.loads(run["verdict.json"]) == {"score": score}
    assert run["report.html"] == f"<p>{score}</p>".encode()
    assert score == 2.0 or not acknowledged


def evidence_again(root: Path) -> None:
    evidence(root, 2.0)
    check_results(root, 1)


CASES: dict[str, Case] = {
    "a new artifact": make_stage_case(),
    "an artifact that is made again": make_stage_case(OLD),
    "an artifact that gets more files": make_extend_case({"more/c.txt": MORE["more/c.txt"]}, None, MORE),
    "an artifact whose files are made again": make_extend_case(NEW, {}, NEW),
    "checkpoints": Case(nothing, keep, check_latest_checkpoint, go_on),
    "lines that are appended": Case(nothing, append, lines, another_line),
    "a file that is replaced": Case(
        nothing, rewrite, check_rewritten_file, lambda root: write_text(root / "made" / "file.txt", "9")
    ),
    "the audit file": Case(nothing, note, check_audit_chain, note_on),
    "keys": Case(
        nothing,
        add_keys,
        check_added_keys,
        lambda root: key_administration.add_key("add", root / "keys.json", "last", False),
    ),
    "the evidence of a run": Case(
        lambda root: evidence(root, 1.0),
        lambda root, trace: done(trace, evidence, root, 2.0),
        check_results,
        evidence_again,
    ),
}


@pytest.fixture(params=["as this system does it", "without exchange"])
def renaming(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders change places at one moment, or by two renames."""
    if request.param == "without exchange":
        monkeypatch.setattr(manifests, "exchange", lambda one, other: False)


@pytest.fixture(autouse=True)
def ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whoever left something under a temporary name is no longer there; what `keys` notes lies elsewhere."""
    monkeypatch.setattr("loratory.artifacts.durable_files.is_process_alive", lambda pid: False)
    monkeypatch.chdir(tmp_path)


def lose_power(root: Path, case: Case, number: int, seed: str) -> int:
    """So many states after a crash, of which each is read, and gone on from; how many steps there were."""
    chance = random.Random(seed)
    (root / "live").mkdir(parents=True)
    case.before(root / "live")
    with tracing(root / "live") as trace:
        case.work(root / "live", trace)
    assert trace.marks
    for count in range(number):
        found = crash(trace, chance, count * (len(trace.steps) + 1) // number)
        found.put(root / "crashed")
        acknowledged = sum(mark <= found.done for mark in trace.marks)
        try:
            with mock.patch.object(os, "fsync"):  # nothing is lost this time
                case.read(root / "crashed", acknowledged)
                case.again(root / "crashed")
        except Exception as problem:
            raise AssertionError("\n".join(map(str, [f"state {count}", *trace.steps[: found.done]]))) from problem
    return len(trace.steps)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.usefixtures("renaming")
def test_power_is_lost_between_any_two_writes(tmp_path: Path, name: str) -> None:
    assert lose_power(tmp_path, CASES[name], 24, name) >= 5


STATES = 10_000


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", CASES)
@pytest.mark.usefixtures("renaming")
def test_power_is_lost_between_any_two_writes_10_000_times(tmp_path: Path, name: str, faults: FaultCounts) -> None:
    number = STATES // (2 * len(CASES))
    lose_power(tmp_path, CASES[name], number, f"{name} at length")
    faults.tries_of("power lost between any two writes").add(number)
