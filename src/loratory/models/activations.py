"""Outputs of frozen trunks, computed once for each text and shared by contenders, seeds and trials."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from loratory.protocols import Encode, Network, Run, Tokens, Trunk

if TYPE_CHECKING:
    from torch import Tensor


def pool(states: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """One vector per text, float[B, D], from states float[B, T, D] under a mask int[B, T].

    mean and max go over real tokens; cls is the first token, last the last real one.
    """
    if pooling == "cls":
        return states[:, 0]
    if pooling == "last":
        return states[torch.arange(len(states), device=states.device), mask.sum(-1) - 1]
    weight = mask[..., None].to(states.dtype)
    if pooling == "max":
        return states.masked_fill(weight == 0, -torch.inf).amax(1)
    return (states * weight).sum(1) / weight.sum(1)


class Pooling(torch.nn.Module):
    """A head without weights: the pooled state."""

    def __init__(self, pooling: str) -> None:
        super().__init__()
        self.pooling = pooling

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        return pool(states, mask, self.pooling)


class Remembered:
    """Pooled states in memory, keyed by (trunk, pooling, ids).

    `lent` counts the seconds that a caller was spared because another had computed its rows: who reports what a fit
    costs adds them, so that the first contender does not pay for all.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._known: dict[tuple[str, str], dict[Tokens, Tensor]] = {}
        self._seconds: dict[tuple[str, str], float] = {}
        self.lent = 0.0

    def pooled(self, trunk: Trunk, pooling: str, rows: Sequence[Tokens]) -> Tensor:
        key = (trunk.digest, pooling)
        known = self._known.setdefault(key, {})
        wanted = list(dict.fromkeys(rows))
        new = [row for row in wanted if row not in known]
        if known:
            self.lent += self._seconds[key] / len(known) * (len(wanted) - len(new))
        if new:
            started = time.perf_counter()
            network = Network(trunk, None, Pooling(pooling))
            known.update(zip(new, self._run([Encode(network, row) for row in new]), strict=True))
            self._seconds[key] = self._seconds.get(key, 0.0) + time.perf_counter() - started
        return torch.stack([known[row] for row in rows]) if rows else torch.empty(0, trunk.width)
