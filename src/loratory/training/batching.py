"""Batches by token budget and length: little padding, few surprises, the same for the same (seed, epoch)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from loratory.models.trunks import by_length
from loratory.specs.training import TrainingSpec
from loratory.training.seeds import generator

Batch = tuple[tuple[int, ...], ...]  # micro-batches of example indices; one optimizer step
WINDOW = 50  # batches whose examples are sorted by length together: less padding, still well mixed


def epoch_batches(lengths: Sequence[int], spec: TrainingSpec, seed: int, epoch: int) -> list[Batch]:
    """All examples once, in batches of about `batch_tokens` real tokens and at least `batch_examples` examples."""
    order = torch.randperm(len(lengths), generator=generator(seed, "order", epoch)).tolist()
    window = WINDOW * max(spec.batch_examples, spec.batch_tokens * len(lengths) // max(sum(lengths), 1))
    steps: list[list[int]] = []
    for start in range(0, len(order), window):
        steps += _cut(sorted(order[start : start + window], key=lambda i: lengths[i]), lengths, spec)
    shuffled = [steps[i] for i in torch.randperm(len(steps), generator=generator(seed, "steps", epoch)).tolist()]
    joined = [
        [k for step in shuffled[i : i + spec.accumulation] for k in step]
        for i in range(0, len(shuffled), spec.accumulation)
    ]
    return [micro_batches(step, lengths, spec.micro_batch_tokens) for step in joined]


def _cut(order: Sequence[int], lengths: Sequence[int], spec: TrainingSpec) -> list[list[int]]:
    steps: list[list[int]] = [[]]
    tokens = 0
    for i in order:
        if tokens + lengths[i] > spec.batch_tokens and len(steps[-1]) >= spec.batch_examples:
            steps.append([])
            tokens = 0
        steps[-1].append(i)
        tokens += lengths[i]
    if len(steps) > 1 and len(steps[-1]) < spec.batch_examples:  # a remnant would be a noisy step
        remnant = steps.pop()
        steps[-1] += remnant
    return steps


def micro_batches(step: Sequence[int], lengths: Sequence[int], budget: int) -> Batch:
    """One step's examples in passes of at most `budget` padded tokens."""
    return tuple(tuple(step[k] for k in part) for part in by_length([lengths[i] for i in step], budget))
