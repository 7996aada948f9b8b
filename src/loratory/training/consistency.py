"""Consistency training: a perturbed twin of each example learns its label, and their answers are drawn together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from loratory.data.twins import twin
from loratory.errors import SpecError
from loratory.perturbations.changes import Perturbation
from loratory.predictors.forms import FORMS
from loratory.protocols import Example, Tokens
from loratory.specs.training import ConsistencySpec
from loratory.training.seeds import generator, seed_of

Outputs = Callable[[Sequence[Tokens]], Tensor]  # rows to logits float[B, L], with gradients


def symmetric_kl(one: Tensor, other: Tensor) -> Tensor:
    """Half of KL(p || q) + KL(q || p), float[B], of two logits float[B, L] (Liang et al. 2021, eq. 2)."""
    p, q = one.float().log_softmax(-1), other.float().log_softmax(-1)
    return ((p.exp() - q.exp()) * (p - q)).sum(-1) / 2


def consistent(plain: Tensor, twins: Tensor, losses: Callable[[Tensor], Tensor], weight: float) -> Tensor:
    """R-Drop's loss float[B] (Liang et al. 2021, eq. 4), with the twin in the place of its second dropout mask.

    Unsupervised data augmentation (Xie et al. 2020) has the perturbed input there, and no gradient through the plain
    one; here both learn, and both have the label.
    """
    return losses(plain) + losses(twins) + weight * symmetric_kl(plain, twins)


def windowed() -> SpecError:
    """Of twins that are read in windows."""
    return SpecError(
        "consistency compares a text with its twin, and windows of the two are not of the same words",
        where="training: long",
        remedy="set training: long: ends, or take consistency out",
    )


@dataclass
class Twins:
    """Perturbed twins of the examples, drawn anew in each epoch: functions of (seed, epoch, index)."""

    task: Any
    form: str
    tokenizer: Any
    examples: Sequence[Example]
    max_tokens: int
    long: str
    spec: ConsistencySpec
    seed: int
    epoch: int = 0
    perturbations: Sequence[Perturbation] = field(init=False)

    def __post_init__(self) -> None:
        self.perturbations = list(self.spec.perturbations().values())

    def rows(self, indices: Sequence[int]) -> list[Tokens]:
        """The token ids of each example's twin in this epoch."""
        inputs = [self.of(index).input for index in indices]
        parts = FORMS[self.form].rows(self.task, self.tokenizer, inputs, self.max_tokens, self.long)
        return [ids for ((ids, _),) in parts]

    def of(self, index: int) -> Example:
        """An example's twin: of the first perturbation, in an order drawn, that finds something to change."""
        example, place = self.examples[index], (self.seed, "consistency", self.epoch, index)
        for number in torch.randperm(len(self.perturbations), generator=generator(*place)).tolist():
            if made := twin(self.task, example, self.perturbations[number], seed_of(*place)):
                return made
        return example
