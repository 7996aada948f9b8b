"""Out of memory in training: what it looks like, smaller passes, and what a person can change."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from loratory.backbones.forward.memory import return_freed_memory
from loratory.errors import OutOfMemory, first_line, is_out_of_memory
from loratory.specs.training import TrainingSpec
from loratory.training.batching import Batch


def split(batch: Batch, halvings: int) -> Batch:
    """The passes of a step, each in equal pieces of at most 2 ** -halvings of its examples; 0 leaves it as it is."""
    if not halvings:
        return batch
    pieces = []
    for micro in batch:
        size = -(-len(micro) // 2**halvings)
        pieces += [micro[start : start + size] for start in range(0, len(micro), size)]
    return tuple(pieces)


def largest(batch: Batch) -> int:
    """Examples of the largest pass."""
    return max(map(len, batch), default=0)


def free(device: str) -> None:
    """Hand back what is held without need: cycles of objects, and what allocators keep for later."""
    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
    elif device == "cpu":
        return_freed_memory()


def in_a_pass(where: str, said: str, spec: TrainingSpec) -> OutOfMemory:
    """The error where one example alone is too much."""
    ways = [f"set training: max_tokens below {spec.max_tokens} (longer texts are cut)"]
    if not spec.gradient_checkpointing:
        ways.append("training: gradient_checkpointing: true")
    ways.append("lora: layers: top-2, or a smaller base")
    return OutOfMemory(f"out of memory with a single example in a pass: {said}", where=where, remedy="; or ".join(ways))


def in_the_optimizer(where: str, said: str) -> OutOfMemory:
    """The error where the weights that learn, and what the optimizer holds of each, are too much."""
    return OutOfMemory(
        f"out of memory in the optimizer, which holds two more numbers for each weight that learns: {said}",
        where=where,
        remedy="take regime: lora instead of full, a smaller lora: rank or base, or training: optimizer: adamw8bit",
    )


@contextmanager
def explain_failure(name: str) -> Iterator[None]:
    """Turn a failed allocation anywhere in a contender's fit into an OutOfMemory that names the contender."""
    try:
        yield
    except (MemoryError, RuntimeError) as problem:
        if not is_out_of_memory(problem):
            raise
        raise OutOfMemory(
            f"out of memory while {name} was fitted: {first_line(problem)}",
            remedy="stop other programs, choose a smaller base, or set training: max_tokens lower",
        ) from problem
