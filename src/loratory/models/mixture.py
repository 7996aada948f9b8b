"""A trunk with guests: many adapters over one set of weights, each row of a batch under its own, in one pass.

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

from loratory.models import adapters
from loratory.models.architectures import layers_of
from loratory.models.precision import DTYPES
from loratory.protocols import Adapter

ROWS_EACH = 3  # rows of a guest, on average, from which a slice for each guest is faster than batched products


@dataclass(frozen=True)
class Update:
    """scale * B A for one layer: a [R, I], b [O, R]."""

    a: Tensor
    b: Tensor
    scale: float


@dataclass(frozen=True)
class Stretch:
    """Neighbouring rows of a batch with the same guest."""

    guest: Adapter | None
    start: int
    stop: int


@dataclass
class Seating:
    """Which rows of the batch belong to which guest."""

    runs: tuple[Stretch, ...] = ()
    rows: int = 0

    @contextmanager
    def of(self, guests: Sequence[Adapter | None]) -> Iterator[None]:
        """For one pass."""
        starts = [row for row, guest in enumerate(guests) if not row or guests[row - 1] is not guest]
        ends = [*starts[1:], len(guests)]
        self.runs = tuple(Stretch(guests[start], start, stop) for start, stop in zip(starts, ends, strict=True))
        self.rows = len(guests)
        try:
            yield
        finally:
            self.runs, self.rows = (), 0


class HostedLinear(nn.Module):
    """A frozen linear layer, computed in the precision of its weight, and what each guest adds to it.

    Guests are held weakly: an adapter that nobody serves any more leaves nothing behind.
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(self, layer: nn.Linear, dtype: torch.dtype, seating: Seating) -> None:
        super().__init__()
        self.register_buffer("weight", layer.weight.detach().to(dtype))
        self.register_buffer("bias", None if layer.bias is None else layer.bias.detach().to(dtype))
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.guests: WeakKeyDictionary[Adapter, Update] = WeakKeyDictionary()
        self.seating = seating

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, self.in_features).to(self.weight.dtype)
        out = linear(flat, self.weight, self.bias)
        if self.guests:
            self._add(flat, out)
        return out.view(*x.shape[:-1], -1)

    def _add(self, x: Tensor, out: Tensor) -> None:
        """Add to out [B * T, O] what guests make of x [B * T, I], the rows of a text one behind another."""
        found = [(self.guests.get(run.guest), run) for run in self.seating.runs if run.guest]
        seated = [(update, run) for update, run in found if update is not None]
        if not seated:
            return
        if len(self.seating.runs) == 1:  # also of what is no row of a text, such as one row of positions for all
            self._add_to(out, x, seated[0][0])
            return
        each, rows = x.shape[0] // self.seating.rows, sum(run.stop - run.start for _, run in seated)
        alike = len({update.a.shape for update, _ in seated}) == 1
        if alike and rows == self.seating.rows and rows < ROWS_EACH * len(seated):
            self._add_at_once([update for update, run in seated for _ in range(run.start, run.stop)], x, out)
            return
        for update, run in seated:
            mine = slice(run.start * each, run.stop * each)
            self._add_to(out[mine], x[mine], update)

    def _add_to(self, out: Tensor, x: Tensor, update: Update) -> None:
        out.addmm_(x @ update.a.T, update.b.T, alpha=update.scale)

    def _add_at_once(self, updates: Sequence[Update], x: Tensor, out: Tensor) -> None:
        """An update for each row, all of one rank."""
        rows = len(updates)
        scales = torch.tensor([update.scale for update in updates], dtype=x.dtype, device=x.device)
        low = torch.bmm(x.view(rows, -1, self.in_features), torch.stack([update.a for update in updates]).mT)
        low.mul_(scales[:, None, None])
        out.view(rows, -1, self.out_features).baddbmm_(low, torch.stack([update.b for update in updates]).mT)


class Mixture:
    """A second skeleton of the trunk, whose linear layers take guests. It is computed by one thread at a time.

    In bf16 the matrix products of the layers are computed in it; what is between them, and heads, in float32. An
    adapter on other than linear layers is hosted by PEFT, in float32.
    """

    def __init__(self, model: nn.Module, depth: int, precision: str = "fp32") -> None:
        self._bare, self._depth, self.precision = model, depth, precision
        self._seating = Seating()
        self._skeleton: Any = None
        self._known: WeakKeyDictionary[Adapter, bool] = WeakKeyDictionary()  # whether it sits in the skeleton
        self._host = adapters.Host(model)
        self._floors: Floors | None = None

    @property
    def skeleton(self) -> Any:
        """Made when it is first needed: whoever has no guests in float32 pays nothing."""
        if self._skeleton is None:
            self._skeleton = adapters.share(self._bare)
            if self.precision != "fp32":
                name, _ = layers_of(self._bare, self._depth)
                for path, layer in list(self._skeleton.named_modules()):
                    if path.startswith(f"{name}.") and type(layer) is nn.Linear:
                        self._hosted(path, layer)
        return self._skeleton

    def _hosted(self, path: str, layer: nn.Module) -> HostedLinear:
        if isinstance(layer, HostedLinear):
            return layer
        assert isinstance(layer, nn.Linear)
        made = HostedLinear(layer, DTYPES[self.precision], self._seating)
        owner, _, leaf = path.rpartition(".")
        setattr(self.skeleton.get_submodule(owner), leaf, made)
        return made

    @torch.inference_mode(False)  # what is made here outlives the pass that asks for it
    def welcome(self, guest: Adapter) -> bool:
        """Seat a guest; False where PEFT has to host it. Raises ArtifactError where it does not fit the trunk."""
        if guest not in self._known:
            places = adapters.places(self._bare, guest)
            if places is not None:
                for path, (a, b, scale) in places.items():
                    layer = self._hosted(path, self.skeleton.get_submodule(path))
                    dtype, device = layer.weight.dtype, layer.weight.device
                    layer.guests[guest] = Update(a.to(device, dtype), b.to(device, dtype), scale)
            self._known[guest] = places is not None
        return self._known[guest]

    def __call__(self, guests: Sequence[Adapter | None], **inputs: Any) -> Any:
        """The trunk's output with each row under its own adapter (None: the bare trunk)."""
        self._host.tidy()
        hosted = [self.welcome(guest) for guest in dict.fromkeys(guests) if guest]
        if not all(hosted):
            return self._host(guests, **inputs)
        if not hosted and self.precision == "fp32":
            return self._bare(**inputs)
        with self._seating.of(guests):
            return self.skeleton(**inputs)

    def floors(self, sample: dict[str, Any]) -> Floors | None:
        """The skeleton to be entered between its layers; None where the architecture does not take that."""
        if self._floors is None:
            self._floors = Floors(self.skeleton, self._depth, sample)
        return self._floors if self._floors.open else None

    def onward(self, first: int, states: Tensor, guests: Sequence[Adapter | None], inputs: dict[str, Any]) -> Any:
        """The output from states float[B, T, D] that enter layer `first`, below which no guest has anything.

        The guests sit already (`sits`).
        """
        assert self._floors is not None
        with self._seating.of(guests):
            return self._floors.onward(first, states, inputs)

    def sits(self, guest: Adapter | None) -> bool:
        """Whether it is seated in the skeleton, or is nobody."""
        return guest is None or self.welcome(guest)


class _Left(Exception):
    """All that was wanted of a pass is known."""


class _Door(nn.Module):
    """Stands before a layer: notes the states that enter it, or passes on what entered above."""

    def __init__(self, layer: nn.Module, number: int, floors: Floors) -> None:
        super().__init__()
        self.layer = layer
        self.number = number
        object.__setattr__(self, "_floors", floors)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("layer"), name)

    def forward(self, hidden_states: Tensor, *args: Any, **options: Any) -> Any:
        floors: Floors = self._floors
        if self.number < floors.first:
            states = floors.states if self.number == 0 else hidden_states
            return states if floors.others is None else (states, *[None] * floors.others)
        if self.number in floors.wanted:
            floors.seen[self.number] = hidden_states
            if self.number == floors.last:
                raise _Left
        out = self.layer(hidden_states, *args, **options)
        if floors.trying:
            floors.others = len(out) - 1 if isinstance(out, tuple) else None
        return out


class Floors:
    """Layers that can be entered with states and left with them. Changes the model in place."""

    def __init__(self, model: Any, depth: int, sample: dict[str, Any]) -> None:
        self.model, self.states = model, torch.empty(0)
        self.first, self.last = 0, depth
        self.wanted: frozenset[int] = frozenset()
        self.seen: dict[int, Tensor] = {}
        self.others: int | None = None
        self.trying = True
        _, layers = layers_of(model, depth)
        own = list(layers)
        expected = model(**sample).last_hidden_state
        for number, layer in enumerate(own):
            layers[number] = _Door(layer, number, self)
        self.open = self._agrees(expected, sample)
        self.trying = False
        if not self.open:
            for number, layer in enumerate(own):
                layers[number] = layer

    def _agrees(self, expected: Tensor, sample: dict[str, Any]) -> bool:
        """Tried at the middle on the sample."""
        real, middle = sample["attention_mask"].bool(), max(self.last // 2, 1)
        if middle >= self.last:
            return False
        try:
            whole = self.model(**sample).last_hidden_state
            self.trying = False
            states = self.below(frozenset({middle}), sample)[middle]
            cut = self.onward(middle, states, sample).last_hidden_state
        except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError):
            return False
        return all(torch.allclose(one[real], expected[real], atol=1e-4, rtol=1e-4) for one in (whole, cut))

    def below(self, levels: frozenset[int], inputs: dict[str, Any]) -> dict[int, Tensor]:
        """States float[B, T, D] that enter these layers, the depth meaning those that leave the last one."""
        depth, self.wanted, self.seen, self.last = self.last, levels, {}, max(levels)
        try:
            out = self.model(**inputs).last_hidden_state
            return {**self.seen, depth: out}
        except _Left:
            return dict(self.seen)
        finally:
            self.wanted, self.seen, self.last = frozenset(), {}, depth

    def onward(self, first: int, states: Tensor, inputs: dict[str, Any]) -> Any:
        """The model's output for the texts of `inputs` from the states that enter layer `first`."""
        self.first, self.states = first, states
        try:
            return self.model(**inputs)
        finally:
            self.first, self.states = 0, torch.empty(0)
