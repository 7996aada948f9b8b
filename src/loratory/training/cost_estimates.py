"""How long a fit will take on this machine, before its first step: from its products and their measured speed."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan, nan

from loratory.backbones.forward.architectures import find_layers
from loratory.backbones.forward.hardware_benchmark import load_kept
from loratory.errors import BaseModelError
from loratory.training.trainable_backbones import TrainableBackbone

# FLOPs of a token for each parameter of a matrix (Kaplan et al. 2020, section 2.1): forward 2, gradient of the input 2,
# gradient of the weight 2. An adapter spares the last.
FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENT = 2, 2, 2
EFFICIENCY = 0.5  # of the measured speed of products: the rest is attention, norms, thin products, and the optimizer


def count_epoch_flops(
    backbone: TrainableBackbone, train_lengths: Sequence[int], validation_lengths: Sequence[int], cached: bool
) -> float:
    """FLOPs of the products of one epoch: a pass with gradients over train, and one without over validation.

    NaN where the architecture has no list of layers of their own. Layers below the first that learns compute no
    gradient, and nothing at all where their states are cached.
    """
    try:
        matrix = _count_layer_weights(backbone) / backbone.depth
    except BaseModelError:
        return nan
    trained = backbone.depth - backbone.first_layer
    step = FORWARD + INPUT_GRADIENT + (WEIGHT_GRADIENT if backbone.full_finetuning else 0)
    below = 0 if cached else FORWARD * backbone.first_layer
    forward = below + FORWARD * trained
    return matrix * (sum(train_lengths) * (below + step * trained) + sum(validation_lengths) * forward)


def estimate_seconds(flops: float, precision: str, device: str) -> float | None:
    """Seconds on this machine by its kept measurement; None where it was never measured, or the FLOPs are not known."""
    kept = None if isnan(flops) else load_kept(device)
    speed = kept.gflops.get(precision) if kept else None
    return flops / (speed * 1e9 * EFFICIENCY) if speed else None


def _count_layer_weights(backbone: TrainableBackbone) -> int:
    """Weights of the matrices in the layers of the frozen backbone."""
    _, layers = find_layers(backbone.backbone.unquantized.model, backbone.depth)
    return sum(p.numel() for p in layers.parameters() if p.ndim > 1)
