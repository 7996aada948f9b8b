"""Text, token by token: many prompts in one batch with a cache of keys and values, each with its own way of drawing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from loratory.models.grammar import TRIES, Guide
from loratory.protocols import Alive, Tokens, Write, Written

# Forward of a batch: places of its requests, inputs, and the cache that it fills -> final states float[B, T, D]
Step = Callable[[Sequence[int], dict[str, Tensor], Any], Tensor]


@dataclass
class Pen:
    """One request while it is written."""

    request: Write
    guide: Guide | None
    read: Callable[[Sequence[int]], str]
    ids: list[int] = field(default_factory=list)
    odds: list[float] = field(default_factory=list)
    finish: str = ""

    def take(self, logits: Tensor) -> None:
        """Draw the next token from logits float[V]."""
        scores = self._penalised(logits.double())
        token = self._drawn(scores)
        self.odds.append(float(logits.double().softmax(-1)[token]))
        if token in self.request.ends:
            self.finish = "end"
            self.odds.pop()
            return
        self.ids.append(token)
        if self.request.stops and any(stop in self.read(self.ids) for stop in self.request.stops):
            self.finish = "stop"
        elif len(self.ids) >= self.request.most:
            self.finish = "length"

    def _penalised(self, scores: Tensor) -> Tensor:
        penalty = self.request.sampling.repetition_penalty
        if penalty == 1.0:
            return scores
        seen = torch.tensor(sorted({*self.request.prompt, *self.ids}))
        mine = scores[seen]
        return scores.index_copy(0, seen, torch.where(mine > 0, mine / penalty, mine * penalty))

    def _drawn(self, scores: Tensor) -> int:
        """A token behind which the end is in reach; where that is hard to find, the next one of the way to the end."""
        if self.guide is None:
            return self._one(scores, 0)
        if not self.request.sampling.temperature and self.guide.takes(likeliest := int(scores.argmax())):
            return likeliest  # of all tokens, so of those that are allowed
        scores = scores.masked_fill(~self.guide.allowed(), -torch.inf)
        for trial in range(TRIES):
            if not bool(scores.max().isfinite()):
                break
            token = self._one(scores, trial)
            if self.guide.fits(token):
                return token
            scores[token] = -torch.inf
        return self.guide.forced()

    def _one(self, scores: Tensor, trial: int) -> int:
        sampling = self.request.sampling
        if not sampling.temperature:
            return int(scores.argmax())
        odds = (scores / sampling.temperature).softmax(-1)
        if sampling.top_p < 1:
            ordered, order = odds.sort(descending=True)
            over = ordered.cumsum(-1) - ordered >= sampling.top_p
            odds = odds.index_fill(0, order[over], 0.0)
        seed = hash((sampling.seed, len(self.ids), trial)) & 0x7FFFFFFF  # of numbers: the same in every process
        return int(torch.multinomial(odds, 1, generator=torch.Generator().manual_seed(seed)))

    def written(self) -> Written:
        text = self.read(self.ids)
        for stop in self.request.stops if self.finish == "stop" else ():
            text = text.partition(stop)[0]
        return Written(tuple(self.ids), text, self.finish or "abandoned", tuple(self.odds))


def write(
    pens: Sequence[Pen], places: Sequence[int], step: Step, voice: Any, fill: int, device: str, alive: Alive
) -> None:
    """Write all of a batch to its end. Rows that have ended leave the batch when they are half of it."""
    from transformers import DynamicCache

    cache: Any = DynamicCache()
    rows = list(range(len(pens)))  # the pens that are in the batch
    inputs = _prompts([pen.request.prompt for pen in pens], fill, device)
    mask, positions = inputs["attention_mask"], inputs["position_ids"][:, -1:]
    while rows:
        states = step([places[row] for row in rows], inputs, cache)
        for row, logits in zip(rows, voice(states[:, -1]).float().cpu(), strict=True):
            if not pens[row].finish and alive(places[row]):
                pens[row].take(logits)
        going = [k for k, row in enumerate(rows) if not pens[row].finish and alive(places[row])]
        if len(going) <= len(rows) // 2:
            keep = torch.tensor(going, dtype=torch.long, device=device)
            cache.batch_select_indices(keep)
            mask, positions, rows = mask[keep], positions[keep], [rows[k] for k in going]
        last = [pens[row].ids[-1] if pens[row].ids and not pens[row].finish else fill for row in rows]
        mask = torch.cat([mask, mask.new_ones(len(rows), 1)], -1)
        positions = positions + 1
        ids = torch.tensor(last, device=device)[:, None]
        inputs = {"input_ids": ids, "attention_mask": mask, "position_ids": positions}


def _prompts(prompts: Sequence[Tokens], fill: int, device: str) -> dict[str, Tensor]:
    """Prompts that end together: padding stands before them, positions count from their own beginning."""
    longest = max(map(len, prompts))
    ids = torch.full((len(prompts), longest), fill)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :], mask[row, longest - len(prompt) :] = torch.tensor(prompt), 1
    positions = (mask.cumsum(-1) - 1).clamp_min(0)
    made = {"input_ids": ids, "attention_mask": mask, "position_ids": positions}
    return {name: t.to(device) for name, t in made.items()}
