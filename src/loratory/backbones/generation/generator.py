"""Text, token by token: many prompts in one batch with a KV cache, each with its own way of drawing a token.

A generator writes rows side by side, a token of each in a step (continuous batching). A request that comes while others
are being written joins them between two steps: its prompt is read alone (prefill), then its keys and values stand among
theirs. Writing a list of requests to their ends is the same with nobody who comes late.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from loratory.backbones.generation.prefix_cache import Forward
from loratory.backbones.generation.scorer import Scorer
from loratory.backbones.generation.sequence_batch import (
    SequenceBatch,
    build_next_inputs,
    build_prompt_inputs,
    join_batches,
)
from loratory.backbones.generation.token_sequence import TokenSequence


class Generator:
    """Writes requests side by side, a token of each in a step; between steps others may join, and leave."""

    def __init__(self, scorer: Scorer, forward: Forward) -> None:
        self._scorer, self._forward = scorer, forward
        self._batches: list[SequenceBatch] = []  # each a pass of its own; all that are joinable are one

    @property
    def is_done(self) -> bool:
        """Whether all that was asked is written."""
        return not self._batches

    @property
    def sequences(self) -> list[TokenSequence]:
        """Of all that is being written."""
        return [sequence for batch in self._batches for sequence in batch.sequences]

    @property
    def has_closed_batch(self) -> bool:
        """Whether a batch is being written that nobody can join."""
        return any(not batch.joinable for batch in self._batches)

    @torch.inference_mode()
    def add(self, sequences: Sequence[TokenSequence], share_prefixes: bool = False, joining: bool = False) -> None:
        """Read prompts, write their first tokens, and with `joining` let them join those that are being written.

        Raises ValueError where caches cannot be joined, and what a pass raises.
        """
        for batch in self._prefill(sequences, share_prefixes):
            self._add_batch(batch, joining)

    @torch.inference_mode()
    def generate(self, sequences: Sequence[TokenSequence], share_prefixes: bool) -> None:
        """Write all to their ends, a batch after another; with `share_prefixes` behind the beginnings they share."""
        for batch in self._prefill(sequences, share_prefixes):
            self._add_batch(batch, False)
            while not self.is_done:
                self.step()

    @torch.inference_mode()
    def step(self) -> None:
        """A token more of every request."""
        advanced = [self._advance(batch) for batch in self._batches]
        self._batches = [batch for batch in advanced if batch.sequences]

    def _prefill(self, sequences: Sequence[TokenSequence], share_prefixes: bool) -> Iterator[SequenceBatch]:
        """Batches with their first tokens. A batch is made when it is asked for: who has left meanwhile is left out."""
        requests, device = [sequence.request for sequence in sequences], self._scorer.device
        lengths = [len(request.prompt) + request.max_new_tokens for request in requests]
        for prefix, places in self._scorer.plan_batches(
            requests, lengths, share_prefixes, lambda place: sequences[place].is_active
        ):
            prompts = [requests[place].prompt for place in places]
            inputs = build_prompt_inputs(prompts, len(prefix.ids), self._scorer.pad_id)
            inputs = {name: t.to(device) for name, t in inputs.items()}
            inputs["past_key_values"] = prefix.create_cache(self._forward, requests[places[0]], len(places), device)
            yield self._advance(SequenceBatch([sequences[place] for place in places], inputs))

    def _add_batch(self, batch: SequenceBatch, joining: bool) -> None:
        open_batch = next((one for one in self._batches if one.joinable), None)
        batch.joinable = joining
        if joining and open_batch is not None and batch.sequences:
            batch = join_batches(open_batch, batch)
            self._batches.remove(open_batch)
        self._batches += [batch] if batch.sequences else []

    def _advance(self, batch: SequenceBatch) -> SequenceBatch:
        """A token more of each row.

        Rows that have ended stay, as padding, until they are half of the batch: to take them out copies the cache.
        """
        states = self._forward([sequence.request for sequence in batch.sequences], {**batch.inputs, "use_cache": True})
        for sequence, logits in zip(batch.sequences, self._scorer.lm_head(states[:, -1]).float().cpu(), strict=True):
            if sequence.is_active:
                sequence.sample_token(logits)
        active = batch.active_rows
        if len(active) <= len(batch.sequences) // 2:
            batch = batch.select(active)
        last = [
            self._scorer.pad_id if sequence.finish_reason or not sequence.ids else sequence.ids[-1]
            for sequence in batch.sequences
        ]
        return SequenceBatch(batch.sequences, build_next_inputs(batch.inputs, last), batch.joinable)
