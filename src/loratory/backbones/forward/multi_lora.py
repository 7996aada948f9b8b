"""A backbone with guests: many adapters over one set of weights, each row of a batch under its own, in one pass.

PEFT mixes a batch too, with an index and a copy for every adapter in every layer. Here a guest's rows stand together,
so a slice is enough; where hardly any two rows have the same guest, all of them are done in two batched products. What
many adapters cost: benchmarks/serving.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from loratory.backbones import adapters
from loratory.backbones.forward.architectures import find_layers
from loratory.backbones.forward.precision import DTYPES
from loratory.protocols import Adapter

MIN_ROWS_PER_ADAPTER = (
    3  # rows of a guest, on average, from which a slice for each guest is faster than batched products
)


@dataclass(frozen=True)
class LoraDelta:
    """scale * B A for one layer: a [R, I], b [O, R]."""

    a: Tensor
    b: Tensor
    scale: float


@dataclass(frozen=True)
class Segment:
    """Neighbouring rows of a batch with the same guest."""

    adapter: Adapter | None
    start: int
    stop: int


@dataclass
class BatchLayout:
    """Which rows of the batch belong to which guest."""

    segments: tuple[Segment, ...] = ()
    rows: int = 0

    @contextmanager
    def activate(self, adapters: Sequence[Adapter | None]) -> Iterator[None]:
        """For one pass."""
        starts = [row for row, guest in enumerate(adapters) if not row or adapters[row - 1] is not guest]
        ends = [*starts[1:], len(adapters)]
        self.segments = tuple(Segment(adapters[start], start, stop) for start, stop in zip(starts, ends, strict=True))
        self.rows = len(adapters)
        try:
            yield
        finally:
            self.segments, self.rows = (), 0


class MultiLoraLinear(nn.Module):
    """A frozen linear layer, computed in the precision of its weight, and what each guest adds to it.

    Guests are held weakly: an adapter that nobody serves any more leaves nothing behind.
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(self, layer: nn.Linear, dtype: torch.dtype, layout: BatchLayout) -> None:
        super().__init__()
        self.register_buffer("weight", layer.weight.detach().to(dtype))
        self.register_buffer("bias", None if layer.bias is None else layer.bias.detach().to(dtype))
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.deltas: WeakKeyDictionary[Adapter, LoraDelta] = WeakKeyDictionary()
        self.layout = layout

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, self.in_features).to(self.weight.dtype)
        out = linear(flat, self.weight, self.bias)
        if self.deltas:
            self._add_deltas(flat, out)
        return out.view(*x.shape[:-1], -1)

    def _add_deltas(self, x: Tensor, out: Tensor) -> None:
        """Add to out [B * T, O] what guests make of x [B * T, I], the rows of a text one behind another."""
        found = [(self.deltas.get(run.adapter), run) for run in self.layout.segments if run.adapter]
        seated = [(update, run) for update, run in found if update is not None]
        if not seated:
            return
        if len(self.layout.segments) == 1:  # also of what is no row of a text, such as one row of positions for all
            self._add_delta(out, x, seated[0][0])
            return
        each, rows = x.shape[0] // self.layout.rows, sum(run.stop - run.start for _, run in seated)
        alike = len({update.a.shape for update, _ in seated}) == 1
        if alike and rows == self.layout.rows and rows < MIN_ROWS_PER_ADAPTER * len(seated):
            self._add_batched_deltas([update for update, run in seated for _ in range(run.start, run.stop)], x, out)
            return
        for update, run in seated:
            mine = slice(run.start * each, run.stop * each)
            self._add_delta(out[mine], x[mine], update)

    def _add_delta(self, out: Tensor, x: Tensor, delta: LoraDelta) -> None:
        out.addmm_(x @ delta.a.T, delta.b.T, alpha=delta.scale)

    def _add_batched_deltas(self, deltas: Sequence[LoraDelta], x: Tensor, out: Tensor) -> None:
        """An update for each row, all of one rank."""
        rows = len(deltas)
        scales = torch.tensor([update.scale for update in deltas], dtype=x.dtype, device=x.device)
        low = torch.bmm(x.view(rows, -1, self.in_features), torch.stack([update.a for update in deltas]).mT)
        low.mul_(scales[:, None, None])
        out.view(rows, -1, self.out_features).baddbmm_(low, torch.stack([update.b for update in deltas]).mT)


class MultiLoraModel:
    """A second skeleton of the backbone, whose linear layers take guests. It is computed by one thread at a time.

    In bf16 the matrix products of the layers are computed in it; what is between them, and heads, in float32. An
    adapter on other than linear layers is hosted by PEFT, in float32.
    """

    def __init__(self, model: nn.Module, depth: int, precision: str = "fp32") -> None:
        self._base_model, self._depth, self.precision = model, depth, precision
        self._layout = BatchLayout()
        self._adapted_model: Any = None
        self._registered: WeakKeyDictionary[Adapter, bool] = WeakKeyDictionary()  # whether it sits in the skeleton
        self._peft_host = adapters.PeftHost(model)
        self._layer_split: LayerSplit | None = None

    @property
    def adapted_model(self) -> Any:
        """Made when it is first needed: whoever has no guests in float32 pays nothing."""
        if self._adapted_model is None:
            self._adapted_model = adapters.copy_with_shared_weights(self._base_model)
            if self.precision != "fp32":
                name, _ = find_layers(self._base_model, self._depth)
                for path, layer in list(self._adapted_model.named_modules()):
                    if path.startswith(f"{name}.") and type(layer) is nn.Linear:
                        self._replace_linear(path, layer)
        return self._adapted_model

    def _replace_linear(self, path: str, layer: nn.Module) -> MultiLoraLinear:
        if isinstance(layer, MultiLoraLinear):
            return layer
        assert isinstance(layer, nn.Linear)
        made = MultiLoraLinear(layer, DTYPES[self.precision], self._layout)
        owner, _, leaf = path.rpartition(".")
        setattr(self.adapted_model.get_submodule(owner), leaf, made)
        return made

    @torch.inference_mode(False)  # what is made here outlives the pass that asks for it
    def register(self, adapter: Adapter) -> bool:
        """Seat a guest; False where PEFT has to host it. Raises ArtifactError where it does not fit the backbone."""
        if adapter not in self._registered:
            places = adapters.collect_lora_weights(self._base_model, adapter)
            if places is not None:
                for path, (a, b, scale) in places.items():
                    layer = self._replace_linear(path, self.adapted_model.get_submodule(path))
                    dtype, device = layer.weight.dtype, layer.weight.device
                    layer.deltas[adapter] = LoraDelta(a.to(device, dtype), b.to(device, dtype), scale)
            self._registered[adapter] = places is not None
        return self._registered[adapter]

    def __call__(self, adapters: Sequence[Adapter | None], **inputs: Any) -> Any:
        """The backbone's output with each row under its own adapter (None: the bare backbone)."""
        self._peft_host.detach_unused()
        hosted = [self.register(guest) for guest in dict.fromkeys(adapters) if guest]
        if not all(hosted):
            return self._peft_host(adapters, **inputs)
        if not hosted and self.precision == "fp32":
            return self._base_model(**inputs)
        with self._layout.activate(adapters):
            return self.adapted_model(**inputs)

    def get_layer_split(self, sample: dict[str, Any]) -> LayerSplit | None:
        """The skeleton to be entered between its layers; None where the architecture does not take that."""
        if self._layer_split is None:
            self._layer_split = LayerSplit(self.adapted_model, self._depth, sample)
        return self._layer_split if self._layer_split.supported else None

    def run_from_layer(
        self, first_layer: int, states: Tensor, adapters: Sequence[Adapter | None], inputs: dict[str, Any]
    ) -> Any:
        """The output from states float[B, T, D] that enter layer `first`, below which no guest has anything.

        The guests sit already (`sits`).
        """
        assert self._layer_split is not None
        with self._layout.activate(adapters):
            return self._layer_split.run_from_layer(first_layer, states, inputs)

    def can_mix(self, adapter: Adapter | None) -> bool:
        """Whether it is seated in the skeleton, or is nobody."""
        return adapter is None or self.register(adapter)


class _EarlyExit(Exception):
    """All that was wanted of a pass is known."""


class _LayerHook(nn.Module):
    """Stands before a layer: notes the states that enter it, or passes on what entered above."""

    def __init__(self, layer: nn.Module, number: int, split: LayerSplit) -> None:
        super().__init__()
        self.layer = layer
        self.number = number
        object.__setattr__(self, "_floors", split)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("layer"), name)

    def forward(self, hidden_states: Tensor, *args: Any, **options: Any) -> Any:
        layer_split: LayerSplit = self._layer_split
        if self.number < layer_split.first_layer:
            states = layer_split.states if self.number == 0 else hidden_states
            return states if layer_split.extra_outputs is None else (states, *[None] * layer_split.extra_outputs)
        if self.number in layer_split.captured_layers:
            layer_split.captured[self.number] = hidden_states
            if self.number == layer_split.last_layer:
                raise _EarlyExit
        out = self.layer(hidden_states, *args, **options)
        if layer_split.probing:
            layer_split.extra_outputs = len(out) - 1 if isinstance(out, tuple) else None
        return out


class LayerSplit:
    """Layers that can be entered with states and left with them. Changes the model in place."""

    def __init__(self, model: Any, depth: int, sample: dict[str, Any]) -> None:
        self.model, self.states = model, torch.empty(0)
        self.first_layer, self.last_layer = 0, depth
        self.captured_layers: frozenset[int] = frozenset()
        self.captured: dict[int, Tensor] = {}
        self.extra_outputs: int | None = None
        self.probing = True
        _, layers = find_layers(model, depth)
        own = list(layers)
        expected = model(**sample).last_hidden_state
        for number, layer in enumerate(own):
            layers[number] = _LayerHook(layer, number, self)
        self.supported = self._matches_whole_pass(expected, sample)
        self.probing = False
        if not self.supported:
            for number, layer in enumerate(own):
                layers[number] = layer

    def _matches_whole_pass(self, expected: Tensor, sample: dict[str, Any]) -> bool:
        """Tried at the middle on the sample."""
        real, middle = sample["attention_mask"].bool(), max(self.last_layer // 2, 1)
        if middle >= self.last_layer:
            return False
        try:
            whole = self.model(**sample).last_hidden_state
            self.probing = False
            states = self.capture_layer_inputs(frozenset({middle}), sample)[middle]
            cut = self.run_from_layer(middle, states, sample).last_hidden_state
        except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError):
            return False
        return all(torch.allclose(one[real], expected[real], atol=1e-4, rtol=1e-4) for one in (whole, cut))

    def capture_layer_inputs(self, layers: frozenset[int], inputs: dict[str, Any]) -> dict[int, Tensor]:
        """States float[B, T, D] that enter these layers, the depth meaning those that leave the last one."""
        depth, self.captured_layers, self.captured, self.last_layer = self.last_layer, layers, {}, max(layers)
        try:
            out = self.model(**inputs).last_hidden_state
            return {**self.captured, depth: out}
        except _EarlyExit:
            return dict(self.captured)
        finally:
            self.captured_layers, self.captured, self.last_layer = frozenset(), {}, depth

    def run_from_layer(self, first_layer: int, states: Tensor, inputs: dict[str, Any]) -> Any:
        """The model's output for the texts of `inputs` from the states that enter layer `first`."""
        self.first_layer, self.states = first_layer, states
        try:
            return self.model(**inputs)
        finally:
            self.first_layer, self.states = 0, torch.empty(0)
