"""Ctrl-C and kill -9: what is finished is kept, the rest goes on, and the bytes are those of an undisturbed run."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from fault_recording import FaultCounts
from loratory.artifacts.manifests import verify_artifact
from loratory.experiment.events import catch_interrupts
from loratory.protocols.events import StepFinished

from . import killing
from .conftest import Workspace
from .run_fixtures import ProcessPool, make_spec, make_workspace, read_weights, run_command, wait_until
from .test_run_on_disk import reads

TRAINING = "{epochs: 12, threads: 1, checkpoint_seconds: 0}"  # a checkpoint after every step
LADDER = "  - tfidf\n  - lora\n"
# one contender, and 4 steps: a run of it takes little more than the start of a process
SHORT = make_spec("  - lora\n").replace(
    "{epochs: 2, threads: 1}", "{epochs: 2, threads: 1, checkpoint_seconds: 0, batch_tokens: 512}"
)
LONGER = SHORT.replace("epochs: 2", "epochs: 24")
KILLS = int(os.environ.get("LORATORY_TEST_KILLS", "300"))  # in the middle of a fit, of the slow test


def long_spec() -> str:
    return make_spec(LADDER).replace("{epochs: 2, threads: 1}", TRAINING)


@pytest.fixture(scope="module")
def seconds(base: Path, tmp_path_factory: pytest.TempPathFactory, process_pool: ProcessPool) -> float:
    """How long an undisturbed run takes here and now."""
    folder = make_workspace(tmp_path_factory.mktemp("timed") / "w", base, long_spec())
    started = time.monotonic()
    assert process_pool.run(folder, "train", "spec.yaml").code == 0
    return time.monotonic() - started


@pytest.fixture(scope="module")
def undisturbed(base: Path, tmp_path_factory: pytest.TempPathFactory, process_pool: ProcessPool) -> dict[str, bytes]:
    """The weights of a run that nothing happened to."""
    folder = make_workspace(tmp_path_factory.mktemp("undisturbed") / "w", base, long_spec())
    done = process_pool.run(folder, "train", "spec.yaml")
    assert done.code == 0, done.err
    made = read_weights(folder / "runs")
    assert any(name.endswith("adapter_model.safetensors") for name in made)
    return made


@dataclass(frozen=True)
class Small:
    """A short run that nothing happened to: how long it takes here and now, and its weights."""

    seconds: float
    weights: dict[str, bytes]


@pytest.fixture(scope="module")
def small(base: Path, tmp_path_factory: pytest.TempPathFactory, process_pool: ProcessPool) -> Small:
    folder = make_workspace(tmp_path_factory.mktemp("small") / "w", base, SHORT)
    started = time.monotonic()
    done = process_pool.run(folder, "train", "spec.yaml")
    assert done.code == 0, done.err
    return Small(time.monotonic() - started, read_weights(folder / "runs"))


@pytest.fixture(scope="module")
def longer(base: Path, tmp_path_factory: pytest.TempPathFactory, process_pool: ProcessPool) -> dict[str, bytes]:
    folder = make_workspace(tmp_path_factory.mktemp("longer") / "w", base, LONGER)
    assert process_pool.run(folder, "train", "spec.yaml").code == 0
    return read_weights(folder / "runs")


def checkpoints(folder: Path) -> Path:
    return folder / "runs/tiny/contenders/lora/.seed-1.checkpoints"


def finish(folder: Path, process_pool: ProcessPool, undisturbed: dict[str, bytes]) -> str:
    """Run the same command again: it ends well, with the same bytes and nothing left behind; what it said."""
    done = process_pool.run(folder, "train", "spec.yaml")
    assert done.code == 0, done.err
    assert read_weights(folder / "runs") == undisturbed
    assert list((folder / "runs").rglob(".*")) == []
    return done.read_stderr()


def test_control_c_while_a_contender_trains(
    workspace: Workspace, process_pool: ProcessPool, undisturbed: dict[str, bytes]
) -> None:
    folder = workspace(long_spec())
    pid = process_pool.start(folder, "train", "spec.yaml")
    wait_until(lambda: (checkpoints(folder) / "b" / "manifest.json").exists())
    os.kill(pid, signal.SIGINT)
    done = process_pool.wait()
    assert done.code == 130, done.err
    assert "stopping at the next safe point" in done.read_stderr()
    assert "stopped at step" in done.read_stderr()
    assert "run the same command again to resume" in done.read_stderr()
    kept = folder / "runs/tiny/contenders/tfidf/seed-1/linear.safetensors"
    stamp = kept.stat().st_mtime_ns
    assert not (folder / "runs/tiny/contenders/lora/seed-1").exists()
    said = finish(folder, process_pool, undisturbed)
    assert "seed 1: already fitted, reused" in said
    assert kept.stat().st_mtime_ns == stamp


def test_the_fit_goes_on_from_its_checkpoint_instead_of_the_beginning(
    workspace: Workspace, process_pool: ProcessPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from loratory.experiment.run_paths import RunPaths
    from loratory.experiment.spec_loading import load_spec
    from loratory.experiment.train import train_contenders

    from .run_fixtures import RecordingListener

    folder = workspace(long_spec())
    pid = process_pool.start(folder, "train", "spec.yaml")
    wait_until(lambda: (checkpoints(folder) / "b" / "manifest.json").exists())
    os.kill(pid, signal.SIGKILL)
    assert process_pool.wait().code == -signal.SIGKILL
    heard = RecordingListener()
    monkeypatch.chdir(folder)
    train_contenders(load_spec("spec.yaml"), RunPaths(folder / "runs/tiny"), (), heard)
    steps = [event.step for event in heard.events if isinstance(event, StepFinished) and event.contender == "lora"]
    assert steps[0] >= 2
    assert steps == list(range(steps[0], steps[-1] + 1))


def test_checkpoints_that_a_kill_left_behind_a_finished_fit_are_cleared(
    workspace: Workspace, process_pool: ProcessPool, undisturbed: dict[str, bytes]
) -> None:
    folder = workspace(long_spec())
    assert process_pool.run(folder, "train", "spec.yaml").code == 0
    (checkpoints(folder) / "a").mkdir(parents=True)
    finish(folder, process_pool, undisturbed)


def kill_at_random(folder: Path, process_pool: ProcessPool, delays: list[float]) -> int:
    """Start the same command again and again, and kill it; how often it was still at work."""
    kills = 0
    for delay in delays:
        pid = process_pool.start(folder, "train", "spec.yaml")
        time.sleep(delay)
        os.kill(pid, signal.SIGKILL)
        kills += process_pool.wait().code == -signal.SIGKILL
    return kills


def test_kill_9_at_random_moments(
    workspace: Workspace, process_pool: ProcessPool, undisturbed: dict[str, bytes], seconds: float
) -> None:
    chance, kills = random.Random(6), 0
    for number in range(4):
        folder = workspace(long_spec(), f"w{number}")
        kills += kill_at_random(folder, process_pool, [chance.uniform(0.1, 0.9) * seconds for _ in range(3)])
        finish(folder, process_pool, undisturbed)
    assert kills >= 1, "never was it still at work"  # how often depends on the machine; the slow test kills 300 times


@pytest.mark.slow
def test_kill_9_at_many_more_moments(
    workspace: Workspace, process_pool: ProcessPool, small: Small, longer: dict[str, bytes], faults: FaultCounts
) -> None:
    """Each in the middle of a fit, behind a checkpoint that it had announced."""
    tries = faults.tries_of("kill -9 at a random moment while something is trained")
    chance, number = random.Random(7), 0
    while tries.row["tried"] < KILLS:
        folder, number = workspace(LONGER, f"w{number}"), number + 1
        for _ in range(chance.randint(1, 4)):
            before = newest(folder)
            pid, started = process_pool.start(folder, "train", "spec.yaml"), time.time_ns()
            wait_until(partial(is_at_work, folder, started))
            time.sleep(chance.uniform(0.0, 0.3) * small.seconds)
            os.kill(pid, signal.SIGKILL)
            if process_pool.wait().code != -signal.SIGKILL or (checkpoints(folder).with_name("seed-1")).exists():
                break
            tries.add(failures=newest(folder) <= before)
        finish(folder, process_pool, longer)
        shutil.rmtree(folder)
        assert number < 20 * KILLS, "hardly ever was it still at work"
    assert tries.row["failures"] == 0


def is_at_work(folder: Path, since: int) -> bool:
    """Whether a checkpoint was announced since then (in nanoseconds), or the fit is there."""
    made = [checkpoints(folder) / slot / "manifest.json" for slot in "ab"]
    with suppress(FileNotFoundError):
        if any(file.exists() and file.stat().st_mtime_ns > since for file in made):
            return True
    return checkpoints(folder).with_name("seed-1").exists()


# ---- at every step of the save path
def killed_at(
    number: int, folder: Path, process_pool: ProcessPool, monkeypatch: pytest.MonkeyPatch
) -> tuple[int, list[str]]:
    """The code that `train` ends with when it is killed before its n-th call that changes a file, and its notes."""
    note = folder.with_name(f"{folder.name}.note")
    with monkeypatch.context() as patched:
        patched.setenv(killing.AT, str(number))
        patched.setenv(killing.NOTE, str(note))
        code = process_pool.run(folder, "train", "spec.yaml").code
    return code, note.read_text(encoding="utf-8").splitlines()


def newest(folder: Path) -> int:
    """The step of the newest valid checkpoint; 0 where there is none. One that says it is whole is valid."""
    steps = [0]
    for slot in checkpoints(folder).glob("[ab]"):
        verify_artifact(slot)
        steps.append(json.loads((slot / "facts.json").read_text(encoding="utf-8"))["step"])
    return max(steps)


def lost_nothing(
    number: int, folder: Path, process_pool: ProcessPool, monkeypatch: pytest.MonkeyPatch, small: Small
) -> bool:
    """Whether a kill at this call leaves every announced checkpoint, and the same command ends with the same bytes."""
    code, notes = killed_at(number, folder, process_pool, monkeypatch)
    announced = [int(line.split()[1]) for line in notes if line.startswith("announced")]
    done = (checkpoints(folder).with_name("seed-1") / "manifest.json").exists()
    whole = done or newest(folder) >= max(announced, default=0)
    finish(folder, process_pool, small.weights)
    shutil.rmtree(folder)
    return code == -signal.SIGKILL and whole


def test_kill_9_at_some_steps_of_the_save_path(
    workspace: Workspace, process_pool: ProcessPool, small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, notes = killed_at(0, workspace(SHORT), process_pool, monkeypatch)
    calls = [line for line in notes if line.startswith("call")]
    assert set(calls) >= {f"call {what}" for what in ("open", "fsync", "os.mkdir", "os.rename", "os.remove")}
    assert len([line for line in notes if line.startswith("announced")]) >= 4
    for number in random.Random(8).sample(range(1, len(calls) + 1), 4):
        assert lost_nothing(number, workspace(SHORT, f"w{number}"), process_pool, monkeypatch, small)


@pytest.mark.slow
def test_kill_9_at_every_step_of_the_save_path(
    workspace: Workspace, process_pool: ProcessPool, small: Small, monkeypatch: pytest.MonkeyPatch, faults: FaultCounts
) -> None:
    tries = faults.tries_of("kill -9 at each open, fsync, rename, removal and new folder of a fit with checkpoints")
    _, notes = killed_at(0, workspace(SHORT), process_pool, monkeypatch)
    for number in range(1, len([line for line in notes if line.startswith("call")]) + 1):
        folder = workspace(SHORT, f"w{number}")
        tries.add(failures=not lost_nothing(number, folder, process_pool, monkeypatch, small))
    assert tries.row["failures"] == 0


def test_kill_9_while_the_test_set_is_answered_leaves_the_fits(
    workspace: Workspace, process_pool: ProcessPool, fresh_ledger: Path
) -> None:
    folder = workspace(make_spec(LADDER))
    pid = process_pool.start(folder, "run", "spec.yaml")
    wait_until(lambda: fresh_ledger.exists() and reads() == 1)
    os.kill(pid, signal.SIGKILL)
    process_pool.wait()
    before = read_weights(folder / "runs/tiny/contenders/lora/seed-1/adapter")
    done = process_pool.run(folder, "run", "spec.yaml")
    assert done.code == 0, done.err
    assert done.err.count("already fitted, reused") == 3
    assert read_weights(folder / "runs/tiny/contenders/lora/seed-1/adapter") == before
    assert reads() == 1, "what was begun and goes on is one look"


def test_control_c_between_two_measurements_ends_the_run(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    from loratory.experiment.steps import measure

    folder = workspace(make_spec("  - rules\n  - tfidf\n"))
    real, measured = measure.measure_contender, []

    def measure_once(bench: object, one: object) -> None:
        measured.append(one)
        real(bench, one)  # type: ignore[arg-type]
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr("loratory.experiment.steps.measure.measure_contender", measure_once)
        done = run_command(folder, "run", "spec.yaml")
    assert done.code == 130
    assert len(measured) == 1
    assert "stopped" in done.read_stderr()
    assert not (folder / "runs/tiny/ladder.json").exists()
    assert run_command(folder, "run", "spec.yaml").code == 0


def test_a_second_control_c_stops_at_once() -> None:
    before = signal.getsignal(signal.SIGINT)  # not Python's own where the tests run in a shell's background
    with catch_interrupts() as stopping:
        signal.raise_signal(signal.SIGINT)
        assert stopping()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_the_installed_command_ends_with_130(workspace: Workspace) -> None:
    folder = workspace(make_spec("  - lora\n").replace("{epochs: 2, threads: 1}", "{epochs: 1000, threads: 1}"))
    command = [sys.executable, "-m", "loratory", "train", "spec.yaml"]
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    wait_until(lambda: (folder / "runs/tiny/environment.json").exists())
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in err
    assert b"run the same command again to resume" in err
