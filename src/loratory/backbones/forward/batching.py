"""Batches of rows: what of like length is computed in one pass, so that little of it is padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

PASS_OVERHEAD_TOKENS = 48  # tokens that could be computed in the time that a pass takes beside its tokens
MAX_BATCH_TOKENS = 4096  # padded tokens of one inference pass: larger gains nothing on a CPU and costs memory


def batch_by_length(lengths: Sequence[int], max_tokens: int) -> Iterator[list[int]]:
    """Indices in batches of neighbouring lengths, each at most `max_tokens` padded tokens (or one row)."""
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda k: -lengths[k]):
        if batch and lengths[batch[0]] * (len(batch) + 1) > max_tokens:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def batch_by_cost(
    lengths: Sequence[int], max_tokens: int, pass_overhead: int = PASS_OVERHEAD_TOKENS
) -> list[list[int]]:
    """As `batch_by_length`, in the batches that cost least: their padded tokens, and `pass_overhead` tokens
    for every pass.

    Few rows of many lengths are mostly padding in one pass: texts of 16 tokens on average beside one of 90.
    """
    # By dynamic programming over rows in order of length: a batch of neighbours costs the least padding, and only where
    # the length changes can a cut save any.
    order = sorted(range(len(lengths)), key=lambda k: -lengths[k])
    ends = [k + 1 for k in range(len(order)) if k + 1 == len(order) or lengths[order[k]] != lengths[order[k + 1]]]
    starts = [0, *ends]
    best: list[tuple[int, int]] = [(0, 0)]  # cost of the first rows, and where the last of their batches begins
    for end in ends:
        costs = []
        for number, (cost, _) in enumerate(best):
            padded = lengths[order[starts[number]]] * (end - starts[number])
            passes = -(-padded // max_tokens)
            costs.append((cost + padded + pass_overhead * passes, starts[number]))
        best.append(min(costs))
    found: list[list[int]] = []
    at = len(ends)
    while at:
        start = best[at][1]
        found.append(order[start : ends[at - 1]])
        at = starts.index(start)
    return [
        [mine[k] for k in part]
        for mine in found[::-1]
        for part in batch_by_length([lengths[k] for k in mine], max_tokens)
    ]
