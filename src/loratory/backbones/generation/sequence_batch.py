"""Sequences that are written in one pass: the model's next inputs, and two batches made one.

Rows are padded on the left, so that all of them end in the same column: the next token of every row is read behind the
last column, and one mask int64[B, T] says what each row may look at in the KV cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from loratory.backbones.generation.prefix_cache import create_cache_layer, is_plain_cache
from loratory.backbones.generation.token_sequence import TokenSequence
from loratory.protocols import TokenIds


@dataclass(eq=False)
class SequenceBatch:
    """A sequence for each row, and what the model is to read next: ids and positions int64[B, T], the mask
    int64[B, P + T] over P cached tokens and these, and the KV cache.
    """

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


def build_prompt_inputs(prompts: Sequence[TokenIds], prefix_length: int, pad_id: int) -> dict[str, Any]:
    """Prompts that end together, without the first `prefix_length` tokens, P, that they share: ids and positions
    int64[B, T], mask int64[B, P + T].

    Padding stands behind the shared beginning, which is cached without any; positions count from a row's own beginning.
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


def build_next_inputs(inputs: dict[str, Any], tokens: Sequence[int]) -> dict[str, Any]:
    """A token for each row, behind all that its row has seen."""
    mask, positions = inputs["attention_mask"], inputs["position_ids"][:, -1:] + 1
    ids = torch.tensor(tokens, dtype=torch.long, device=mask.device)[:, None]
    mask = torch.cat([mask, mask.new_ones(len(ids), 1)], -1)
    return {**inputs, "input_ids": ids, "position_ids": positions, "attention_mask": mask}


def join_batches(first: SequenceBatch, second: SequenceBatch) -> SequenceBatch:
    """One batch of two, without rows that have ended; rows of one adapter stand together, as one segment of a pass.

    Columns that are padding in every row are left out: a long text that has left takes its columns along. Raises
    ValueError where a cache holds anything else than keys and values of every token.
    """
    from transformers import DynamicCache

    batches = (first, second)
    if not all(is_plain_cache(one.inputs["past_key_values"], _count_cached(one)) for one in batches):
        raise ValueError("caches of this kind cannot be joined")
    sequences, active = [*first.sequences, *second.sequences], [one.active_rows for one in batches]
    order = sorted(
        [*active[0], *(len(first.sequences) + row for row in active[1])],
        key=lambda row: id(sequences[row].request.network.adapter),
    )
    masks = [one.inputs["attention_mask"] for one in batches]
    device = masks[0].device
    where = torch.tensor(order, dtype=torch.long, device=device)
    # Where each old row goes. Rows that have ended all go to a last place, which is cut off: a copy of whole tensors
    # into their places is cheaper than selecting rows of each layer's keys and values first.
    places = where.new_full((len(sequences),), len(order))
    places.index_copy_(0, where, torch.arange(len(order), device=device))
    width = max(_count_used_columns(mask[rows]) for mask, rows in zip(masks, active, strict=True))
    inputs = {name: torch.cat([one.inputs[name] for one in batches])[where] for name in ("input_ids", "position_ids")}
    cache = DynamicCache()
    for layers in zip(*(one.inputs["past_key_values"].layers for one in batches), strict=True):
        keys, values = (  # one column fewer than the mask: the token that is read next has no key yet
            _stack_left_padded([getattr(layer, name) for layer in layers], places, len(order), width - 1, 2)
            for name in ("keys", "values")
        )
        cache.layers.append(create_cache_layer(keys, values))
    mask = _stack_left_padded(masks, places, len(order), width, 1)
    return SequenceBatch(
        [sequences[row] for row in order], {**inputs, "attention_mask": mask, "past_key_values": cache}, True
    )


def _count_cached(batch: SequenceBatch) -> int:
    """Tokens whose keys and values are cached: all but the one that is read next."""
    return int(batch.inputs["attention_mask"].shape[1]) - 1


def _count_used_columns(mask: Tensor) -> int:
    """Columns from the first that any row of int64[B, T] reads to the last."""
    return mask.shape[1] - int(mask.any(0).long().argmax()) if len(mask) else 1


def _stack_left_padded(parts: Sequence[Tensor], places: Tensor, rows: int, width: int, dim: int) -> Tensor:
    """The last `width` columns (of dimension `dim`) of the rows of all parts, each row at its place among `rows`, zeros
    before what is shorter.

    Place `rows` is that of rows that have ended: they are copied like any other, and cut off.
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


def _select_rows(inputs: dict[str, Any], rows: Tensor) -> dict[str, Any]:
    """These rows of a batch; the cache is changed in place."""
    cache = inputs["past_key_values"]
    cache.batch_select_indices(rows)
    return {name: value if value is cache else value[rows] for name, value in inputs.items()}
