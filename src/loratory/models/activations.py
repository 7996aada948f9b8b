"""Outputs of frozen trunks, computed once for each text and shared by contenders, seeds and trials."""

from __future__ import annotations

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
    """Pooled states in memory, keyed by (trunk, pooling, ids)."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._known: dict[tuple[str, str], dict[Tokens, Tensor]] = {}

    def pooled(self, trunk: Trunk, pooling: str, rows: Sequence[Tokens]) -> Tensor:
        known = self._known.setdefault((trunk.digest, pooling), {})
        new = [row for row in dict.fromkeys(rows) if row not in known]
        if new:
            network = Network(trunk, None, Pooling(pooling))
            known.update(zip(new, self._run([Encode(network, row) for row in new]), strict=True))
        return torch.stack([known[row] for row in rows]) if rows else torch.empty(0, trunk.width)
