"""The log-probabilities of continuations of a prompt, as a causal model gives them.

Continuations of one prompt share a tree (token_tree.py), prompts their common beginning (prefix_cache.py). Whether an
architecture computes either rightly is probed (forward/capability_probes.py); where it does not compute a tree, every
continuation is a row of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from loratory.backbones.generation.lm_head import LMHead
from loratory.backbones.generation.prefix_cache import Forward, SharedPrefix, group_by_prefix
from loratory.backbones.generation.token_tree import TokenTree, build_row_inputs, build_tree_inputs
from loratory.protocols import Alive, GenerateRequest, ScoreRequest, is_always_alive

MAX_LOGITS = 1 << 24  # logits computed at once: vocabularies are large


@dataclass(frozen=True)
class ScoringMode:
    """How requests are computed: choices as trees or as rows, prompts behind a shared beginning or each whole."""

    trees: bool = False
    share_prefixes: bool = False


@dataclass(frozen=True)
class Scorer:
    """A backbone's means of speaking: its output layer, the id that fills rows, its device, and how it batches."""

    lm_head: LMHead
    pad_id: int
    device: str
    split_batches: Callable[[Sequence[int]], Iterator[list[int]]]  # lengths -> batches of places

    def plan_batches(
        self,
        requests: Sequence[ScoreRequest | GenerateRequest],
        lengths: Sequence[int],
        share_prefixes: bool,
        is_wanted: Alive,
    ) -> Iterator[tuple[SharedPrefix, list[int]]]:
        """Batches of requests that are still wanted, with the beginning that they share."""
        for prefix in group_by_prefix(requests) if share_prefixes else [SharedPrefix((), list(range(len(requests))))]:
            for batch in self.split_batches([lengths[row] for row in prefix.rows]):
                if rows := [prefix.rows[k] for k in batch if is_wanted(prefix.rows[k])]:
                    yield prefix, rows

    @torch.inference_mode()
    def score(
        self,
        requests: Sequence[ScoreRequest],
        forward: Forward,
        scoring_mode: ScoringMode,
        alive: Alive = is_always_alive,
    ) -> list[Tensor]:
        """Log-probabilities float64[C] of each request's choices."""
        work = [
            (place, TokenTree.build(request.prompt, choices))
            for place, request in enumerate(requests)
            for choices in (
                [request.continuations] if scoring_mode.trees else [(choice,) for choice in request.continuations]
            )
        ]
        rows, lengths = [requests[place] for place, _ in work], [len(tree.ids) for _, tree in work]
        parts: dict[int, Tensor] = {}
        for prefix, batch in self.plan_batches(
            rows, lengths, scoring_mode.share_prefixes, lambda row: alive(work[row][0])
        ):
            lay = build_tree_inputs if scoring_mode.trees else build_row_inputs
            inputs = lay([work[row][1] for row in batch], len(prefix.ids), self.pad_id)
            inputs = {name: t.to(self.device) for name, t in inputs.items()}
            mine = [rows[row] for row in batch]
            if prefix.ids:
                inputs["past_key_values"] = prefix.create_cache(forward, mine[0], len(mine), self.device)
            for row, states in zip(batch, forward(mine, inputs), strict=True):
                parts[row] = self._sum_log_probabilities(work[row][1], len(prefix.ids), states)
        found: dict[int, list[Tensor]] = {place: [] for place in range(len(requests))}
        for row, (place, tree) in enumerate(work):
            found[place].append(parts.get(row, torch.full((len(tree.paths),), -torch.inf, dtype=torch.float64)))
        return [torch.cat(found[place]) for place in range(len(requests))]

    def _sum_log_probabilities(self, tree: TokenTree, prefix_length: int, states: Tensor) -> Tensor:
        """Sums over each continuation's tokens, float64[C]; `states` begin behind so many tokens of the tree."""
        tokens = torch.tensor(tree.ids[len(tree.ids) - len(tree.parents) :], device=states.device)
        parents = torch.tensor(tree.parents, device=states.device) - prefix_length
        # Siblings ask the logits of the same parent, which are computed once; MAX_LOGITS of them at a time.
        heads, which = torch.unique(parents, return_inverse=True)
        found = torch.empty(len(tokens), dtype=torch.float64)
        step = max(MAX_LOGITS // self.lm_head.vocab_size, 1)
        for start in range(0, len(heads), step):
            logs = self.lm_head(states[heads[start : start + step]]).float().log_softmax(-1)
            mine = ((which >= start) & (which < start + step)).nonzero().flatten()
            found[mine.cpu()] = logs[which[mine] - start, tokens[mine]].double().cpu()
        return torch.stack([found[path].sum() for path in tree.paths])
