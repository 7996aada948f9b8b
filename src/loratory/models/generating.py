"""Text, token by token: many prompts in one batch with a cache of keys and values, each with its own way of drawing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from loratory.models.grammar import TRIES, Guide
from loratory.models.prefixes import Forward
from loratory.models.transcript import Transcript
from loratory.models.writing import Speaker
from loratory.protocols import Alive, Tokens, Write, Written, always

SURE = 0.9999  # a token so likely is not looked for under the mask: among the allowed its odds are 1e-4 higher at most


@dataclass
class Pen:
    """One request while it is written."""

    request: Write
    guide: Guide | None
    transcript: Transcript
    ids: list[int] = field(default_factory=list)
    odds: list[float] = field(default_factory=list)
    finish: str = ""

    def take(self, logits: Tensor) -> None:
        """Draw the next token from logits float[V], and tell what has become certain of the text."""
        token, odds = self._drawn(logits.double())
        if token in self.request.ends:
            self.finish = self.transcript.follow(self.ids, whole=True) or "end"
            return
        self.ids.append(token)
        self.odds.append(odds)
        full = len(self.ids) >= self.request.most
        self.finish = self.transcript.follow(self.ids, whole=full) or ("length" if full else "")

    def _penalised(self, scores: Tensor) -> Tensor:
        penalty = self.request.sampling.repetition_penalty
        if penalty == 1.0:
            return scores
        seen = torch.tensor(sorted({*self.request.prompt, *self.ids}))
        mine = scores[seen]
        return scores.index_copy(0, seen, torch.where(mine > 0, mine / penalty, mine * penalty))

    def _drawn(self, logits: Tensor) -> tuple[int, float]:
        """A token and its odds. Under a schema, one behind which the end is in reach; where that is hard to find, the
        next one of the way to the end.
        """
        odds, scores = logits.softmax(-1), self._penalised(logits)
        if self.guide is None:
            token = self._one(scores, 0)
            return token, float(odds[token])
        likeliest = int(scores.argmax())
        sure = not self.request.sampling.temperature and odds[likeliest] > SURE
        if sure and self.guide.takes(likeliest):  # of all tokens, so of those that are allowed
            return likeliest, float(odds[likeliest])
        refused = ~self.guide.allowed()
        token = self._fitting(scores.masked_fill(refused, -torch.inf))
        return token, float(logits.masked_fill(refused, -torch.inf).softmax(-1)[token])

    def _fitting(self, scores: Tensor) -> int:
        assert self.guide is not None
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
        return Written(tuple(self.ids), self.transcript.text, self.finish or "abandoned", tuple(self.odds))


def write(pens: Sequence[Pen], speaker: Speaker, forward: Forward, shared: bool, alive: Alive = always) -> None:
    """Write all to their ends, in batches; where `shared`, behind the beginnings that prompts have in common."""
    requests = [pen.request for pen in pens]
    lengths = [len(request.prompt) + request.most for request in requests]
    for prefix, places in speaker.passes(requests, lengths, shared, alive):
        inputs = _prompts([requests[place].prompt for place in places], len(prefix.ids), speaker.fill)
        inputs = {name: t.to(speaker.device) for name, t in inputs.items()}
        inputs["past_key_values"] = prefix.cache(forward, places[0], len(places), speaker.device)
        _write({place: pens[place] for place in places}, inputs, speaker, forward, alive)


def _write(pens: dict[int, Pen], inputs: dict[str, Any], speaker: Speaker, forward: Forward, alive: Alive) -> None:
    """Write a batch to its end. Rows that have ended leave it when they are half of it."""
    places = list(pens)
    while places:
        states = forward(places, {**inputs, "use_cache": True})
        for place, logits in zip(places, speaker.voice(states[:, -1]).float().cpu(), strict=True):
            if not pens[place].finish and alive(place):
                pens[place].take(logits)
        going = [row for row, place in enumerate(places) if not pens[place].finish and alive(place)]
        if len(going) <= len(places) // 2:
            places = [places[row] for row in going]
            inputs = _kept(inputs, torch.tensor(going, dtype=torch.long, device=speaker.device))
        written = [pens[place].ids if not pens[place].finish else [] for place in places]
        inputs = _next(inputs, [ids[-1] if ids else speaker.fill for ids in written])


def _prompts(prompts: Sequence[Tokens], behind: int, fill: int) -> dict[str, Any]:
    """Prompts that end together, without their first `behind` tokens, P: ids and positions int64[B, T], mask
    int64[B, P + T]. Padding stands before them, behind what they share; positions count from their own beginning.
    """
    longest = max(map(len, prompts))
    ids = torch.full((len(prompts), longest), fill)
    mask = torch.zeros_like(ids)
    mask[:, :behind] = 1
    for row, prompt in enumerate(prompts):
        start = longest - len(prompt) + behind
        ids[row, start:], mask[row, start:] = torch.tensor(prompt[behind:]), 1
    positions = (mask.cumsum(-1) - 1).clamp_min(0)
    return {"input_ids": ids[:, behind:], "position_ids": positions[:, behind:], "attention_mask": mask}


def _kept(inputs: dict[str, Any], rows: Tensor) -> dict[str, Any]:
    """These rows of a batch."""
    cache = inputs["past_key_values"]
    cache.batch_select_indices(rows)
    return {name: value if value is cache else value[rows] for name, value in inputs.items()}


def _next(inputs: dict[str, Any], tokens: Sequence[int]) -> dict[str, Any]:
    """A token for each row, behind all that its row has seen."""
    mask, positions = inputs["attention_mask"], inputs["position_ids"][:, -1:] + 1
    ids = torch.tensor(tokens, dtype=torch.long, device=mask.device)[:, None]
    mask = torch.cat([mask, mask.new_ones(len(ids), 1)], -1)
    return {**inputs, "input_ids": ids, "position_ids": positions, "attention_mask": mask}
