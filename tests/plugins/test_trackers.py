"""A stranger's tracker, through the command line; and what a bad one does not do to a run."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel
from typer.testing import CliRunner, Result

from loratory.cli import app
from loratory.errors import SpecError
from loratory.experiment import trackers
from loratory.protocols.events import Event, Message, RunStarted, StageStarted
from loratory.specs.track import TrackSpec
from loratory.tracking.contract_checks import verify_tracker

from .example_plugins import score_file

ROWS = [("my card broke", "card"), ("no cash came", "cash")] * 30
SPEC = "name: toy\ndata: {{path: data.csv, near_duplicates: 1.0, suspects: false}}\nladder: [tfidf]\n{track}"
RUN = RunStarted("toy", Path(), {}, {})
Run = Callable[[str], Result]


@pytest.fixture
def run(plugins: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`loratory run` of the toy with a `track:` section."""
    lines = [f"{text} {number},{label}" for number, (text, label) in enumerate(ROWS)]
    (tmp_path / "data.csv").write_text("text,label\n" + "\n".join(lines), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("loratory.experiment.results.render_report", lambda *_: "<html></html>")

    def invoke(track: str) -> Result:
        (tmp_path / "spec.yaml").write_text(SPEC.format(track=track), encoding="utf-8")
        return CliRunner().invoke(app, ["run", "spec.yaml"])

    return invoke


def read_events(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_two_trackers_follow_a_run(run: Run, tmp_path: Path) -> None:
    done = run("track:\n  - {to: score-file, path: scores.txt, score: macro_f1}\n  - jsonl\n")
    assert done.exit_code == 0, done.output
    lines = (tmp_path / "runs/toy/scores.txt").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "run toy"
    assert [line.split()[0] for line in lines[1:]] == ["majority", "tfidf", "recommended"]
    assert float(lines[2].split()[2]) == 1.0
    events = read_events(tmp_path / "runs/toy/events.jsonl")
    kinds = [event["event"] for event in events]
    assert kinds[0] == "RunStarted"
    assert kinds[-1] == "RunConcluded"
    assert {"FitStarted", "FitFinished", "FitMeasured", "ArtifactWritten", "ContenderStarted"} <= set(kinds)
    finished = next(event for event in events if event["event"] == "FitFinished" and event["contender"] == "tfidf")
    assert finished["metrics"]["accuracy"] == 1.0
    assert len(finished["artifact"]["digest"]) == 64
    assert events[-1]["ladder"]["verdict"]["recommended"] == "tfidf"
    assert events[0]["spec"]["track"][0] == {"to": "score-file", "path": "scores.txt", "score": "macro_f1"}


def test_a_resumed_run_goes_on_in_the_same_file(run: Run, tmp_path: Path) -> None:
    run("track: jsonl\n")
    first = read_events(tmp_path / "runs/toy/events.jsonl")
    with (tmp_path / "runs/toy/events.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"torn')
    assert run("track: {to: jsonl, steps: 0}\n").exit_code == 0
    lines = (tmp_path / "runs/toy/events.jsonl").read_text(encoding="utf-8").splitlines()
    assert lines[len(first)] == '{"torn'
    again = [json.loads(line)["event"] for line in lines[len(first) + 1 :]]
    assert again.count("FitReused") == 2
    assert "FitStarted" not in again


def test_a_tracker_that_raises_is_one_warning_and_the_run_goes_on(run: Run) -> None:
    done = run("track: {to: score-file, path: scores.txt, score: nothing_such}\n")
    assert done.exit_code == 0, done.output
    assert (
        done.stderr.count("warning: the tracker score-file failed and gets no more events: KeyError: 'nothing_such'")
        == 1
    )


@pytest.mark.parametrize(
    ("track", "text"),
    [
        ("track: score-fil\n", "did you mean 'score-file'"),
        ("track: score-file\n", "'path' is missing"),
        ("track: {to: jsonl, pth: x}\n", "did you mean 'path'"),
        ("track: [{path: x}]\n", "is no tracker"),
        ("track: {to: jsonl, steps: -1}\n", "is too small"),
    ],
)
def test_a_mistake_is_told_before_anything_is_read(run: Run, track: str, text: str) -> None:
    done = run(track)
    assert isinstance(done.exception, SpecError)
    assert text in str(done.exception)
    assert "spec.yaml:4" in str(done.exception)


# ---- one thread
class NoOptions(BaseModel):
    pass


class HangingTracker:
    """Never comes back."""

    summary: ClassVar[str] = ""
    Options: ClassVar[type[BaseModel]] = NoOptions
    released = threading.Event()

    def open(self, run: RunStarted, options: NoOptions) -> Any:
        self.released.wait(30)


def load_hanging(group: str, name: str) -> type[Any]:
    return HangingTracker


def test_a_tracker_that_hangs_does_not_hold_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trackers, "load_named", load_hanging)
    monkeypatch.setattr(trackers, "MAX_WAITING_EVENTS", 5)
    heard: list[Event] = []
    thread = trackers.TrackerThread(TrackSpec("slow", NoOptions()), heard.append)
    thread(StageStarted("before the run"))
    thread(RUN)
    started = time.monotonic()
    for number in range(50):
        thread(Message(str(number)))
    thread.close(0.2)
    assert time.monotonic() - started < 5
    HangingTracker.released.set()
    assert heard == [Message("warning: the tracker slow is told no more: it is 5 events behind")]


def test_the_end_of_a_run_that_failed_reaches_the_trackers(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise SpecError("nothing works")

    monkeypatch.setattr("loratory.experiment.run.write_results", fail)
    assert run("track: jsonl\n").exit_code != 0
    assert read_events(tmp_path / "runs/toy/events.jsonl")[-1]["reason"] == "nothing works"


def test_it_keeps_what_every_tracker_promises(tmp_path: Path) -> None:
    verify_tracker(score_file.ScoreFileTracker(), tmp_path, {"path": "scores.txt"})
    assert (tmp_path / "scores.txt").read_text(encoding="utf-8") == "run toy\nlora 1 0.5000\nrecommended lora\n"


def test_the_example_passes_over_what_it_does_not_know(tmp_path: Path) -> None:
    options = score_file.ScoreFileOptions(path=str(tmp_path / "scores.txt"))
    session = score_file.ScoreFileTracker().open(RUN, options)
    session.on_event(StageStarted("x"))
    session.close()
    assert (tmp_path / "scores.txt").read_text(encoding="utf-8") == ""
