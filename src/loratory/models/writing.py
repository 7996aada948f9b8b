"""What a causal base says next: its output layer, and the log-probabilities of continuations of a prompt.

Continuations of one prompt share a tree: a token that several begin with is computed once, under a mask that lets each
node see the prompt and its own ancestors only. Whether an architecture computes such a tree rightly is tried before it
is believed; where it does not, every continuation is a row of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from loratory.protocols import Alive, Score, Tokens, always

LOGITS = 1 << 24  # logits computed at once: vocabularies are large
TOLERANCE = 1e-4  # of log-probabilities by tree and by rows, in float32

# Forward of a batch: places of its requests, and the model's inputs -> final states float[B, T, D]
Forward = Callable[[Sequence[int], dict[str, Tensor]], Tensor]


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
    """The output layer of a whole causal model; None where it has none, or does more than we know of."""
    layer = model.get_output_embeddings()
    if layer is None:
        return None
    voice = Voice(layer, model.config.get_text_config())
    ids = torch.tensor([[1, 2, 3, 4]], device=layer.weight.device)
    states = model.base_model(input_ids=ids).last_hidden_state
    return voice if torch.allclose(voice(states), model(input_ids=ids).logits, atol=1e-4, rtol=1e-4) else None


def pad(rows: Sequence[Tokens], fill: int) -> tuple[Tensor, Tensor]:
    """Rows of ids to int64[B, T] and their mask; real tokens first, `fill` after them."""
    ids = torch.full((len(rows), max(map(len, rows))), fill, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
        mask[i, : len(row)] = 1
    return ids, mask


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


def _inputs(trees: Sequence[Tree], fill: int, dtype: torch.dtype) -> dict[str, Tensor]:
    """A padded batch of trees: ids and positions int64[B, T], additive mask [B, 1, T, T]."""
    longest = max(len(tree.ids) for tree in trees)
    ids = torch.full((len(trees), longest), fill)
    positions = torch.zeros(len(trees), longest, dtype=torch.long)
    seen = torch.eye(longest, dtype=torch.bool).repeat(len(trees), 1, 1)  # padding looks at itself: no row is empty
    for i, tree in enumerate(trees):
        size = len(tree.ids)
        ids[i, :size], positions[i, :size] = torch.tensor(tree.ids), torch.tensor(tree.positions)
        seen[i, :size, :size] = tree.mask()
    mask = torch.zeros(seen.shape, dtype=dtype).masked_fill_(~seen, torch.finfo(dtype).min)
    return {"input_ids": ids, "position_ids": positions, "attention_mask": mask[:, None]}


@dataclass(frozen=True)
class Speaker:
    """A trunk's means of scoring: its output layer, the id that fills rows, its device, and how it batches."""

    voice: Voice
    fill: int
    device: str
    batches: Callable[[Sequence[int]], Iterator[list[int]]]  # lengths -> batches of places

    @torch.inference_mode()
    def scores(self, requests: Sequence[Score], forward: Forward, trees: bool, alive: Alive = always) -> list[Tensor]:
        """Log-probabilities float64[C] of each request's choices."""
        work = [
            (place, Tree.of(request.prompt, choices))
            for place, request in enumerate(requests)
            for choices in ([request.choices] if trees else [(choice,) for choice in request.choices])
        ]
        found: dict[int, list[Tensor]] = {place: [] for place in range(len(requests))}
        parts: dict[int, Tensor] = {}
        for batch in self.batches([len(tree.ids) for _, tree in work]):
            wanted = [i for i in batch if alive(work[i][0])]
            if wanted:
                parts |= self._batch({i: work[i] for i in wanted}, forward, trees)
        for i, (place, tree) in enumerate(work):
            found[place].append(parts.get(i, torch.full((len(tree.paths),), -torch.inf, dtype=torch.float64)))
        return [torch.cat(found[place]) for place in range(len(requests))]

    def _batch(self, work: dict[int, tuple[int, Tree]], forward: Forward, trees: bool) -> dict[int, Tensor]:
        those = [tree for _, tree in work.values()]
        if trees:
            inputs = _inputs(those, self.fill, torch.float32)
        else:  # each has one branch: an ordinary row under an ordinary mask
            ids, mask = pad([tuple(tree.ids) for tree in those], self.fill)
            inputs = {"input_ids": ids, "attention_mask": mask}
        places = [place for place, _ in work.values()]
        states = forward(places, {name: t.to(self.device) for name, t in inputs.items()})
        return {i: self._read(tree, row) for (i, (_, tree)), row in zip(work.items(), states, strict=True)}

    def _read(self, tree: Tree, states: Tensor) -> Tensor:
        """Sums over each continuation's tokens, float64[C]."""
        tokens = torch.tensor(tree.ids[len(tree.ids) - len(tree.parents) :], device=states.device)
        parents = torch.tensor(tree.parents, device=states.device)
        heads, which = torch.unique(parents, return_inverse=True)
        said = torch.empty(len(tokens), dtype=torch.float64)
        step = max(LOGITS // self.voice.vocabulary, 1)
        for start in range(0, len(heads), step):
            odds = self.voice(states[heads[start : start + step]]).float().log_softmax(-1)
            mine = ((which >= start) & (which < start + step)).nonzero().flatten()
            said[mine.cpu()] = odds[which[mine] - start, tokens[mine]].double().cpu()
        return torch.stack([said[path].sum() for path in tree.paths])


def trees_work(speaker: Speaker, forward: Forward, network: Any) -> bool:
    """Whether a tree gives what rows give, on a small one."""
    sample = Score(network, (5, 6, 7), ((8, 9, 10), (8, 9, 11, 12), (13,)))
    try:
        (by_tree,), (by_rows,) = (speaker.scores([sample], forward, trees) for trees in (True, False))
    except (RuntimeError, TypeError, ValueError):
        return False
    return torch.allclose(by_tree, by_rows, atol=TOLERANCE, rtol=TOLERANCE)
