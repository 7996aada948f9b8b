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

from loratory.models.prefixes import Forward, Prefix, prefixes
from loratory.protocols import Alive, Score, Tokens, Write, always

LOGITS = 1 << 24  # logits computed at once: vocabularies are large


class Voice(nn.Module):
    """Final states float[..., D] to logits float[..., V], with what some architectures do to them afterwards."""

    def __init__(self, layer: nn.Module, config: Any) -> None:
        super().__init__()
        self.layer = layer
        self.vocabulary = len(layer.weight)  # type: ignore[arg-type]
        self.cap = getattr(config, "final_logit_softcapping", None)  # Gemma 2
        self.factor = float(getattr(config, "logit_scale", None) or 1.0)  # Cohere
        self.factor /= float(getattr(config, "logits_scaling", None) or 1.0)  # Granite

    def forward(self, states: Tensor) -> Tensor:
        logits: Tensor = self.layer(states) * self.factor
        return torch.tanh(logits / self.cap) * self.cap if self.cap else logits


@torch.no_grad()
def voice_of(model: Any) -> Voice | None:
    """The output layer of a whole causal model; None where it has none, or does more than we know of.

    Of a model without weights the latter is not seen (skeletons.speaks tries it).
    """
    layer = model.get_output_embeddings()
    if layer is None:
        return None
    voice = Voice(layer, model.config.get_text_config())
    if layer.weight.is_meta:
        return voice
    ids = torch.tensor([[1, 2, 3, 4]], device=layer.weight.device)
    states = model.base_model(input_ids=ids).last_hidden_state
    return voice if torch.allclose(voice(states), model(input_ids=ids).logits, atol=1e-4, rtol=1e-4) else None


def pad(rows: Sequence[Tokens], fill: int) -> tuple[Tensor, Tensor]:
    """Rows of ids to int64[B, T] and their mask; real tokens first, `fill` after them."""
    longest = max(map(len, rows))
    ids = [[*row, *[fill] * (longest - len(row))] for row in rows]
    mask = [[1] * len(row) + [0] * (longest - len(row)) for row in rows]
    return torch.tensor(ids, dtype=torch.long), torch.tensor(mask, dtype=torch.long)


@dataclass(frozen=True)
class Tree:
    """Prompt and continuations in one row. `parents[n]` is where in the row node n's predecessor stands."""

    ids: list[int]
    positions: list[int]
    parents: list[int]  # of the nodes, which stand behind the prompt
    paths: list[list[int]]  # of each continuation: its nodes, counted from 0 behind the prompt

    @classmethod
    def of(cls, prompt: Tokens, choices: Sequence[Tokens]) -> Tree:
        start = len(prompt)
        ids, positions = list(prompt), list(range(start))
        parents: list[int] = []
        known: dict[tuple[int, int], int] = {}
        paths = []
        for choice in choices:
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

    def mask(self) -> Tensor:
        """Bool[T, T]: what each place may look at."""
        size, start = len(self.ids), len(self.ids) - len(self.parents)
        seen = torch.ones(size, size, dtype=torch.bool).tril_()
        for node, parent in enumerate(self.parents, start):
            seen[node, start:] = seen[parent, start:] if parent >= start else False
            seen[node, node] = True
        return seen


def _inputs(trees: Sequence[Tree], behind: int, fill: int) -> dict[str, Any]:
    """A padded batch of trees without their first `behind` tokens, P: ids and positions int64[B, T], additive mask
    [B, 1, T, P + T].
    """
    longest = max(len(tree.ids) for tree in trees) - behind
    ids = torch.full((len(trees), longest), fill)
    positions = torch.zeros(len(trees), longest, dtype=torch.long)
    seen = torch.zeros(len(trees), longest, behind + longest, dtype=torch.bool)
    seen[:, :, behind:] = torch.eye(longest, dtype=torch.bool)  # padding looks at itself: no row is empty
    for i, tree in enumerate(trees):
        size = len(tree.ids) - behind
        ids[i, :size], positions[i, :size] = torch.tensor(tree.ids[behind:]), torch.tensor(tree.positions[behind:])
        seen[i, :size, : behind + size] = tree.mask()[behind:]
    mask = torch.zeros(seen.shape).masked_fill_(~seen, torch.finfo(torch.float32).min)
    return {"input_ids": ids, "position_ids": positions, "attention_mask": mask[:, None]}


def _rows(trees: Sequence[Tree], behind: int, fill: int) -> dict[str, Any]:
    """As `_inputs`, of trees with one branch each: ordinary rows under an ordinary mask int64[B, P + T]."""
    ids, mask = pad([tuple(tree.ids[behind:]) for tree in trees], fill)
    if not behind:
        return {"input_ids": ids, "attention_mask": mask}
    positions = torch.arange(behind, behind + ids.shape[1]).repeat(len(trees), 1)
    mask = torch.cat([mask.new_ones(len(trees), behind), mask], -1)
    return {"input_ids": ids, "position_ids": positions, "attention_mask": mask}


@dataclass(frozen=True)
class Manner:
    """How requests are computed: choices as trees or as rows, prompts behind a shared beginning or each whole."""

    trees: bool = False
    shared: bool = False


@dataclass(frozen=True)
class Speaker:
    """A trunk's means of speaking: its output layer, the id that fills rows, its device, and how it batches."""

    voice: Voice
    fill: int
    device: str
    batches: Callable[[Sequence[int]], Iterator[list[int]]]  # lengths -> batches of places

    def passes(
        self, requests: Sequence[Score | Write], lengths: Sequence[int], shared: bool, wanted: Alive
    ) -> Iterator[tuple[Prefix, list[int]]]:
        """Batches of requests that are still wanted, with the beginning that they share."""
        for prefix in prefixes(requests) if shared else [Prefix((), list(range(len(requests))))]:
            for batch in self.batches([lengths[row] for row in prefix.rows]):
                if rows := [prefix.rows[k] for k in batch if wanted(prefix.rows[k])]:
                    yield prefix, rows

    @torch.inference_mode()
    def scores(
        self, requests: Sequence[Score], forward: Forward, manner: Manner, alive: Alive = always
    ) -> list[Tensor]:
        """Log-probabilities float64[C] of each request's choices."""
        work = [
            (place, Tree.of(request.prompt, choices))
            for place, request in enumerate(requests)
            for choices in ([request.choices] if manner.trees else [(choice,) for choice in request.choices])
        ]
        rows, lengths = [requests[place] for place, _ in work], [len(tree.ids) for _, tree in work]
        parts: dict[int, Tensor] = {}
        for prefix, batch in self.passes(rows, lengths, manner.shared, lambda row: alive(work[row][0])):
            lay = _inputs if manner.trees else _rows
            inputs = lay([work[row][1] for row in batch], len(prefix.ids), self.fill)
            inputs = {name: t.to(self.device) for name, t in inputs.items()}
            mine = [rows[row] for row in batch]
            if prefix.ids:
                inputs["past_key_values"] = prefix.cache(forward, mine[0], len(mine), self.device)
            for row, states in zip(batch, forward(mine, inputs), strict=True):
                parts[row] = self._read(work[row][1], len(prefix.ids), states)
        found: dict[int, list[Tensor]] = {place: [] for place in range(len(requests))}
        for row, (place, tree) in enumerate(work):
            found[place].append(parts.get(row, torch.full((len(tree.paths),), -torch.inf, dtype=torch.float64)))
        return [torch.cat(found[place]) for place in range(len(requests))]

    def _read(self, tree: Tree, behind: int, states: Tensor) -> Tensor:
        """Sums over each continuation's tokens, float64[C]; `states` begin behind so many tokens of the tree."""
        tokens = torch.tensor(tree.ids[len(tree.ids) - len(tree.parents) :], device=states.device)
        parents = torch.tensor(tree.parents, device=states.device) - behind
        heads, which = torch.unique(parents, return_inverse=True)
        said = torch.empty(len(tokens), dtype=torch.float64)
        step = max(LOGITS // self.voice.vocabulary, 1)
        for start in range(0, len(heads), step):
            odds = self.voice(states[heads[start : start + step]]).float().log_softmax(-1)
            mine = ((which >= start) & (which < start + step)).nonzero().flatten()
            said[mine.cpu()] = odds[which[mine] - start, tokens[mine]].double().cpu()
        return torch.stack([said[path].sum() for path in tree.paths])
