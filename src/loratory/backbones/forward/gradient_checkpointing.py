"""Layers that keep only what enters them; the backward pass computes the rest once more (Chen et al. 2016)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from loratory.backbones import adapters
from loratory.backbones.forward import architectures
from loratory.errors import is_out_of_memory

TOLERANCE = 1e-3  # of the gradient's norm


def add_gradient_checkpointing(model: nn.Module, depth: int) -> nn.Module:
    """A second skeleton over the same weights whose layers are computed again in the backward pass.

    transformers' own switch works in training mode alone, in which a base's dropout would be on; this one does not ask.
    """
    own = adapters.copy_with_shared_weights(model)
    _, layers = architectures.find_layers(own, depth)
    for layer in layers:
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
    return own


def have_same_gradients(model: nn.Module, other: nn.Module, inputs: dict[str, Tensor]) -> bool:
    """Whether what learns gets the same gradients through `other` as through `model`; both hold the same parameters."""
    learning = [p for p in model.parameters() if p.requires_grad]
    try:
        once, twice = (_compute_gradient(one, learning, inputs) for one in (model, other))
    except (RuntimeError, TypeError, ValueError) as problem:
        if is_out_of_memory(problem):
            raise
        return False
    return bool((once - twice).norm() <= TOLERANCE * once.norm())


def _compute_gradient(model: nn.Module, parameters: Sequence[nn.Parameter], inputs: dict[str, Tensor]) -> Tensor:
    """Of a sum of the final states that no norm makes constant, float[all that learns]."""
    with torch.enable_grad():
        states = model(**inputs).last_hidden_state.float()
        ramp = torch.linspace(-1, 1, states.shape[-1], device=states.device)
        parts = torch.autograd.grad((states * ramp).sum(), parameters, allow_unused=True, materialize_grads=True)
    return torch.cat([part.flatten() for part in parts])
