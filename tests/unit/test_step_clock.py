"""The time that a fit still takes: robust against steps that were held up, and with the pauses between epochs."""

from __future__ import annotations

import pytest

from loratory.display.step_clock import StepClock, format_duration


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> StepClock:
    monkeypatch.setattr("time.monotonic", lambda: NOW[0])
    NOW[0] = 100.0
    return StepClock()


NOW = [0.0]


def record(clock: StepClock, step: int, seconds: float, epoch: int = 1) -> None:
    NOW[0] += seconds
    clock.record_step(step, epoch)


def test_nothing_is_said_before_two_steps(clock: StepClock) -> None:
    record(clock, 41, 9.0)
    assert clock.estimate_seconds_left(100) is None
    assert clock.format_time_left(100) == ""


def test_one_slow_step_does_not_count(clock: StepClock) -> None:
    for step in range(1, 12):
        record(clock, step, 500.0 if step == 6 else 2.0)
    assert clock.estimate_seconds_left(21) == pytest.approx(20.0)
    assert clock.format_time_left(21) == ", about 20 s left"


def test_a_fit_that_is_resumed_in_the_middle(clock: StepClock) -> None:
    for step in (500, 501, 502):
        record(clock, step, 3.0)
    assert clock.estimate_seconds_left(512) == pytest.approx(30.0)


def test_pauses_for_validation_are_counted_for_the_epochs_to_come(clock: StepClock) -> None:
    for step in range(1, 31):  # three epochs of ten steps; 5 s of validation and 1 s of a step between them
        record(clock, step, 6.0 if step in (11, 21) else 1.0, epoch=(step - 1) // 10 + 1)
    assert clock.estimate_seconds_left(50) == pytest.approx(20 * 1.0 + 2 * 6.0)


def test_only_recent_steps_count(clock: StepClock) -> None:
    for step in range(1, 200):
        record(clock, step, 9.0 if step < 100 else 1.0)
    assert clock.estimate_seconds_left(209) == pytest.approx(10.0)


@pytest.mark.parametrize(("seconds", "text"), [(4.4, "4 s"), (99.0, "99 s"), (130, "2 min"), (7000, "1 h 57 min")])
def test_durations(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
