"""Losses as functions: outputs and targets to one loss per example."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

from loratory.errors import SpecError, suggest_nearest
from loratory.predictors import bio_decoding
from loratory.protocols import Example, Row
from loratory.specs.training import LossSpec


class Objective(Protocol):
    """What a form's outputs should say, and how far they are from it."""

    def build_targets(self, task: Any, examples: Sequence[Example], rows: Sequence[Row]) -> Tensor:
        """Int[R, ...]: what the outputs of each row should say; a row has its example at the same place."""

    def compute_losses(self, outputs: Tensor, targets: Tensor, spec: LossSpec) -> Tensor:
        """The loss of each row, float[B]."""

    def compute_weights(self, task: Any, targets: Tensor, spec: LossSpec) -> Tensor:
        """What each row counts, float[R], by what it should say."""


class LabelObjective:
    """One class for a row."""

    def build_targets(self, task: Any, examples: Sequence[Example], rows: Sequence[Row]) -> Tensor:
        return torch.tensor([task.labels.index(task.label_of(example.answer)) for example in examples])

    def compute_losses(self, outputs: Tensor, targets: Tensor, spec: LossSpec) -> Tensor:
        return label_loss(outputs, targets, spec)

    def compute_weights(self, task: Any, targets: Tensor, spec: LossSpec) -> Tensor:
        return compute_class_weights(targets, task.labels, spec)[targets]


class SpanObjective:
    """A tag for every token: the mean over tokens that hold characters, as stock token classifiers have it."""

    def build_targets(self, task: Any, examples: Sequence[Example], rows: Sequence[Row]) -> Tensor:
        tags = [
            torch.tensor(bio_decoding.encode_tags(task.spans_of(example.answer), offsets, task.span_labels))
            for example, (_, offsets) in zip(examples, rows, strict=True)
        ]
        return pad_sequence(tags, batch_first=True, padding_value=bio_decoding.IGNORE_INDEX)

    def compute_losses(self, outputs: Tensor, targets: Tensor, spec: LossSpec) -> Tensor:
        wanted = targets[:, : outputs.shape[1]]
        each = cross_entropy(
            outputs.float().transpose(1, 2),
            wanted,
            reduction="none",
            ignore_index=bio_decoding.IGNORE_INDEX,
            label_smoothing=spec.label_smoothing,
        )
        if spec.focal_gamma:
            odds = outputs.float().softmax(-1).gather(-1, wanted.clamp_min(0)[..., None]).squeeze(-1)
            each = (1 - odds).clamp_min(1e-6).pow(spec.focal_gamma) * each
        return each.sum(-1) / (wanted != bio_decoding.IGNORE_INDEX).sum(-1).clamp_min(1)

    def compute_weights(self, task: Any, targets: Tensor, spec: LossSpec) -> Tensor:
        if spec.class_weights is not None:
            raise SpecError(
                "class weights are for labels of whole texts",
                where="loss: class_weights",
                remedy="take them out; focal_gamma lessens what is easy, the words outside of all spans among it",
            )
        return (
            (targets != bio_decoding.IGNORE_INDEX).sum(-1).float()
        )  # so that a step's loss is the mean over its tokens


OBJECTIVES: Mapping[str, Objective] = {"labels": LabelObjective(), "spans": SpanObjective()}  # by form


def label_loss(logits: Tensor, targets: Tensor, spec: LossSpec) -> Tensor:
    """Cross-entropy float[B] of logits float[B, L] against int[B]; focal (Lin et al. 2017, eq. 4) when gamma > 0."""
    losses = cross_entropy(logits.float(), targets, reduction="none", label_smoothing=spec.label_smoothing)
    if not spec.focal_gamma:
        return losses
    right = logits.float().softmax(-1).gather(-1, targets[:, None]).squeeze(-1)
    return (1 - right).clamp_min(1e-6).pow(spec.focal_gamma) * losses


def compute_class_weights(targets: Tensor, labels: Sequence[str], spec: LossSpec) -> Tensor:
    """A weight for each label, float[L]; "balanced" is N / (L * count), as in scikit-learn."""
    counts = torch.bincount(targets, minlength=len(labels)).double()
    if spec.class_weights is None:
        return torch.ones(len(labels))
    if spec.class_weights == "balanced":
        return (counts.sum() / (len(labels) * counts.clamp_min(1))).float()
    for label in spec.class_weights:
        if label not in labels:
            raise SpecError(
                f"{label!r} is no label{suggest_nearest(label, labels)}",
                where="loss: class_weights",
                allowed=", ".join(labels),
            )
    weights = torch.tensor([spec.class_weights.get(label, 1.0) for label in labels])
    if not bool((weights.isfinite() & (weights >= 0)).all()) or not bool(weights.any()):
        raise SpecError(
            f"these class weights cannot be used: {spec.class_weights}",
            where="loss: class_weights",
            allowed="numbers from 0, not all 0",
        )
    return weights
