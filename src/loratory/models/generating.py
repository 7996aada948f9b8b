"""Text, token by token: many prompts in one batch with a cache of keys and values, each with its own way of drawing.

A scribe writes rows side by side, a token of each in a step. What comes while others are being written joins them
between two steps: its prompt is read alone, then its keys and values stand among theirs, padded on the left. Writing a
list of requests to their ends is the same with nobody who comes late.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from loratory.errors import Unfit
from loratory.models.grammar import TRIES, Guide
from loratory.models.prefixes import Forward, is_plain, plain_layer
from loratory.models.transcript import Transcript
from loratory.models.writing import Speaker
from loratory.protocols import Tokens, Write, Written

SURE = 0.9999  # a token so likely is not looked for under the mask: among the allowed its odds are 1e-4 higher at most
SLOW = 0.5  # seconds of this thread's own time that a token may take to be found under a schema


@dataclass(eq=False)
class Pen:
    """One request while it is written."""

    request: Write
    guide: Guide | None
    transcript: Transcript
    wanted: Callable[[], bool] = lambda: True  # whether somebody still waits for it
    ids: list[int] = field(default_factory=list)
    odds: list[float] = field(default_factory=list)
    finish: str = ""
    problem: Exception | None = None  # what ended it, and nobody else

    @property
    def going(self) -> bool:
        """Whether there is more to write, and somebody waits for it."""
        return not self.finish and self.wanted()

    def take(self, logits: Tensor) -> None:
        """Draw the next token from logits float[V], and tell what has become certain of the text."""
        started = time.thread_time()
        try:
            self._take(logits)
        except Exception as problem:  # of its schema: its neighbours go on
            self.problem, self.finish = problem, "failed"
        if self.guide is not None and time.thread_time() - started > SLOW:
            self.problem, self.finish = Unfit("the schema takes too long to hold", where="contract"), "failed"

    def _take(self, logits: Tensor) -> None:
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


@dataclass(eq=False)
class Rows:
    """What is written in one pass: a pen for each row, and what the model is to read next."""

    pens: list[Pen]
    inputs: dict[str, Any]
    open: bool = False  # whether others may join

    def kept(self, rows: Sequence[int]) -> Rows:
        """These rows only; the others have left."""
        if len(rows) == len(self.pens):
            return self
        where = torch.tensor(rows, dtype=torch.long, device=self.inputs["attention_mask"].device)
        return Rows([self.pens[row] for row in rows], _kept(self.inputs, where), self.open)

    @property
    def going(self) -> list[int]:
        """Rows with more to write."""
        return [row for row, pen in enumerate(self.pens) if pen.going]


class Scribe:
    """Writes requests side by side, a token of each in a step; between steps others may come, and go."""

    def __init__(self, speaker: Speaker, forward: Forward) -> None:
        self._speaker, self._forward = speaker, forward
        self._groups: list[Rows] = []  # each a pass of its own; all that are open are one

    @property
    def done(self) -> bool:
        """Whether all that was asked is written."""
        return not self._groups

    @property
    def pens(self) -> list[Pen]:
        """Of all that is being written."""
        return [pen for rows in self._groups for pen in rows.pens]

    @property
    def closed(self) -> bool:
        """Whether a batch is being written that nobody can join."""
        return any(not rows.open for rows in self._groups)

    @torch.inference_mode()
    def add(self, pens: Sequence[Pen], shared: bool = False, joining: bool = False) -> None:
        """Read prompts, write their first tokens, and let them join those that are being written, where that works."""
        for rows in self._begun(pens, shared):
            self._seat(rows, joining)

    @torch.inference_mode()
    def write(self, pens: Sequence[Pen], shared: bool) -> None:
        """Write all to their ends, a batch after another; where `shared`, behind the beginnings that they share."""
        for rows in self._begun(pens, shared):
            self._seat(rows, False)
            while not self.done:
                self.step()

    @torch.inference_mode()
    def step(self) -> None:
        """A token more of every request."""
        groups = [self._advanced(rows) for rows in self._groups]
        self._groups = [rows for rows in groups if rows.pens]

    def _begun(self, pens: Sequence[Pen], shared: bool) -> Iterator[Rows]:
        """Batches with their first tokens."""
        requests, device = [pen.request for pen in pens], self._speaker.device
        lengths = [len(request.prompt) + request.most for request in requests]
        for prefix, places in self._speaker.passes(requests, lengths, shared, lambda place: pens[place].going):
            inputs = _prompts([requests[place].prompt for place in places], len(prefix.ids), self._speaker.fill)
            inputs = {name: t.to(device) for name, t in inputs.items()}
            inputs["past_key_values"] = prefix.cache(self._forward, requests[places[0]], len(places), device)
            yield self._advanced(Rows([pens[place] for place in places], inputs))

    def _seat(self, rows: Rows, joining: bool) -> None:
        others = next((group for group in self._groups if group.open), None)
        rows.open = joining
        if joining and others is not None and rows.pens:
            rows = _joined(others, rows)
            self._groups.remove(others)
        self._groups += [rows] if rows.pens else []

    def _advanced(self, rows: Rows) -> Rows:
        """A token more of each row. Those that have ended leave when they are half of it."""
        states = self._forward([pen.request for pen in rows.pens], {**rows.inputs, "use_cache": True})
        for pen, logits in zip(rows.pens, self._speaker.voice(states[:, -1]).float().cpu(), strict=True):
            if pen.going:
                pen.take(logits)
        going = rows.going
        if len(going) <= len(rows.pens) // 2:
            rows = rows.kept(going)
        last = [self._speaker.fill if pen.finish or not pen.ids else pen.ids[-1] for pen in rows.pens]
        return Rows(rows.pens, _next(rows.inputs, last), rows.open)


def _joined(first: Rows, second: Rows) -> Rows:
    """One pass of two, without rows that have ended; those of one adapter stand together (mixture.py).

    Columns that are padding in every row are left out: who wrote long and has left takes its place along.
    """
    from transformers import DynamicCache

    groups = (first, second)
    if not all(is_plain(rows.inputs["past_key_values"], rows.inputs["attention_mask"].shape[1] - 1) for rows in groups):
        raise ValueError("caches of this kind cannot be joined")
    pens, stay = [*first.pens, *second.pens], [rows.going for rows in groups]
    order = sorted(
        [*stay[0], *(len(first.pens) + row for row in stay[1])], key=lambda row: id(pens[row].request.network.adapter)
    )
    masks = [rows.inputs["attention_mask"] for rows in groups]
    where = torch.tensor(order, dtype=torch.long, device=masks[0].device)
    places = where.new_full((len(pens),), len(order)).index_copy_(
        0, where, torch.arange(len(order), device=where.device)
    )
    width = max(_width(mask[mine]) for mask, mine in zip(masks, stay, strict=True))
    inputs = {name: torch.cat([rows.inputs[name] for rows in groups])[where] for name in ("input_ids", "position_ids")}
    cache = DynamicCache()
    for layers in zip(*(rows.inputs["past_key_values"].layers for rows in groups), strict=True):
        keys, values = (
            _stacked([getattr(layer, name) for layer in layers], places, len(order), width - 1, 2)
            for name in ("keys", "values")
        )
        cache.layers.append(plain_layer(keys, values))
    mask = _stacked(masks, places, len(order), width, 1)
    return Rows([pens[row] for row in order], {**inputs, "attention_mask": mask, "past_key_values": cache}, True)


def _width(mask: Tensor) -> int:
    """Columns from the first on that any row of int64[B, T] reads."""
    return mask.shape[1] - int(mask.any(0).long().argmax()) if len(mask) else 1


def _stacked(parts: Sequence[Tensor], places: Tensor, rows: int, width: int, along: int) -> Tensor:
    """The last `width` columns of the rows of all parts, each at its place, zeros before what is shorter.

    Place `rows` is that of those who have left: it is copied like any other, and cut off.
    """
    shape = list(parts[0].shape)
    shape[0], shape[along] = rows + 1, width
    out, at = parts[0].new_empty(shape), 0
    for part in parts:
        size, mine = min(part.shape[along], width), places[at : at + len(part)]
        if size < width:
            out.narrow(along, 0, width - size).index_fill_(0, mine, 0)
        out.narrow(along, width - size, size).index_copy_(0, mine, part.narrow(along, part.shape[along] - size, size))
        at += len(part)
    return out[:rows]


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
