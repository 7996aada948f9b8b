"""A scorer: a reward for an answer to an example, reported beside the task's own scores."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from loratory.protocols.tasks import Task
from loratory.protocols.values import Example, Prediction


@runtime_checkable
class Scorer(Protocol):
    """A frozen pydantic model whose fields are its options in the YAML; named under `evidence: scorers:`."""

    def score(self, task: Task, example: Example, prediction: Prediction) -> float:
        """In [0, 1], higher is better; the same for the same answer. A prediction may be without an answer.

        `example.answer` is the expected one, `example.extras` what the spec's `data: extras:` names.
        """
