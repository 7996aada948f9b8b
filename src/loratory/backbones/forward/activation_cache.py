"""Outputs of frozen backbones and of their lower layers, computed once for each text and shared by whoever asks."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch

from loratory.backbones.forward.precision import DTYPES
from loratory.errors import BaseModelError, StorageError
from loratory.protocols import Backbone, EncodeRequest, Network, RequestRunner, TokenIds

if TYPE_CHECKING:
    from torch import Tensor

MAX_MEMORY_BYTES = 2 << 30  # bytes of one block of remembered states; a larger one is mapped from a file


def pool_states(states: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """One vector per text, float[B, D], from states float[B, T, D] under a mask int[B, T].

    mean and max go over real tokens; cls is the first token, last the last real one.
    """
    if pooling == "cls":
        return states[:, 0]
    if pooling == "last":
        return states[
            torch.arange(states.shape[0], device=states.device), mask.sum(-1) - 1
        ]  # len() would be a constant
    weight = mask[..., None].to(states.dtype)
    if pooling == "max":
        return states.masked_fill(weight == 0, -torch.inf).amax(1)
    return (states * weight).sum(1) / weight.sum(1)


class PoolingHead(torch.nn.Module):
    """A head without weights: the pooled state."""

    def __init__(self, pooling: str) -> None:
        super().__init__()
        self.pooling = pooling

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """As `pool_states`: float[B, D]."""
        return pool_states(states, mask, self.pooling)


def allocate_states(tokens: int, width: int, dtype: torch.dtype, max_memory_bytes: int = MAX_MEMORY_BYTES) -> Tensor:
    """An empty [tokens, width]: in memory up to `max_memory_bytes`, above it a file that goes when the process does.

    Raises StorageError when the disk has no room for it.
    """
    size = tokens * width * dtype.itemsize
    if size <= max_memory_bytes:
        return torch.empty(tokens, width, dtype=dtype)
    with tempfile.NamedTemporaryFile(prefix="loratory-states-") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size)  # a full disk says so here, not by a fault while writing
        except OSError as problem:
            raise StorageError(
                f"no room for {size / 2**20:,.0f} MiB of remembered states: {problem.strerror}",
                where=tempfile.gettempdir(),
                remedy="free some space, set TMPDIR to a larger disk, or set training.cache: off",
            ) from problem
        made = torch.from_file(file.name, shared=True, size=tokens * width, dtype=dtype)
    return made.view(tokens, width)


def allocate_rows(rows: Sequence[TokenIds], width: int, dtype: torch.dtype) -> tuple[Tensor, list[slice]]:
    """Room for the states of all rows, one behind another, and the place of each. Raises StorageError."""
    ends = list(accumulate(map(len, rows)))
    places = [slice(end - len(row), end) for end, row in zip(ends, rows, strict=True)]
    return allocate_states(ends[-1], width, dtype), places


@runtime_checkable
class LayerCapture(Protocol):
    """A capability of backbones: pooled states, and the states that enter a layer, from one pass."""

    def compute_pooled_and_layer_inputs(
        self, pooling: str, first_layer: int, rows: Sequence[TokenIds]
    ) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Number of a row, its pooled state float[D], and float[T, D]. Raises BaseModelError."""


class ActivationCache:
    """Pooled states, and states that enter a layer, by the backbone's digest, what was computed, and token ids.

    Token ids stand for the text and its tokenizer at once. `shared_seconds` counts the seconds that a caller was
    spared because another had computed its rows: who reports what a fit costs adds them, so that the first one does
    not pay for all.
    """

    def __init__(self, run: RequestRunner) -> None:
        self._run = run
        self._states: dict[tuple[str, str], dict[TokenIds, Tensor]] = {}
        self._seconds: dict[tuple[str, str], float] = {}
        self._planned: dict[str, Callable[[int], int]] = {}
        self.shared_seconds = 0.0

    def plan_layer_inputs(self, digest: str, choose_layer: Callable[[int], int]) -> None:
        """Keep the states that enter a layer whenever pooled states of this backbone are computed: they will be asked
        for. `choose_layer` tells the layer by the backbone's depth; 0 keeps none.
        """
        self._planned.setdefault(digest, choose_layer)

    def lookup_layer_inputs(
        self, backbone: Backbone, first_layer: int, rows: Sequence[TokenIds], precision: str
    ) -> Callable[[Sequence[TokenIds]], list[Tensor]]:
        """A look-up of the states that enter `first_layer`, float[T, D] in `precision`, of these rows."""
        known = self._compute_missing(
            (backbone.digest, f"layer {first_layer} in {precision}"),
            rows,
            lambda new: self._compute_layer_inputs(backbone, first_layer, new, precision),
        )
        return lambda asked: [known[row] for row in asked]

    def _compute_missing(
        self, key: tuple[str, str], rows: Sequence[TokenIds], compute: Callable[[list[TokenIds]], Iterable[Tensor]]
    ) -> dict[TokenIds, Tensor]:
        """What is known under the key, with the rows that were not there computed."""
        known = self._states.setdefault(key, {})
        wanted = list(dict.fromkeys(rows))
        new = [row for row in wanted if row not in known]
        if known:
            self.shared_seconds += self._seconds[key] / len(known) * (len(wanted) - len(new))
        if new:
            started = time.perf_counter()
            known.update(zip(new, compute(new), strict=True))
            self._seconds[key] = self._seconds.get(key, 0.0) + time.perf_counter() - started
        return known

    @staticmethod
    def _compute_layer_inputs(
        backbone: Backbone, first_layer: int, rows: Sequence[TokenIds], precision: str
    ) -> Iterator[Tensor]:
        block, places = allocate_rows(rows, backbone.width, DTYPES[precision])
        for i, states in backbone.compute_layer_inputs(first_layer, rows, precision):
            block[places[i]] = states
        return (block[place] for place in places)

    def compute_pooled(self, backbone: Backbone, pooling: str, rows: Sequence[TokenIds]) -> Tensor:
        """One vector for each row, float[N, D], under no adapter."""
        network = Network(backbone, None, PoolingHead(pooling))
        planned = self._planned.get(backbone.digest)
        layer = planned(backbone.depth) if planned else 0

        def compute(new: list[TokenIds]) -> Iterable[Tensor]:
            if layer > 0 and isinstance(backbone, LayerCapture):
                kept = self._compute_with_layer_inputs(backbone, pooling, layer, new)
                if kept is not None:
                    return kept
            return self._run([EncodeRequest(network, row) for row in new])

        known = self._compute_missing((backbone.digest, pooling), rows, compute)
        return torch.stack([known[row] for row in rows]) if rows else torch.empty(0, backbone.width)

    def _compute_with_layer_inputs(
        self, backbone: Any, pooling: str, layer: int, rows: Sequence[TokenIds]
    ) -> list[Tensor] | None:
        """Pooled states, while the states that enter the layer are kept; None where the architecture cannot.

        The layer's share of the time is noted for whoever is spared it.
        """
        started = time.perf_counter()
        block, places = allocate_rows(rows, backbone.width, DTYPES["fp32"])
        pooled: list[Tensor] = [torch.empty(0)] * len(rows)
        try:
            for i, vector, states in backbone.compute_pooled_and_layer_inputs(pooling, layer, rows):
                pooled[i], block[places[i]] = vector, states
        except BaseModelError:
            return None
        key = (backbone.digest, f"layer {layer} in fp32")
        known = self._states.setdefault(key, {})
        known.update({row: block[place] for row, place in zip(rows, places, strict=True) if row not in known})
        share = (time.perf_counter() - started) * layer / backbone.depth
        self._seconds[key] = self._seconds.get(key, 0.0) + share
        return pooled
