"""Consistency training: a perturbed twin of each example learns its label, and their answers are drawn together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from loratory.data.quality.paired_texts import perturb_example
from loratory.errors import SpecError
from loratory.perturbations.changes import Perturbation
from loratory.predictors.output_adapters import load_output_adapter
from loratory.protocols import Example, Task, TokenIds, Tokenizer
from loratory.specs.training import ConsistencySpec
from loratory.training.seeds import derive_seed, make_generator

LogitsFunction = Callable[[Sequence[TokenIds]], Tensor]  # rows to logits float[B, L], with gradients


def symmetric_kl(one: Tensor, other: Tensor) -> Tensor:
    """Half of KL(p || q) + KL(q || p), float[B], of two logits float[B, L] (Liang et al. 2021, eq. 2)."""
    p, q = one.float().log_softmax(-1), other.float().log_softmax(-1)
    return ((p.exp() - q.exp()) * (p - q)).sum(-1) / 2


def compute_consistency_loss(
    plain: Tensor, perturbed: Tensor, losses: Callable[[Tensor], Tensor], weight: float
) -> Tensor:
    """R-Drop's loss float[B] (Liang et al. 2021, eq. 4), with the twin in the place of its second dropout mask.

    Unsupervised data augmentation (Xie et al. 2020) has the perturbed input there, and no gradient through the plain
    one; here both learn, and both have the label.
    """
    return losses(plain) + losses(perturbed) + weight * symmetric_kl(plain, perturbed)


def build_windows_error() -> SpecError:
    """Of twins that are read in windows."""
    return SpecError(
        "consistency compares a text with its twin, and windows of the two are not of the same words",
        where="training: long",
        remedy="set training: long: ends, or take consistency out",
    )


@dataclass
class PerturbedPairs:
    """Perturbed twins of the examples, drawn anew in each epoch: functions of (seed, epoch, index).

    Label names are numbered behind the examples. They have no twin: each stands beside itself.
    """

    task: Task
    output_adapter_name: str
    tokenizer: Tokenizer
    examples: Sequence[Example]
    max_tokens: int
    long_text_mode: str
    spec: ConsistencySpec
    seed: int
    epoch: int = 0
    label_rows: Sequence[TokenIds] = ()
    perturbations: Sequence[Perturbation] = field(init=False)

    def __post_init__(self) -> None:
        self.perturbations = list(self.spec.build_perturbations().values())

    def encode_rows(self, indices: Sequence[int]) -> list[TokenIds]:
        """The token ids of each example's twin in this epoch."""
        count = len(self.examples)
        inputs = [self.perturb_example(index).input for index in indices if index < count]
        parts = load_output_adapter(self.output_adapter_name).encode_rows(
            self.task, self.tokenizer, inputs, self.max_tokens, self.long_text_mode
        )
        perturbed = iter([ids for ((ids, _),) in parts])
        return [next(perturbed) if index < count else self.label_rows[index - count] for index in indices]

    def perturb_example(self, index: int) -> Example:
        """An example's twin: of the first perturbation, in an order drawn, that finds something to change."""
        example, place = self.examples[index], (self.seed, "consistency", self.epoch, index)
        for number in torch.randperm(len(self.perturbations), generator=make_generator(*place)).tolist():
            if made := perturb_example(self.task, example, self.perturbations[number], derive_seed(*place)):
                return made
        return example
