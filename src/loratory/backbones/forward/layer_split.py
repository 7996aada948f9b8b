"""A backbone cut between its layers: the states that enter a layer, and the layers from it on fed with such states.

Below the first layer that an adapter changes, a text gives the same states whoever asks. Training remembers them for
its next epoch, serving shares them among the adapters that read the same text.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from loratory.backbones.forward import architectures
from loratory.errors import BaseModelError, is_out_of_memory

Inputs = dict[str, Tensor]
TOLERANCE = 1e-4  # of final states that came through a cut, in float32
# What architectures raise that were not written to be entered between two layers.
CUT_ERRORS = (AttributeError, BaseModelError, IndexError, KeyError, RuntimeError, TypeError, ValueError)


class _LayerReached(Exception):
    """All that was wanted of a pass is known; raised to leave it there."""


class LayerHook(nn.Module):
    """Stands around a layer: notes the states that enter it, or hands on what entered above it.

    Models read attributes of their layers (Qwen3: `attention_type`), so those of the layer are the hook's too.
    """

    def __init__(self, layer: nn.Module, number: int, split: LayerSplit) -> None:
        super().__init__()
        self.layer, self.number, self.split = layer, number, split

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("layer"), name)

    def forward(self, hidden_states: Tensor, *args: Any, **options: Any) -> Any:
        """What the layer returns; below the entry the states alone, in the shape of what it would return."""
        split = self.split
        if self.number < split.first_layer:  # skipped: the lowest puts the given states in place of the embeddings
            states = split.states if self.number == 0 else hidden_states
            return states if split.extra_outputs is None else (states, *[None] * split.extra_outputs)
        if self.number in split.captured_layers:
            split.captured[self.number] = hidden_states
            if self.number == split.last_layer:
                raise _LayerReached
        return self.layer(hidden_states, *args, **options)


class LayerSplit:
    """Layers that can be entered with states and left with them. Changes the model in place; used by one thread.

    `sample` are inputs of two short rows: a pass over them shows what a layer returns beside its states.
    """

    def __init__(self, model: nn.Module, depth: int, sample: Inputs) -> None:
        self.model, self.depth, self.states = model, depth, torch.empty(0)
        self.first_layer, self.last_layer = 0, depth  # of the pass that runs now
        self.captured_layers: frozenset[int] = frozenset()
        self.captured: dict[int, Tensor] = {}
        _, self._layers = architectures.find_layers(model, depth)
        self.extra_outputs = _count_extra_outputs(model, self._layers[0], sample)
        for number, layer in enumerate(list(self._layers)):
            self._layers[number] = LayerHook(layer, number, self)

    def remove(self) -> None:
        """Put the model's own layers back."""
        for number, hook in enumerate(list(self._layers)):
            self._layers[number] = hook.layer  # type: ignore[assignment]

    def capture_layer_inputs(self, layers: frozenset[int], inputs: Inputs) -> dict[int, Tensor]:
        """States float[B, T, D] that enter these layers; the depth stands for those that leave the last one.

        No layer above the highest of them runs.
        """
        self.captured_layers, self.captured, self.last_layer = layers, {}, max(layers)
        try:
            out = self.model(**inputs).last_hidden_state
            return {**self.captured, self.depth: out}
        except _LayerReached:
            return dict(self.captured)
        finally:
            self.captured_layers, self.captured, self.last_layer = frozenset(), {}, self.depth

    def run_from_layer(self, first_layer: int, states: Tensor, inputs: Inputs) -> Any:
        """The model's output for the texts of `inputs` from the states float[B, T, D] that enter `first_layer`."""
        self.first_layer, self.states = first_layer, states
        try:
            return self.model(**inputs)
        finally:
            self.first_layer, self.states = 0, torch.empty(0)


def create_layer_split(model: nn.Module, depth: int, sample: Inputs) -> LayerSplit | None:
    """A model (it is changed) that can be entered between its layers; None where a cut in the middle changes the final
    states of the sample, and for a model of one layer: it is then as it was.
    """
    middle = depth // 2
    if not middle:
        return None
    real = sample["attention_mask"].bool()
    expected = model(**sample).last_hidden_state
    split = LayerSplit(model, depth, sample)
    try:
        whole = model(**sample).last_hidden_state
        states = split.capture_layer_inputs(frozenset({middle}), sample)[middle]
        cut = split.run_from_layer(middle, states, sample).last_hidden_state
        if all(_are_close(found[real], expected[real]) for found in (whole, cut)):
            return split
    except CUT_ERRORS as problem:
        if is_out_of_memory(problem):
            raise
    split.remove()
    return None


def compute_layer_inputs(model: nn.Module, depth: int, first_layer: int, inputs: Inputs) -> Tensor:
    """Hidden states float[B, T, D] that enter layer `first_layer`; the layers from it on do not run.

    The model is as before afterwards: what many share can be asked.
    """
    _, layers = architectures.find_layers(model, depth)
    found: list[Tensor] = []

    def reach(layer: nn.Module, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        found.append(args[0] if args else options["hidden_states"])
        raise _LayerReached

    handle = layers[first_layer].register_forward_pre_hook(reach, with_kwargs=True)
    try:
        model(**inputs)
    except _LayerReached:
        return found[0]
    finally:
        handle.remove()
    raise RuntimeError(f"layer {first_layer} was not reached")


def compute_states_and_layer_inputs(
    model: nn.Module, depth: int, first_layer: int, inputs: Inputs
) -> tuple[Tensor, Tensor]:
    """Final hidden states float[B, T, D], and those that enter layer `first_layer`, of one pass."""
    _, layers = architectures.find_layers(model, depth)
    found: list[Tensor] = []

    def note(layer: nn.Module, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        found.append(args[0] if args else options["hidden_states"])

    handle = layers[first_layer].register_forward_pre_hook(note, with_kwargs=True)
    try:
        return model(**inputs).last_hidden_state, found[0]
    finally:
        handle.remove()


@torch.no_grad()
def can_split(model: nn.Module, model_copy: nn.Module, depth: int, first_layer: int, inputs: Inputs) -> bool:
    """Whether a pass through `model_copy`, which is cut at `first_layer`, agrees with one through the whole `model`.

    Both are float32, and share their weights.
    """
    try:
        expected = model(**inputs).last_hidden_state
        states = compute_layer_inputs(model, depth, first_layer, inputs)
        if states.shape[:2] != inputs["input_ids"].shape:  # XLNet's layers have the texts side by side
            return False
        got = LayerSplit(model_copy, depth, inputs).run_from_layer(first_layer, states, inputs).last_hidden_state
    except CUT_ERRORS as problem:
        if is_out_of_memory(problem):
            raise
        return False
    real = inputs["attention_mask"].bool()
    return _are_close(got[real], expected[real])


def _count_extra_outputs(model: nn.Module, layer: nn.Module, inputs: Inputs) -> int | None:
    """How many values the layer returns beside its states; None where it returns the states alone."""
    seen: list[int | None] = []

    def look(layer: nn.Module, args: tuple[Any, ...], out: object) -> None:
        seen.append(len(out) - 1 if isinstance(out, tuple) else None)

    handle = layer.register_forward_hook(look)
    try:
        with torch.no_grad():
            model(**inputs)
    finally:
        handle.remove()
    return seen[0]


def _are_close(found: Tensor, expected: Tensor) -> bool:
    return torch.allclose(found, expected, atol=TOLERANCE, rtol=TOLERANCE)
