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

from loratory.backbones.constraints.grammar import MAX_TOKEN_TRIES, TokenConstraint
from loratory.backbones.generation.detokenizer import Detokenizer
from loratory.backbones.generation.prefix_cache import Forward, create_cache_layer, is_plain_cache
from loratory.backbones.generation.scorer import Scorer
from loratory.errors import UnsupportedTask
from loratory.protocols import GenerateRequest, Generation, TokenIds

SURE_PROBABILITY = (
    0.9999  # a token so likely is not looked for under the mask: among the allowed its odds are 1e-4 higher at most
)
MAX_TOKEN_SECONDS = 0.5  # seconds of this thread's own time that a token may take to be found under a schema


@dataclass(eq=False)
class TokenSequence:
    """One request while it is written."""

    request: GenerateRequest
    constraint: TokenConstraint | None
    detokenizer: Detokenizer
    is_wanted: Callable[[], bool] = lambda: True  # whether somebody still waits for it
    ids: list[int] = field(default_factory=list)
    token_probabilities: list[float] = field(default_factory=list)
    finish_reason: str = ""
    error: Exception | None = None  # what ended it, and nobody else

    @property
    def is_active(self) -> bool:
        """Whether there is more to write, and somebody waits for it."""
        return not self.finish_reason and self.is_wanted()

    def sample_token(self, logits: Tensor) -> None:
        """Draw the next token from logits float[V], and tell what has become certain of the text."""
        started = time.thread_time()
        try:
            self._append_token(logits)
        except Exception as problem:  # of its schema: its neighbours go on
            self.error, self.finish_reason = problem, "failed"
        if self.constraint is not None and time.thread_time() - started > MAX_TOKEN_SECONDS:
            self.error, self.finish_reason = (
                UnsupportedTask("the schema takes too long to hold", where="contract"),
                "failed",
            )

    def _append_token(self, logits: Tensor) -> None:
        token, odds = self._sample(logits.double())
        if token in self.request.stop_token_ids:
            self.finish_reason = self.detokenizer.update(self.ids, final=True) or "end"
            return
        self.ids.append(token)
        self.token_probabilities.append(odds)
        full = len(self.ids) >= self.request.max_new_tokens
        self.finish_reason = self.detokenizer.update(self.ids, final=full) or ("length" if full else "")

    def _apply_repetition_penalty(self, scores: Tensor) -> Tensor:
        penalty = self.request.sampling.repetition_penalty
        if penalty == 1.0:
            return scores
        seen = torch.tensor(sorted({*self.request.prompt, *self.ids}))
        mine = scores[seen]
        return scores.index_copy(0, seen, torch.where(mine > 0, mine / penalty, mine * penalty))

    def _sample(self, logits: Tensor) -> tuple[int, float]:
        """A token and its odds. Under a schema, one behind which the end is in reach; where that is hard to find, the
        next one of the way to the end.
        """
        odds, scores = logits.softmax(-1), self._apply_repetition_penalty(logits)
        if self.constraint is None:
            token = self._sample_index(scores, 0)
            return token, float(odds[token])
        likeliest = int(scores.argmax())
        sure = not self.request.sampling.temperature and odds[likeliest] > SURE_PROBABILITY
        if sure and self.constraint.try_accept(likeliest):  # of all tokens, so of those that are allowed
            return likeliest, float(odds[likeliest])
        refused = ~self.constraint.compute_allowed_tokens()
        token = self._sample_constrained(scores.masked_fill(refused, -torch.inf))
        return token, float(logits.masked_fill(refused, -torch.inf).softmax(-1)[token])

    def _sample_constrained(self, scores: Tensor) -> int:
        assert self.constraint is not None
        for trial in range(MAX_TOKEN_TRIES):
            if not bool(scores.max().isfinite()):
                break
            token = self._sample_index(scores, trial)
            if self.constraint.try_accept_allowed(token):
                return token
            scores[token] = -torch.inf
        return self.constraint.force_token()

    def _sample_index(self, scores: Tensor, trial: int) -> int:
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

    def to_generation(self) -> Generation:
        return Generation(
            tuple(self.ids), self.detokenizer.text, self.finish_reason or "abandoned", tuple(self.token_probabilities)
        )


@dataclass(eq=False)
class SequenceBatch:
    """What is written in one pass: a pen for each row, and what the model is to read next."""

    sequences: list[TokenSequence]
    inputs: dict[str, Any]
    joinable: bool = False  # whether others may join

    def select(self, rows: Sequence[int]) -> SequenceBatch:
        """These rows only; the others have left."""
        if len(rows) == len(self.sequences):
            return self
        where = torch.tensor(rows, dtype=torch.long, device=self.inputs["attention_mask"].device)
        return SequenceBatch([self.sequences[row] for row in rows], _select_rows(self.inputs, where), self.joinable)

    @property
    def active_rows(self) -> list[int]:
        """Rows with more to write."""
        return [row for row, sequence in enumerate(self.sequences) if sequence.is_active]


class Generator:
    """Writes requests side by side, a token of each in a step; between steps others may come, and go."""

    def __init__(self, scorer: Scorer, forward: Forward) -> None:
        self._scorer, self._forward = scorer, forward
        self._batches: list[SequenceBatch] = []  # each a pass of its own; all that are open are one

    @property
    def is_done(self) -> bool:
        """Whether all that was asked is written."""
        return not self._batches

    @property
    def sequences(self) -> list[TokenSequence]:
        """Of all that is being written."""
        return [sequence for rows in self._batches for sequence in rows.sequences]

    @property
    def has_closed_batch(self) -> bool:
        """Whether a batch is being written that nobody can join."""
        return any(not rows.joinable for rows in self._batches)

    @torch.inference_mode()
    def add(self, sequences: Sequence[TokenSequence], share_prefixes: bool = False, joining: bool = False) -> None:
        """Read prompts, write their first tokens, and let them join those that are being written, where that works."""
        for rows in self._prefill(sequences, share_prefixes):
            self._add_batch(rows, joining)

    @torch.inference_mode()
    def generate(self, sequences: Sequence[TokenSequence], share_prefixes: bool) -> None:
        """Write all to their ends, a batch after another; where `shared`, behind the beginnings that they share."""
        for rows in self._prefill(sequences, share_prefixes):
            self._add_batch(rows, False)
            while not self.is_done:
                self.step()

    @torch.inference_mode()
    def step(self) -> None:
        """A token more of every request."""
        groups = [self._advance(rows) for rows in self._batches]
        self._batches = [rows for rows in groups if rows.sequences]

    def _prefill(self, sequences: Sequence[TokenSequence], share_prefixes: bool) -> Iterator[SequenceBatch]:
        """Batches with their first tokens."""
        requests, device = [sequence.request for sequence in sequences], self._scorer.device
        lengths = [len(request.prompt) + request.max_new_tokens for request in requests]
        for prefix, places in self._scorer.plan_batches(
            requests, lengths, share_prefixes, lambda place: sequences[place].is_active
        ):
            inputs = _build_prompt_inputs(
                [requests[place].prompt for place in places], len(prefix.ids), self._scorer.pad_id
            )
            inputs = {name: t.to(device) for name, t in inputs.items()}
            inputs["past_key_values"] = prefix.create_cache(self._forward, requests[places[0]], len(places), device)
            yield self._advance(SequenceBatch([sequences[place] for place in places], inputs))

    def _add_batch(self, batch: SequenceBatch, joining: bool) -> None:
        others = next((group for group in self._batches if group.joinable), None)
        batch.joinable = joining
        if joining and others is not None and batch.sequences:
            batch = _join_batches(others, batch)
            self._batches.remove(others)
        self._batches += [batch] if batch.sequences else []

    def _advance(self, batch: SequenceBatch) -> SequenceBatch:
        """A token more of each row. Those that have ended leave when they are half of it."""
        states = self._forward([sequence.request for sequence in batch.sequences], {**batch.inputs, "use_cache": True})
        for sequence, logits in zip(batch.sequences, self._scorer.lm_head(states[:, -1]).float().cpu(), strict=True):
            if sequence.is_active:
                sequence.sample_token(logits)
        going = batch.active_rows
        if len(going) <= len(batch.sequences) // 2:
            batch = batch.select(going)
        last = [
            self._scorer.pad_id if sequence.finish_reason or not sequence.ids else sequence.ids[-1]
            for sequence in batch.sequences
        ]
        return SequenceBatch(batch.sequences, _build_next_inputs(batch.inputs, last), batch.joinable)


def _join_batches(first: SequenceBatch, second: SequenceBatch) -> SequenceBatch:
    """One pass of two, without rows that have ended; those of one adapter stand together (mixture.py).

    Columns that are padding in every row are left out: who wrote long and has left takes its place along.
    """
    from transformers import DynamicCache

    groups = (first, second)
    if not all(
        is_plain_cache(rows.inputs["past_key_values"], rows.inputs["attention_mask"].shape[1] - 1) for rows in groups
    ):
        raise ValueError("caches of this kind cannot be joined")
    sequences, stay = [*first.sequences, *second.sequences], [rows.active_rows for rows in groups]
    order = sorted(
        [*stay[0], *(len(first.sequences) + row for row in stay[1])],
        key=lambda row: id(sequences[row].request.network.adapter),
    )
    masks = [rows.inputs["attention_mask"] for rows in groups]
    where = torch.tensor(order, dtype=torch.long, device=masks[0].device)
    places = where.new_full((len(sequences),), len(order)).index_copy_(
        0, where, torch.arange(len(order), device=where.device)
    )
    width = max(_count_used_columns(mask[mine]) for mask, mine in zip(masks, stay, strict=True))
    inputs = {name: torch.cat([rows.inputs[name] for rows in groups])[where] for name in ("input_ids", "position_ids")}
    cache = DynamicCache()
    for layers in zip(*(rows.inputs["past_key_values"].layers for rows in groups), strict=True):
        keys, values = (
            _stack_left_padded([getattr(layer, name) for layer in layers], places, len(order), width - 1, 2)
            for name in ("keys", "values")
        )
        cache.layers.append(create_cache_layer(keys, values))
    mask = _stack_left_padded(masks, places, len(order), width, 1)
    return SequenceBatch(
        [sequences[row] for row in order], {**inputs, "attention_mask": mask, "past_key_values": cache}, True
    )


def _count_used_columns(mask: Tensor) -> int:
    """Columns from the first on that any row of int64[B, T] reads."""
    return mask.shape[1] - int(mask.any(0).long().argmax()) if len(mask) else 1


def _stack_left_padded(parts: Sequence[Tensor], places: Tensor, rows: int, width: int, dim: int) -> Tensor:
    """The last `width` columns of the rows of all parts, each at its place, zeros before what is shorter.

    Place `rows` is that of those who have left: it is copied like any other, and cut off.
    """
    shape = list(parts[0].shape)
    shape[0], shape[dim] = rows + 1, width
    out, at = parts[0].new_empty(shape), 0
    for part in parts:
        size, mine = min(part.shape[dim], width), places[at : at + len(part)]
        if size < width:
            out.narrow(dim, 0, width - size).index_fill_(0, mine, 0)
        out.narrow(dim, width - size, size).index_copy_(0, mine, part.narrow(dim, part.shape[dim] - size, size))
        at += len(part)
    return out[:rows]


def _build_prompt_inputs(prompts: Sequence[TokenIds], prefix_length: int, pad_id: int) -> dict[str, Any]:
    """Prompts that end together, without their first `behind` tokens, P: ids and positions int64[B, T], mask
    int64[B, P + T]. Padding stands before them, behind what they share; positions count from their own beginning.
    """
    longest = max(map(len, prompts))
    ids = torch.full((len(prompts), longest), pad_id)
    mask = torch.zeros_like(ids)
    mask[:, :prefix_length] = 1
    for row, prompt in enumerate(prompts):
        start = longest - len(prompt) + prefix_length
        ids[row, start:], mask[row, start:] = torch.tensor(prompt[prefix_length:]), 1
    positions = (mask.cumsum(-1) - 1).clamp_min(0)
    return {"input_ids": ids[:, prefix_length:], "position_ids": positions[:, prefix_length:], "attention_mask": mask}


def _select_rows(inputs: dict[str, Any], rows: Tensor) -> dict[str, Any]:
    """These rows of a batch."""
    cache = inputs["past_key_values"]
    cache.batch_select_indices(rows)
    return {name: value if value is cache else value[rows] for name, value in inputs.items()}


def _build_next_inputs(inputs: dict[str, Any], tokens: Sequence[int]) -> dict[str, Any]:
    """A token for each row, behind all that its row has seen."""
    mask, positions = inputs["attention_mask"], inputs["position_ids"][:, -1:] + 1
    ids = torch.tensor(tokens, dtype=torch.long, device=mask.device)[:, None]
    mask = torch.cat([mask, mask.new_ones(len(ids), 1)], -1)
    return {**inputs, "input_ids": ids, "position_ids": positions, "attention_mask": mask}
