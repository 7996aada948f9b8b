"""What a person sees while a fit runs, without a terminal."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any, cast

import pytest

from loratory.display.progress_screen import ProgressScreen
from loratory.protocols.events import FitStarted, Message, StepFinished


class Clock:
    """time.monotonic, by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("time.monotonic", made)
    return made


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[[], list[str]]:
    held: list[str] = []

    def lines() -> list[str]:
        held.extend(capsys.readouterr().err.splitlines())
        return held

    return lines


def step(screen: ProgressScreen, number: int, of: int = 100) -> None:
    screen(StepFinished(number, of, 0.5, 1))


def test_the_remaining_time_of_a_fit_that_goes_on(clock: Clock, said: Callable[[], list[str]]) -> None:
    with ProgressScreen() as screen:
        screen(FitStarted("lora", 1, "lora"))
        clock.now += 30  # states are computed, a checkpoint is read
        step(screen, 51)
        assert said()[-1] == "  lora seed 1  epoch 1  loss 0.500  step 51 of 100"
        for number in range(52, 62):
            clock.now += 3
            step(screen, number)
    assert said()[-1].endswith("step 58 of 100, about 2 min left")
    assert not any("about 0 s left" in line for line in said())


def test_lines_come_at_most_every_twenty_seconds(clock: Clock, said: Callable[[], list[str]]) -> None:
    with ProgressScreen() as screen:
        screen(FitStarted("lora", 1, "lora"))
        for number in range(1, 101):
            clock.now += 1
            step(screen, number)
    assert len(said()) == 4


def test_unknown_events_are_passed_over(said: Callable[[], list[str]]) -> None:
    with ProgressScreen() as screen:
        screen(cast(Any, object()))
        screen(Message("[bold]not markup[/bold]"))
    assert said() == ["  [bold]not markup[/bold]"]


def test_half_a_surrogate_pair_and_other_letters_reach_stdout_as_json() -> None:
    code = (
        "from loratory.cli import _configure_process; from loratory.cli.output import print_json\n"
        "_configure_process(); print_json({'é': '\\udc80日'})"
    )
    environment = {"PYTHONIOENCODING": "ascii", "PATH": ""}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, check=True, timeout=60)
    assert json.loads(done.stdout.decode("utf-8")) == {"é": "\udc80日"}
