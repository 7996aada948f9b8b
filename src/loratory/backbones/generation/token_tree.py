"""Continuations of one prompt as a tree in one row: a token that several begin with is computed once.

Every node stands at the position that it would have in its own continuation, under a mask that lets it see the prompt
and its own ancestors only, so it gets the state that it would get alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from loratory.protocols import TokenIds


def pad_rows(rows: Sequence[TokenIds], pad_id: int) -> tuple[Tensor, Tensor]:
    """Rows of ids to int64[B, T] and their mask; real tokens first, `pad_id` after them."""
    longest = max(map(len, rows))
    ids = [[*row, *[pad_id] * (longest - len(row))] for row in rows]
    mask = [[1] * len(row) + [0] * (longest - len(row)) for row in rows]
    return torch.tensor(ids, dtype=torch.long), torch.tensor(mask, dtype=torch.long)


@dataclass(frozen=True)
class TokenTree:
    """Prompt and continuations in one row. `parents[n]` is where in the row node n's predecessor stands."""

    ids: list[int]
    positions: list[int]
    parents: list[int]  # of the nodes, which stand behind the prompt
    paths: list[list[int]]  # of each continuation: its nodes, counted from 0 behind the prompt

    @classmethod
    def build(cls, prompt: TokenIds, continuations: Sequence[TokenIds]) -> TokenTree:
        """Nodes in the order of the continuations; a node is known by where its predecessor stands, and its token."""
        start = len(prompt)
        ids, positions = list(prompt), list(range(start))
        parents: list[int] = []
        known: dict[tuple[int, int], int] = {}
        paths = []
        for choice in continuations:
            at, path = start - 1, []
            for token in choice:
                if (at, token) not in known:
                    known[at, token] = len(ids)
                    parents.append(at)
                    positions.append(positions[at] + 1)
                    ids.append(token)
                at = known[at, token]
                path.append(at - start)
            paths.append(path)
        return cls(ids, positions, parents, paths)

    def build_mask(self) -> Tensor:
        """bool[T, T], what each place may look at: the prompt before it, and of the nodes its ancestors and itself."""
        size, start = len(self.ids), len(self.ids) - len(self.parents)
        seen = torch.ones(size, size, dtype=torch.bool).tril_()
        for node, parent in enumerate(self.parents, start):
            seen[node, start:] = seen[parent, start:] if parent >= start else False
            seen[node, node] = True
        return seen


def build_tree_inputs(trees: Sequence[TokenTree], prefix_length: int, pad_id: int) -> dict[str, Any]:
    """A padded batch of trees without their first `prefix_length` tokens, P: ids and positions int64[B, T], additive
    mask [B, 1, T, P + T].
    """
    longest = max(len(tree.ids) for tree in trees) - prefix_length
    ids = torch.full((len(trees), longest), pad_id)
    positions = torch.zeros(len(trees), longest, dtype=torch.long)
    seen = torch.zeros(len(trees), longest, prefix_length + longest, dtype=torch.bool)
    seen[:, :, prefix_length:] = torch.eye(longest, dtype=torch.bool)  # padding looks at itself: no row is empty
    for i, tree in enumerate(trees):
        size = len(tree.ids) - prefix_length
        ids[i, :size], positions[i, :size] = (
            torch.tensor(tree.ids[prefix_length:]),
            torch.tensor(tree.positions[prefix_length:]),
        )
        seen[i, :size, : prefix_length + size] = tree.build_mask()[prefix_length:]
    mask = torch.zeros(seen.shape).masked_fill_(~seen, torch.finfo(torch.float32).min)
    return {"input_ids": ids, "position_ids": positions, "attention_mask": mask[:, None]}


def build_row_inputs(trees: Sequence[TokenTree], prefix_length: int, pad_id: int) -> dict[str, Any]:
    """As `build_tree_inputs`, of trees with one branch each: ordinary rows under an ordinary mask int64[B, P + T]."""
    ids, mask = pad_rows([tuple(tree.ids[prefix_length:]) for tree in trees], pad_id)
    if not prefix_length:
        return {"input_ids": ids, "attention_mask": mask}
    positions = torch.arange(prefix_length, prefix_length + ids.shape[1]).repeat(len(trees), 1)
    mask = torch.cat([mask.new_ones(len(trees), prefix_length), mask], -1)
    return {"input_ids": ids, "position_ids": positions, "attention_mask": mask}
