"""A backbone cut at a layer: the states that enter it, and the layers from it on fed with such states."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from loratory.backbones.forward import architectures
from loratory.errors import BaseModelError, is_out_of_memory

Inputs = dict[str, Tensor]
TOLERANCE = 1e-4  # of final states that came through a cut, in float32


class _LayerReached(Exception):
    """The states that entered a layer; raised to leave the forward pass there."""

    def __init__(self, states: Tensor) -> None:
        self.states = states


def compute_layer_inputs(model: Any, depth: int, first_layer: int, inputs: Inputs) -> Tensor:
    """Hidden states float[B, T, D] that enter layer `first`; the layers from it on do not run."""
    _, layers = architectures.find_layers(model, depth)

    def reached(layer: nn.Module, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        raise _LayerReached(args[0] if args else options["hidden_states"])

    handle = layers[first_layer].register_forward_pre_hook(reached, with_kwargs=True)
    try:
        model(**inputs)
    except _LayerReached as stop:
        return stop.states
    finally:
        handle.remove()
    raise RuntimeError(f"layer {first_layer} was not reached")


class _SkippedLayer(nn.Module):
    """Stands where a lower layer stood: hands on what it is given, the lowest one the states of the slot."""

    def __init__(self, layer: nn.Module, slot: UpperLayers, lowest: bool) -> None:
        super().__init__()
        object.__setattr__(self, "_layer", layer)  # not a submodule: its weights are not needed here
        object.__setattr__(self, "_slot", slot)
        self._lowest = lowest

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(object.__getattribute__(self, "_layer"), name)

    def forward(self, hidden_states: Tensor, *args: Any, **options: Any) -> Any:
        states = self._slot.states if self._lowest else hidden_states
        return (states, *[None] * self._slot.extra_outputs) if self._slot.extra_outputs is not None else states


class UpperLayers:
    """The layers of `model` from `first` on, called with the states that enter them. Changes the model in place."""

    def __init__(self, model: Any, depth: int, first_layer: int, inputs: Inputs) -> None:
        self.model, self.states = model, torch.empty(0)
        _, layers = architectures.find_layers(model, depth)
        self.extra_outputs = _count_extra_outputs(model, layers[0], inputs)
        for number in range(first_layer):
            layers[number] = _SkippedLayer(layers[number], self, number == 0)

    def __call__(self, states: Tensor, inputs: Inputs) -> Any:
        """The model's output for the texts of `inputs` from the states that enter layer `first`."""
        self.states = states
        return self.model(**inputs)


def _count_extra_outputs(model: Any, layer: nn.Module, inputs: Inputs) -> int | None:
    """How many values the layer returns beside its states; None where it returns the states alone."""
    seen: list[int | None] = []

    def look(layer: nn.Module, args: tuple[Any, ...], out: Any) -> None:
        seen.append(len(out) - 1 if isinstance(out, tuple) else None)

    handle = layer.register_forward_hook(look)
    try:
        with torch.no_grad():
            model(**inputs)
    finally:
        handle.remove()
    return seen[0]


@torch.no_grad()
def can_split(model: Any, model_copy: Any, depth: int, first_layer: int, inputs: Inputs) -> bool:
    """Whether a pass through `twin` cut at layer `first` agrees with one through the whole model (both float32)."""
    try:
        expected = model(**inputs).last_hidden_state
        states = compute_layer_inputs(model, depth, first_layer, inputs)
        if states.shape[:2] != inputs["input_ids"].shape:  # XLNet's layers have the texts side by side
            return False
        got = UpperLayers(model_copy, depth, first_layer, inputs)(states, inputs).last_hidden_state
    except (AttributeError, BaseModelError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as problem:
        if is_out_of_memory(problem):
            raise
        return False
    real = inputs["attention_mask"].bool()
    return torch.allclose(got[real], expected[real], atol=TOLERANCE, rtol=TOLERANCE)
