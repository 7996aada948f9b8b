"""What defaults mean: epochs by the steps in one, layers by the task and the depth."""

from __future__ import annotations

import pytest

from loratory.protocols import Task
from loratory.regimes.lora import Lora
from loratory.specs.training import AUTO_EPOCHS, AUTO_STEPS, MAX_AUTO_EPOCHS, TrainingSpec
from loratory.tasks.classify import Classify
from loratory.tasks.tag import Tag

LABELS, SPANS = Classify(labels=("a", "b")), Tag(labels=("A",))


@pytest.mark.parametrize(
    ("steps", "epochs"),
    [
        (1, MAX_AUTO_EPOCHS),
        (5, AUTO_STEPS // 5),
        (AUTO_STEPS // AUTO_EPOCHS, AUTO_EPOCHS),
        (AUTO_STEPS // AUTO_EPOCHS - 1, AUTO_EPOCHS + 1),
        (AUTO_STEPS, AUTO_EPOCHS),
        (10_000, AUTO_EPOCHS),
    ],
)
def test_auto_epochs_are_enough_steps_and_no_more(steps: int, epochs: int) -> None:
    assert TrainingSpec().count_epochs(steps) == epochs
    assert TrainingSpec().count_epochs(steps, least=8) == max(epochs, 8)
    assert TrainingSpec(epochs=3).count_epochs(steps) == 3


@pytest.mark.parametrize(
    ("layers", "task", "depth", "frozen"),
    [
        ("auto", LABELS, 12, 6),
        ("auto", LABELS, 7, 3),
        ("auto", LABELS, 3, 0),
        ("auto", SPANS, 12, 0),
        ("top-half", SPANS, 12, 6),
        ("all", LABELS, 12, 0),
        ("top-2", LABELS, 12, 10),
        ([3, 5], LABELS, 12, 3),
    ],
)
def test_layers_below_the_adapters(layers: str | list[int], task: Task, depth: int, frozen: int) -> None:
    assert Lora(layers=layers).count_frozen_layers(task, depth) == frozen


@pytest.mark.parametrize("layers", ["half", "top-0", "bottom-2", "top-", "top-halves"])
def test_layers_that_mean_nothing(layers: str) -> None:
    with pytest.raises(ValueError, match="top-half"):
        Lora(layers=layers)
