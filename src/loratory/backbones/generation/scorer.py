"""What a causal base says next: its output layer, and the log-probabilities of continuations of a prompt.

Continuations of one prompt share a tree: a token that several begin with is computed once, under a mask that lets each
node see the prompt and its own ancestors only. Prompts share their common beginning (prefixes.py). Whether an
architecture computes either rightly is tried before it is believed (trials.py); where it does not compute a tree,
every continuation is a row of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from loratory.backbones.generation.prefix_cache import Forward, SharedPrefix, group_by_prefix
from loratory.protocols import Alive, GenerateRequest, ScoreRequest, TokenIds, is_always_alive

MAX_LOGITS = 1 << 24  # logits computed at once: vocabularies are large


class LMHead(nn.Module):
    """Final states float[..., D] to logits float[..., V], with what some architectures do to them afterwards."""

    def __init__(self, layer: nn.Module, config: Any) -> None:
        super().__init__()
        self.layer = layer
        self.vocab_size = len(layer.weight)  # type: ignore[arg-type]
        self.logit_softcap = getattr(config, "final_logit_softcapping", None)  # Gemma 2
        self.logit_scale = float(getattr(config, "logit_scale", None) or 1.0)  # Cohere
        self.logit_scale /= float(getattr(config, "logits_scaling", None) or 1.0)  # Granite

    def forward(self, states: Tensor) -> Tensor:
        logits: Tensor = self.layer(states) * self.logit_scale
        return torch.tanh(logits / self.logit_softcap) * self.logit_softcap if self.logit_softcap else logits


@torch.no_grad()
def find_lm_head(model: Any) -> LMHead | None:
    """The output layer of a whole causal model; None where it has none, or does more than we know of.

    Of a model without weights the latter is not seen (skeletons.speaks tries it).
    """
    layer = model.get_output_embeddings()
    if layer is None:
        return None
    lm_head = LMHead(layer, model.config.get_text_config())
    if layer.weight.is_meta:
        return lm_head
    ids = torch.tensor([[1, 2, 3, 4]], device=layer.weight.device)
    states = model.base_model(input_ids=ids).last_hidden_state
    return lm_head if torch.allclose(lm_head(states), model(input_ids=ids).logits, atol=1e-4, rtol=1e-4) else None


def pad_rows(rows: Sequence[TokenIds], pad_id: int) -> tuple[Tensor, Tensor]:
    """Rows of ids to int64[B, T] and their mask; real tokens first, `fill` after them."""
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
        """Bool[T, T]: what each place may look at."""
        size, start = len(self.ids), len(self.ids) - len(self.parents)
        seen = torch.ones(size, size, dtype=torch.bool).tril_()
        for node, parent in enumerate(self.parents, start):
            seen[node, start:] = seen[parent, start:] if parent >= start else False
            seen[node, node] = True
        return seen


def _build_tree_inputs(trees: Sequence[TokenTree], prefix_length: int, pad_id: int) -> dict[str, Any]:
    """A padded batch of trees without their first `behind` tokens, P: ids and positions int64[B, T], additive mask
    [B, 1, T, P + T].
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


def _build_row_inputs(trees: Sequence[TokenTree], prefix_length: int, pad_id: int) -> dict[str, Any]:
    """As `_inputs`, of trees with one branch each: ordinary rows under an ordinary mask int64[B, P + T]."""
    ids, mask = pad_rows([tuple(tree.ids[prefix_length:]) for tree in trees], pad_id)
    if not prefix_length:
        return {"input_ids": ids, "attention_mask": mask}
    positions = torch.arange(prefix_length, prefix_length + ids.shape[1]).repeat(len(trees), 1)
    mask = torch.cat([mask.new_ones(len(trees), prefix_length), mask], -1)
    return {"input_ids": ids, "position_ids": positions, "attention_mask": mask}


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
            lay = _build_tree_inputs if scoring_mode.trees else _build_row_inputs
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
        heads, which = torch.unique(parents, return_inverse=True)
        said = torch.empty(len(tokens), dtype=torch.float64)
        step = max(MAX_LOGITS // self.lm_head.vocab_size, 1)
        for start in range(0, len(heads), step):
            odds = self.lm_head(states[heads[start : start + step]]).float().log_softmax(-1)
            mine = ((which >= start) & (which < start + step)).nonzero().flatten()
            said[mine.cpu()] = odds[which[mine] - start, tokens[mine]].double().cpu()
        return torch.stack([said[path].sum() for path in tree.paths])
