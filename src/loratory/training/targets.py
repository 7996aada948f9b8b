"""What the outputs of an encoder's head should say: from examples to targets, and both to what a loss sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from loratory.errors import SpecError, UnsupportedTask, suggest_nearest
from loratory.predictors import bio_decoding
from loratory.protocols import Example, Labelled, Row, Spanned, Task, TaskT
from loratory.protocols.objectives import LossBatch, OutputKind

ClassWeights = Literal["balanced"] | Mapping[str, float] | None


class TargetEncoder(Protocol[TaskT]):
    """What a head's outputs should say, by the capability of a task. R rows, of one example each."""

    @property
    def outputs(self) -> OutputKind: ...
    def build_targets(self, task: TaskT, examples: Sequence[Example], rows: Sequence[Row]) -> Tensor:
        """Int[R, ...]: what the outputs of each row should say; a row has its example at the same place."""

    def compute_weights(self, task: TaskT, targets: Tensor, class_weights: ClassWeights) -> Tensor:
        """What each row counts, float[R], by what it should say. Raises SpecError."""

    def make_batch(self, outputs: Tensor, targets: Tensor, weights: Tensor, examples: Sequence[Example]) -> LossBatch:
        """What a loss sees of outputs [B, ...] and targets [B, ...]."""


class LabelTargets:
    """One class for a row: targets int[R]."""

    outputs: OutputKind = "labels"

    def build_targets(self, task: Labelled, examples: Sequence[Example], rows: Sequence[Row]) -> Tensor:
        """The index of each example's label: int[R]."""
        places = {label: place for place, label in enumerate(task.labels or ())}
        return torch.tensor([places[task.label_of(example.answer)] for example in examples])

    def compute_weights(self, task: Labelled, targets: Tensor, class_weights: ClassWeights) -> Tensor:
        """The weight of each row's label, float[R]; raises SpecError for a weight of what is no label."""
        return compute_class_weights(targets, task.labels or (), class_weights)[targets]

    def make_batch(self, outputs: Tensor, targets: Tensor, weights: Tensor, examples: Sequence[Example]) -> LossBatch:
        """Logits [B, L] and targets [B]: one prediction for a row."""
        owners = torch.arange(len(targets), device=targets.device)
        return LossBatch(self.outputs, outputs.float(), targets, owners, weights, examples)


class SpanTargets:
    """A tag for every token that holds characters, as stock token classifiers have it: targets int[R, T], padded."""

    outputs: OutputKind = "tags"

    def build_targets(self, task: Spanned, examples: Sequence[Example], rows: Sequence[Row]) -> Tensor:
        """The tag of each token, int[R, T]; IGNORE_INDEX where a token holds no characters, and behind a row's end."""
        tags = [
            torch.tensor(bio_decoding.encode_tags(task.spans_of(example.answer), offsets, task.span_labels))
            for example, (_, offsets) in zip(examples, rows, strict=True)
        ]
        return pad_sequence(tags, batch_first=True, padding_value=bio_decoding.IGNORE_INDEX)

    def compute_weights(self, task: Spanned, targets: Tensor, class_weights: ClassWeights) -> Tensor:
        """How many tokens of each row have a tag, float[R]; raises SpecError where class weights are given."""
        if class_weights is not None:
            raise SpecError(
                "class weights are for labels of whole texts",
                where="loss: class_weights",
                remedy="take them out; focal_gamma lessens what is easy, the words outside of all spans among it",
            )
        return (
            (targets != bio_decoding.IGNORE_INDEX).sum(-1).float()
        )  # so that a step's loss is the mean over its tokens

    def make_batch(self, outputs: Tensor, targets: Tensor, weights: Tensor, examples: Sequence[Example]) -> LossBatch:
        """Logits [B, T, C] and targets [B, T]: a prediction for each token that has a tag, P in all."""
        wanted = targets[:, : outputs.shape[1]]
        counted = wanted != bio_decoding.IGNORE_INDEX
        owners = counted.nonzero()[:, 0]
        return LossBatch(self.outputs, outputs[counted].float(), wanted[counted], owners, weights, examples)


TARGET_ENCODERS: Sequence[tuple[type[Task], TargetEncoder[Any]]] = (
    (Labelled, LabelTargets()),
    (Spanned, SpanTargets()),
)


def find_target_encoder(task: Task) -> TargetEncoder[Any]:
    """The first whose capability the task has; raises UnsupportedTask."""
    for capability, encoder in TARGET_ENCODERS:
        if isinstance(task, capability):
            return encoder
    raise UnsupportedTask(f"no head can be trained for a {task.kind} task", allowed="one label, or labelled spans")


def compute_class_weights(targets: Tensor, labels: Sequence[str], class_weights: ClassWeights) -> Tensor:
    """A weight for each label, float[L]; "balanced" is N / (L * count), as in scikit-learn. Raises SpecError."""
    counts = torch.bincount(targets, minlength=len(labels)).double()
    if class_weights is None:
        return torch.ones(len(labels))
    if isinstance(class_weights, str):
        return (counts.sum() / (len(labels) * counts.clamp_min(1))).float()
    for label in class_weights:
        if label not in labels:
            raise SpecError(
                f"{label!r} is no label{suggest_nearest(label, labels)}",
                where="loss: class_weights",
                allowed=", ".join(labels),
            )
    weights = torch.tensor([class_weights.get(label, 1.0) for label in labels])
    if not bool((weights.isfinite() & (weights >= 0)).all()) or not bool(weights.any()):
        raise SpecError(
            f"these class weights cannot be used: {class_weights}",
            where="loss: class_weights",
            allowed="numbers from 0, not all 0",
        )
    return weights
