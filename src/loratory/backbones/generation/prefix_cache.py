"""What prompts have in common, computed once: rows go on behind the keys and values of their shared beginning.

Prompts of one task begin with the same tokens (the system message, the labels, the shots). What a causal model makes of
a beginning does not depend on what follows it, so it is the same for all of them, under one adapter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from loratory.protocols import GenerateRequest, ScoreRequest, TokenIds

if TYPE_CHECKING:
    from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

# Forward of a batch: its requests, and the model's inputs -> final states float[B, T, D]
Forward = Callable[[Sequence[ScoreRequest | GenerateRequest], dict[str, Any]], Tensor]

MIN_PREFIX_TOKENS = (
    16  # tokens: a beginning costs a pass of its own, and fewer (a chat template's first ones) do not pay it back
)
MIN_PREFIX_ROWS = 2  # that share a beginning: one alone would not be spared anything


@dataclass
class SharedPrefix:
    """A beginning and its rows. `ids` are empty where the rows share nothing. It lives for one call."""

    ids: TokenIds
    rows: list[int]
    _layers: PrefixLayers = field(default_factory=list)

    def create_cache(
        self, forward: Forward, request: ScoreRequest | GenerateRequest, rows: int, device: str
    ) -> DynamicCache:
        """A fresh cache for a batch, which holds the beginning for each row; `request` is of one of these rows."""
        if self.ids and not self._layers:
            self._layers = compute_prefix_layers(lambda inputs: forward([request], inputs), self.ids, device)
        return expand_prefix(self._layers, rows)


PrefixLayers = list[tuple[Tensor, Tensor]]  # each layer's keys and values, [1, H, P, D / H]


def compute_prefix_layers(forward: Callable[[dict[str, Any]], object], ids: TokenIds, device: str) -> PrefixLayers:
    """Keys and values of a beginning in each layer, with gradients where they are on.

    Raises ValueError where an architecture remembers anything else than keys and values of every token.
    """
    from transformers import DynamicCache

    cache = DynamicCache()
    row = torch.tensor([ids], device=device)
    positions = torch.arange(len(ids), device=device)[None]
    inputs = {"input_ids": row, "attention_mask": torch.ones_like(row), "position_ids": positions}
    forward({**inputs, "past_key_values": cache, "use_cache": True})
    layers: list[Any] = cache.layers
    if not is_plain_cache(cache, len(ids)):
        raise ValueError("its cache is not one of keys and values for every token")
    return [(layer.keys, layer.values) for layer in layers]


def expand_prefix(layers: PrefixLayers, rows: int) -> DynamicCache:
    """A fresh cache that holds a beginning for so many rows."""
    from transformers import DynamicCache

    cache = DynamicCache()
    for pair in layers:
        keys, values = (part.expand(rows, -1, -1, -1) for part in pair)
        cache.layers.append(create_cache_layer(keys, values))  # views: what is written behind them goes into a copy
    return cache


def is_plain_cache(cache: Cache, tokens: int) -> bool:
    """Whether it remembers keys and values of so many tokens, and nothing else."""
    from transformers.cache_utils import DynamicLayer

    layers: list[Any] = cache.layers
    return bool(layers) and all(type(one) is DynamicLayer and one.get_seq_length() == tokens for one in layers)


def create_cache_layer(keys: Tensor, values: Tensor) -> DynamicLayer:
    """A layer of a cache that holds these, [B, H, T, D / H]."""
    from transformers.cache_utils import DynamicLayer

    layer = DynamicLayer()  # type: ignore[no-untyped-call]
    layer.lazy_initialization(keys, values)
    layer.keys, layer.values = keys, values
    return layer


def group_by_prefix(requests: Sequence[ScoreRequest | GenerateRequest]) -> list[SharedPrefix]:
    """Requests by what their prompts share; those that share nothing worth it come last, together.

    They belong together when they begin with the same MIN_PREFIX_TOKENS tokens under the same adapter. At least one
    token of each prompt is left over.
    """
    alike: dict[tuple[str | None, TokenIds], list[int]] = {}
    alone: list[int] = []
    for row, request in enumerate(requests):
        adapter, prompt = request.network.adapter, request.prompt
        known = (adapter.digest if adapter else None, prompt[:MIN_PREFIX_TOKENS])
        (alike.setdefault(known, []) if len(prompt) > MIN_PREFIX_TOKENS else alone).append(row)
    found = []
    for rows in alike.values():
        if len(rows) < MIN_PREFIX_ROWS:
            alone += rows
        else:
            found.append(SharedPrefix(find_common_prefix([requests[row].prompt for row in rows]), rows))
    return [*found, SharedPrefix((), sorted(alone))]


def find_common_prefix(prompts: Sequence[TokenIds]) -> TokenIds:
    """The longest beginning of all that is shorter than each: first and last in order differ the earliest."""
    most = min(map(len, prompts)) - 1
    first, last = min(prompts), max(prompts)
    return first[: next((k for k in range(most) if first[k] != last[k]), most)]
