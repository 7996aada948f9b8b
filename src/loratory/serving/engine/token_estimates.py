"""Tokens of inputs, estimated before anything is tokenised: what queues and budgets are counted in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from loratory.protocols import JSON, EncodeRequest, GenerateRequest, InferenceRequest, Input

CHARACTERS_PER_TOKEN = 4  # of a token, roughly
SPECIAL_TOKENS_PER_ROW = 2  # special tokens of a row


def estimate_tokens(inputs: Sequence[Input], max_new_tokens: int = 0) -> int:
    """Tokens of these inputs, estimated, and those that may be written behind each."""
    cost = 0
    for one in inputs:
        size = 0
        for value in one.values():
            size += len(value) if isinstance(value, str) else _count_characters(value)
        cost += size // CHARACTERS_PER_TOKEN + SPECIAL_TOKENS_PER_ROW + max_new_tokens
    return cost


def _count_characters(value: JSON) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(_count_characters(part) for part in value.values())
    if isinstance(value, (list, tuple)):
        return sum(_count_characters(part) for part in value)
    return 1


def split_inputs(
    inputs: Sequence[Input], batch_tokens: int, max_new_tokens: int = 0
) -> Iterator[tuple[Sequence[Input], int]]:
    """Inputs in parts of about a batch, so that a long list does not hold up everybody else, and their costs."""
    part: list[Input] = []
    cost = 0
    for one in inputs:
        own = estimate_tokens([one], max_new_tokens)
        if part and cost + own > batch_tokens:
            yield part, cost
            part, cost = [], 0
        part.append(one)
        cost += own
    if part:
        yield part, cost


def count_request_tokens(request: InferenceRequest) -> int:
    """Tokens of a request's row, and those that may be written behind it."""
    read = len(request.ids) if isinstance(request, EncodeRequest) else len(request.prompt)
    written = request.max_new_tokens if isinstance(request, GenerateRequest) else 0
    return read + SPECIAL_TOKENS_PER_ROW + written
