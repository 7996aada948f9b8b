"""Many LoRA adapters over one set of weights, each row of a batch under its own, in one pass.

PEFT mixes a batch too, with an index and a copy for every adapter in every layer. Here the rows of an adapter stand
together, so a slice is enough; where hardly any two rows have the same adapter, all of them are done in two batched
products. What many adapters cost: benchmarks/serving.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from loratory.backbones import adapters
from loratory.backbones.forward.architectures import find_layers
from loratory.backbones.forward.layer_split import Inputs, LayerSplit, create_layer_split
from loratory.backbones.forward.precision import DTYPES
from loratory.protocols import Adapter

# Rows of an adapter, on average, from which a slice for each adapter is faster than batched products.
MIN_ROWS_PER_ADAPTER = 3


@dataclass(frozen=True)
class LoraDelta:
    """What an adapter adds to one layer's weight, scale * B A (Hu et al. 2021, eq. 3): a [R, I], b [O, R]."""

    a: Tensor
    b: Tensor
    scale: float


@dataclass(frozen=True)
class Segment:
    """Neighbouring rows of a batch with the same adapter."""

    adapter: Adapter | None
    start: int
    stop: int

    @property
    def rows(self) -> int:
        """How many they are."""
        return self.stop - self.start


@dataclass
class BatchLayout:
    """Which rows of the batch belong to which adapter; the layers of a model share it, and read it in every pass."""

    segments: tuple[Segment, ...] = ()
    rows: int = 0

    @contextmanager
    def activate(self, adapters: Sequence[Adapter | None]) -> Iterator[None]:
        """For one pass whose rows have these adapters. Rows of an adapter that stand apart become several segments."""
        starts = [row for row, adapter in enumerate(adapters) if not row or adapters[row - 1] is not adapter]
        ends = [*starts[1:], len(adapters)]
        self.segments = tuple(Segment(adapters[start], start, stop) for start, stop in zip(starts, ends, strict=True))
        self.rows = len(adapters)
        try:
            yield
        finally:
            self.segments, self.rows = (), 0


class MultiLoraLinear(nn.Module):
    """A frozen linear layer, computed in the precision of its weight, and what each adapter adds to it.

    Adapters are held weakly: one that nobody serves any more leaves nothing behind.
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
        """From x float[..., I] to float[..., O], in the precision of the weight."""
        flat = x.reshape(-1, self.in_features).to(self.weight.dtype)
        out = linear(flat, self.weight, self.bias)
        if self.deltas:
            self._add_deltas(flat, out)
        return out.view(*x.shape[:-1], -1)

    def _add_deltas(self, x: Tensor, out: Tensor) -> None:
        """Add to out [B * T, O] what adapters make of x [B * T, I], the rows of a text one behind another."""
        found = [(self.deltas.get(one.adapter), one) for one in self.layout.segments if one.adapter]
        adapted = [(delta, segment) for delta, segment in found if delta is not None]
        if not adapted:
            return
        if len(self.layout.segments) == 1:
            # Before x is cut by rows: it may be no rows of texts at all, such as one row of positions for all of them.
            self._add_delta(out, x, adapted[0][0])
            return
        if self._should_batch(adapted):
            self._add_batched_deltas([delta for delta, segment in adapted for _ in range(segment.rows)], x, out)
            return
        tokens = x.shape[0] // self.layout.rows  # of each row, padding counted: a segment is a slice of x
        for delta, segment in adapted:
            mine = slice(segment.start * tokens, segment.stop * tokens)
            self._add_delta(out[mine], x[mine], delta)

    def _should_batch(self, adapted: Sequence[tuple[LoraDelta, Segment]]) -> bool:
        """Whether every row has a delta, all of one rank, and few rows the same one.

        Batched products need a matrix for each row, so a row without a delta, or of another rank, rules them out.
        """
        rows, ranks = sum(segment.rows for _, segment in adapted), {delta.a.shape for delta, _ in adapted}
        return len(ranks) == 1 and rows == self.layout.rows and rows < MIN_ROWS_PER_ADAPTER * len(adapted)

    def _add_delta(self, out: Tensor, x: Tensor, delta: LoraDelta) -> None:
        out.addmm_(x @ delta.a.T, delta.b.T, alpha=delta.scale)

    def _add_batched_deltas(self, deltas: Sequence[LoraDelta], x: Tensor, out: Tensor) -> None:
        """A delta for each row: x as [B, T, I] times A' [B, I, R], scaled, times B' [B, R, O]."""
        rows = len(deltas)
        scales = torch.tensor([delta.scale for delta in deltas], dtype=x.dtype, device=x.device)
        low = torch.bmm(x.view(rows, -1, self.in_features), torch.stack([delta.a for delta in deltas]).mT)
        low.mul_(scales[:, None, None])
        out.view(rows, -1, self.out_features).baddbmm_(low, torch.stack([delta.b for delta in deltas]).mT)


class MultiLoraModel:
    """A second skeleton of a backbone, whose linear layers take adapters. It is computed by one thread at a time.

    In bf16 the matrix products of the layers are computed in it; what is between them, and heads, in float32. An
    adapter on other than linear layers is hosted by PEFT, in float32. `make_sample` gives inputs of two short rows.
    """

    def __init__(
        self, model: nn.Module, depth: int, make_sample: Callable[[], Inputs], precision: str = "fp32"
    ) -> None:
        self._base_model, self._depth, self._make_sample, self.precision = model, depth, make_sample, precision
        self._layout = BatchLayout()
        self._registered: WeakKeyDictionary[Adapter, bool] = WeakKeyDictionary()  # whether it is in the skeleton
        self._peft_host = adapters.PeftHost(model)

    @cached_property
    def adapted_model(self) -> Any:
        """The skeleton. Made when it is first needed: whoever has no adapters in float32 pays nothing."""
        made = adapters.copy_with_shared_weights(self._base_model)
        if self.precision != "fp32":
            name, _ = find_layers(self._base_model, self._depth)
            for path, layer in list(made.named_modules()):
                if path.startswith(f"{name}.") and type(layer) is nn.Linear:
                    self._replace_linear(made, path, layer)
        return made

    @cached_property
    def layer_split(self) -> LayerSplit | None:
        """The skeleton to be entered between its layers; None where the architecture does not take that."""
        return create_layer_split(self.adapted_model, self._depth, self._make_sample())

    def _replace_linear(self, model: nn.Module, path: str, layer: nn.Module) -> MultiLoraLinear:
        if isinstance(layer, MultiLoraLinear):
            return layer
        assert isinstance(layer, nn.Linear)
        made = MultiLoraLinear(layer, DTYPES[self.precision], self._layout)
        owner, _, leaf = path.rpartition(".")
        setattr(model.get_submodule(owner), leaf, made)
        return made

    @torch.inference_mode(False)  # what is made here outlives the pass that asks for it
    def register(self, adapter: Adapter) -> bool:
        """Take an adapter in; False where PEFT has to host it. Raises ArtifactError where it does not fit."""
        if adapter not in self._registered:
            weights = adapters.collect_lora_weights(self._base_model, adapter)
            if weights is not None:
                for path, (a, b, scale) in weights.items():
                    layer = self._replace_linear(self.adapted_model, path, self.adapted_model.get_submodule(path))
                    dtype, device = layer.weight.dtype, layer.weight.device
                    layer.deltas[adapter] = LoraDelta(a.to(device, dtype), b.to(device, dtype), scale)
            self._registered[adapter] = weights is not None
        return self._registered[adapter]

    def can_mix(self, adapter: Adapter | None) -> bool:
        """Whether the skeleton computes it: all but what PEFT has to host. Raises as `register` does."""
        return adapter is None or self.register(adapter)

    def __call__(self, adapters: Sequence[Adapter | None], **inputs: Any) -> Any:
        """The backbone's output with each row under its own adapter (None: the bare backbone)."""
        self._peft_host.detach_unused()
        mixed = [self.register(adapter) for adapter in dict.fromkeys(adapters) if adapter]
        if not all(mixed):  # PEFT cannot share a pass with the skeleton: it takes the whole batch
            return self._peft_host(adapters, **inputs)
        if not mixed and self.precision == "fp32":  # the base's own layers, without a look for deltas in each
            return self._base_model(**inputs)
        with self._layout.activate(adapters):
            return self.adapted_model(**inputs)

    def run_from_layer(
        self, first_layer: int, states: Tensor, adapters: Sequence[Adapter | None], inputs: Inputs
    ) -> Any:
        """The output from states float[B, T, D] that enter `first_layer`, below which no adapter changes anything.

        The adapters are in the skeleton already (`can_mix`), and there is a `layer_split`.
        """
        assert self.layer_split is not None
        with self._layout.activate(adapters):
            return self.layer_split.run_from_layer(first_layer, states, inputs)
