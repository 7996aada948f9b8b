"""Forms: how a task is put to an encoder. A new kind of head output is a new Form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from loratory.errors import Unfit
from loratory.predictors.heads import make_head
from loratory.protocols import Example, Input, Labelled, Offsets, Prediction, Task, Tokens

Row = tuple[Tokens, Offsets]


class Form(Protocol):
    """Tensors on one side, answers on the other."""

    @property
    def capability(self) -> Any: ...

    def head(self, kind: str, task: Any, trunk: Any) -> nn.Module:
        """A fresh head: (states float[B, T, D], mask int[B, T]) -> outputs."""

    def target(self, task: Any, example: Example, row: Row) -> Tensor:
        """What the outputs of this row should say."""

    def read(
        self, task: Any, inputs: Sequence[Input], rows: Sequence[Row], outputs: Sequence[Tensor]
    ) -> list[Prediction]:
        """Answers from outputs."""


class LabelForm:
    """One class for a text: outputs are logits float[B, L]."""

    capability: Any = Labelled

    def head(self, kind: str, task: Any, trunk: Any) -> nn.Module:
        return make_head(kind, trunk, task.labels)

    def target(self, task: Any, example: Example, row: Row) -> Tensor:
        return torch.tensor(task.labels.index(task.label_of(example.answer)))

    def read(
        self, task: Any, inputs: Sequence[Input], rows: Sequence[Row], outputs: Sequence[Tensor]
    ) -> list[Prediction]:
        if not inputs:
            return []
        odds = torch.stack(list(outputs)).double().softmax(-1).tolist()
        return [task.from_odds(i, dict(zip(task.labels, o, strict=True))) for i, o in zip(inputs, odds, strict=True)]


FORMS: Mapping[str, Form] = {"labels": LabelForm()}


def form_of(task: Task) -> str:
    """The name of the first form whose capability the task has; raises Unfit."""
    for name, form in FORMS.items():
        if isinstance(task, form.capability):
            return name
    raise Unfit(f"no form puts a {task.kind} task to an encoder", allowed=", ".join(FORMS))
