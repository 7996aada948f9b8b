"""Batches by token budget and length: little padding, few surprises, the same for the same (seed, epoch)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from loratory.backbones.forward.batching import batch_by_length
from loratory.specs.training import TrainingSpec
from loratory.training.seeds import make_generator

Batch = tuple[tuple[int, ...], ...]  # micro-batches of example indices; one optimizer step
SORT_WINDOW_BATCHES = 50  # batches whose examples are sorted by length together: less padding, still well mixed


def build_epoch_batches(lengths: Sequence[int], spec: TrainingSpec, seed: int, epoch: int) -> list[Batch]:
    """All examples once, in batches of at most `batch_tokens` padded tokens, or `batch_examples` examples if longer.

    How many examples a batch has follows from its longest one alone. So there are no more shapes than lengths, and the
    kernels that a CPU's library makes for each shape are made once (they cost as much as running them).
    """
    order = torch.randperm(len(lengths), generator=make_generator(seed, "order", epoch)).tolist()
    window = SORT_WINDOW_BATCHES * max(spec.batch_examples, spec.batch_tokens * len(lengths) // max(sum(lengths), 1))
    steps: list[list[int]] = []
    for start in range(0, len(order), window):
        steps += _split_into_steps(sorted(order[start : start + window], key=lambda i: -lengths[i]), lengths, spec)
    shuffled = [steps[i] for i in torch.randperm(len(steps), generator=make_generator(seed, "steps", epoch)).tolist()]
    joined = [
        [k for step in shuffled[i : i + spec.accumulation] for k in step]
        for i in range(0, len(shuffled), spec.accumulation)
    ]
    return [split_micro_batches(step, lengths, spec.micro_batch_tokens) for step in joined]


def _split_into_steps(order: Sequence[int], lengths: Sequence[int], spec: TrainingSpec) -> list[list[int]]:
    """`order` goes from long to short."""
    steps: list[list[int]] = []
    start = 0
    while start < len(order):
        size = max(spec.batch_examples, spec.batch_tokens // max(lengths[order[start]], 1))
        steps.append(list(order[start : start + size]))
        start += size
    if len(steps) > 1 and len(steps[-1]) < spec.batch_examples:  # a remnant would be a noisy step
        remnant = steps.pop()
        steps[-1] += remnant
    return steps


def split_micro_batches(step: Sequence[int], lengths: Sequence[int], budget: int) -> Batch:
    """One step's examples in passes of at most `budget` padded tokens."""
    return tuple(tuple(step[k] for k in part) for part in batch_by_length([lengths[i] for i in step], budget))
