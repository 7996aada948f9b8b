"""Wordings: how a task is put to a causal model. One gives the prompt, what is to be written, and the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from loratory.errors import Unfit
from loratory.models.closing import written
from loratory.predictors.prompts import Prompt
from loratory.protocols import Example, Input, Labelled, Prediction, Task


class Wording(Protocol):
    """Texts on one side, answers on the other."""

    @property
    def capability(self) -> Any: ...

    def messages(self, task: Any, prompt: Prompt, input: Input) -> list[dict[str, str]]:
        """What the model is asked."""

    def target(self, task: Any, example: Example) -> str:
        """What it should write."""

    def choices(self, task: Any) -> Sequence[str]:
        """All that it may write, where that is a short list."""

    def read(self, task: Any, input: Input, odds: Sequence[float]) -> Prediction:
        """The answer from a probability for every choice."""


class LabelWording:
    """One label of a list, as JSON: the answers that the task's contract allows, written out."""

    capability: Any = Labelled

    def messages(self, task: Any, prompt: Prompt, input: Input) -> list[dict[str, str]]:
        lines = [f"- {label}: {task.describe(label)}" for label in task.labels]
        gaps = {"labels": "\n".join(lines), "names": ", ".join(task.labels), "schema": written(task.contract(input))}
        return prompt.filled(gaps, task.text(input))

    def target(self, task: Any, example: Example) -> str:
        return self._written(task, task.label_of(example.answer))

    def choices(self, task: Any) -> Sequence[str]:
        return [self._written(task, label) for label in task.labels]

    def _written(self, task: Any, label: str) -> str:
        return written(task.from_odds({}, {label: 1.0}).answer)

    def read(self, task: Any, input: Input, odds: Sequence[float]) -> Prediction:
        found: Prediction = task.from_odds(input, dict(zip(task.labels, odds, strict=True)))
        return found


WORDINGS: Mapping[str, Wording] = {"labels": LabelWording()}


def wording_of(task: Task) -> str:
    """The name of the first wording whose capability the task has; raises Unfit."""
    for name, wording in WORDINGS.items():
        if isinstance(task, wording.capability):
            return name
    raise Unfit(f"no wording puts a {task.kind} task to a causal model", allowed=", ".join(WORDINGS))
