"""Predictors in a process of their own: the same answers, deadlines kept, and a death that no client notices."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import pytest

import loratory
from loratory.artifacts.manifests import open_artifact
from loratory.errors import DeadlineExceeded
from loratory.protocols import Prediction
from loratory.serving.engine import predictor_process
from loratory.serving.engine.batch_worker import EngineLimits
from loratory.serving.engine.inference_engine import Engine
from loratory.serving.engine.predictor_process import PredictorProcess, PredictorSource, ProcessUnavailable
from loratory.serving.engine.predictor_worker import PredictorHost, read_frame
from loratory.serving.engine.thread_pool import ThreadPoolBackend
from loratory.serving.launcher import load_service
from loratory.specs.serve import ServedTaskSpec
from ticket_rows import run_tickets

TEXTS = ["my invoice is wrong", "the parcel never arrived", "", "naïve ☃ \U0001f600", "x" * 5000]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> loratory.Run:
    return run_tickets(tmp_path_factory.mktemp("process") / "run", 200)


@pytest.fixture
def process() -> Iterator[PredictorProcess]:
    made = PredictorProcess()
    yield made
    made.close()


def find_source(run: loratory.Run, contender: str = "tfidf") -> PredictorSource:
    folder = run.folder / "contenders" / contender / "seed-1"
    return PredictorSource(folder, open_artifact(folder).manifest_digest)


def make_inputs() -> list[dict[str, str]]:
    return [{"text": text} for text in TEXTS]


@pytest.mark.parametrize("contender", ["rules", "tfidf"])
def test_answers_are_those_of_this_process_to_the_last_bit(
    run: loratory.Run, process: PredictorProcess, contender: str
) -> None:
    service = load_service("tickets", ServedTaskSpec(path=run.folder, contender=contender), None)  # type: ignore[arg-type]
    (stage,) = service.stages
    assert stage.source == find_source(run, contender)
    inputs = make_inputs()
    made, seconds = process.predict(stage.source, inputs, None)
    assert made == stage.predictor.predict(inputs, lambda *_: [])
    assert 0 < seconds < 60


def test_the_child_loads_no_torch(run: loratory.Run, process: PredictorProcess) -> None:
    process.predict(find_source(run), make_inputs(), None)
    maps = Path(f"/proc/{process.pid}/maps")
    if maps.exists():
        assert "libtorch" not in maps.read_text()


def test_the_engine_answers_through_the_process_and_without_it(
    run: loratory.Run, process: PredictorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    (stage,) = load_service("tickets", ServedTaskSpec(path=run.folder, contender="tfidf"), None).stages  # type: ignore[arg-type]
    inputs, engine = make_inputs(), Engine(EngineLimits(), process=process)
    expected = stage.predictor.predict(inputs, lambda *_: [])
    monkeypatch.setattr(type(stage.predictor), "predict", lambda *_: pytest.fail("computed in this process"))
    assert asyncio.run(engine.predict(stage.predictor, inputs, None, stage.source)) == expected
    monkeypatch.undo()
    monkeypatch.setattr(predictor_process, "WORKER_MODULE", "loratory.no_such_module")
    broken = Engine(EngineLimits(), process=PredictorProcess())
    assert asyncio.run(broken.predict(stage.predictor, inputs, None, stage.source)) == expected
    broken.close()


def test_a_child_that_dies_is_started_again(
    run: loratory.Run, process: PredictorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictor_process, "RESTART_SECONDS", 0.0)
    source, inputs = find_source(run), make_inputs()
    before, _ = process.predict(source, inputs, None)
    pid = process.pid
    assert pid is not None
    with ThreadPoolExecutor(1) as pool:
        os.kill(pid, signal.SIGSTOP)  # the next call is waiting when it dies
        waiting = pool.submit(process.predict, source, inputs, time.monotonic() + 60)
        time.sleep(0.2)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(ProcessUnavailable):
            waiting.result(60)
    assert process.predict(source, inputs, None)[0] == before
    assert process.starts == 2
    assert process.pid != pid


def test_deadlines_are_kept_while_the_child_is_busy(run: loratory.Run, process: PredictorProcess) -> None:
    source, inputs = find_source(run), make_inputs()
    process.predict(source, inputs, None)
    with pytest.raises(DeadlineExceeded):
        process.predict(source, inputs, time.monotonic() - 1)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGSTOP)
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        process.predict(source, inputs, time.monotonic() + 0.3)
    assert time.monotonic() - started < 30
    os.kill(process.pid, signal.SIGCONT)
    assert process.predict(source, inputs, None)[0]  # what came too late is nobody's answer


def test_files_that_are_not_those_that_were_served_are_refused(run: loratory.Run, process: PredictorProcess) -> None:
    changed = PredictorSource(find_source(run).folder, "0" * 64)
    with pytest.raises(ProcessUnavailable, match="another artifact"):
        process.predict(changed, make_inputs(), None)


PARENT = """
import sys, time
from io import BytesIO
from pathlib import Path
from loratory.serving.engine.predictor_process import PredictorProcess, PredictorSource
process = PredictorProcess()
process.predict(PredictorSource(Path(sys.argv[1]), sys.argv[2]), [{"text": "a"}], None)
print(process.pid, flush=True)
time.sleep(600)
"""


def test_the_child_ends_when_its_server_is_killed(run: loratory.Run) -> None:
    source = find_source(run)
    command = [sys.executable, "-c", PARENT, str(source.folder), source.release]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
    deadline = time.monotonic() + 30
    while is_running(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(child)


def is_running(pid: int) -> bool:
    """Whether it is there, and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_full_pipe_holds_up_neither_callers_nor_the_end(run: loratory.Run, process: PredictorProcess) -> None:
    source = find_source(run)
    process.predict(source, make_inputs(), None)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGSTOP)
    large = [{"text": "x" * 200_000}]  # a pipe holds 64 KiB

    def ask(_: int) -> None:
        with pytest.raises(DeadlineExceeded):
            process.predict(source, large, time.monotonic() + 0.2)

    with ThreadPoolExecutor(4) as pool:
        for waiting in [pool.submit(ask, number) for number in range(4)]:
            waiting.result(30)
    ending = ThreadPoolExecutor(1)
    ending.submit(process.close).result(30)
    assert process.pid is None


def test_a_child_that_hangs_is_ended_and_started_again(
    run: loratory.Run, process: PredictorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, inputs = find_source(run), make_inputs()
    process.predict(source, inputs, None)
    monkeypatch.setattr(predictor_process, "RESTART_SECONDS", 0.0)
    monkeypatch.setattr(predictor_process, "HANG_SECONDS", 0.3)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGSTOP)
    with pytest.raises(ProcessUnavailable):
        process.predict(source, inputs, None)
    monkeypatch.setattr(predictor_process, "HANG_SECONDS", 60.0)
    assert process.predict(source, inputs, None)[0]
    assert process.starts == 2


def test_modules_of_the_working_directory_are_not_executed(
    run: loratory.Run, process: PredictorProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("numpy", "regex", "filelock"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('code of the working directory')")
    source = PredictorSource(find_source(run).folder.resolve(), find_source(run).release)
    monkeypatch.chdir(tmp_path)
    assert process.predict(source, make_inputs(), None)[0]


def test_the_ends_of_a_terminal_and_of_systemd_are_the_servers(run: loratory.Run, process: PredictorProcess) -> None:
    source, inputs = find_source(run), make_inputs()
    before, _ = process.predict(source, inputs, None)
    assert process.pid is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(process.pid, number)
    time.sleep(0.2)
    assert process.predict(source, inputs, None)[0] == before
    assert process.starts == 1


class Odd:
    """What a plug-in may be: its answers are no JSON, or its error holds a text."""

    def predict(self, inputs: list[dict[str, str]], run: object) -> list[Prediction]:
        if inputs[0]["text"] == "fail":
            raise ValueError("secret text")
        return [Prediction(object())]


@pytest.mark.parametrize(("text", "told"), [("fail", "ValueError"), ("", "its answer is no JSON (TypeError)")])
def test_errors_of_predictors_are_answers_and_hold_no_text(text: str, told: str) -> None:
    host = PredictorHost()
    host._predictors["r"] = Odd()  # type: ignore[assignment]
    asked = {"number": 7, "folder": "f", "release": "r", "inputs": [{"text": text}], "deadline": None}
    assert read_frame(BytesIO(host.answer_frame(asked))) == {"number": 7, "error": told}


def test_the_log_is_not_flooded(caplog: pytest.LogCaptureFixture) -> None:
    pool = ThreadPoolBackend(1)
    for _ in range(100):
        pool._warn_of_process("it has just ended")
    assert len(caplog.records) == 1
    pool.close()
