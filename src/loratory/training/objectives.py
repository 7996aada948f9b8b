"""Losses as functions: outputs and targets to one loss per example."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from loratory.errors import SpecError, nearest
from loratory.specs.training import LossSpec


def label_loss(logits: Tensor, targets: Tensor, spec: LossSpec) -> Tensor:
    """Cross-entropy float[B] of logits float[B, L] against int[B]; focal (Lin et al. 2017, eq. 4) when gamma > 0."""
    losses = cross_entropy(logits.float(), targets, reduction="none", label_smoothing=spec.label_smoothing)
    if not spec.focal_gamma:
        return losses
    right = logits.float().softmax(-1).gather(-1, targets[:, None]).squeeze(-1)
    return (1 - right).clamp_min(1e-6).pow(spec.focal_gamma) * losses


def class_weights(targets: Tensor, labels: Sequence[str], spec: LossSpec) -> Tensor:
    """A weight for each label, float[L]; "balanced" is N / (L * count), as in scikit-learn."""
    counts = torch.bincount(targets, minlength=len(labels)).double()
    if spec.class_weights is None:
        return torch.ones(len(labels))
    if spec.class_weights == "balanced":
        return (counts.sum() / (len(labels) * counts.clamp_min(1))).float()
    for label in spec.class_weights:
        if label not in labels:
            raise SpecError(
                f"{label!r} is no label{nearest(label, labels)}", where="loss: class_weights", allowed=", ".join(labels)
            )
    weights = torch.tensor([spec.class_weights.get(label, 1.0) for label in labels])
    if not bool((weights.isfinite() & (weights >= 0)).all()) or not bool(weights.any()):
        raise SpecError(
            f"these class weights cannot be used: {spec.class_weights}",
            where="loss: class_weights",
            allowed="numbers from 0, not all 0",
        )
    return weights
