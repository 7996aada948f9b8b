"""How sure a writer was of each field: the probability of the tokens that spell its value."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Any

from loratory.protocols import JSON, JsonPointer
from loratory.schemas import pointer_step

SCALAR_DECODER = json.JSONDecoder()


def compute_field_probabilities(
    text: str, ends: Sequence[int], token_probabilities: Sequence[float]
) -> dict[JsonPointer, dict[str, float]]:
    """JSON pointer -> {value: probability} of each value in compact JSON.

    Token k has the probability `odds[k]` and ends before character `ends[k]`. A token that holds part of a value and
    of what surrounds it counts for that value; what the grammar forced has probability 1 and changes nothing.
    """
    begins = [0, *ends]
    found = {}
    for pointer, value, start, stop in iterate_values(text):
        spelling = [
            odd
            for odd, begin, end in zip(token_probabilities, begins, ends, strict=False)
            if begin < stop and end > start
        ]
        name = value if isinstance(value, str) else json.dumps(value)
        found[pointer] = {name: math.exp(sum(math.log(max(odd, 1e-300)) for odd in spelling))}
    return found


def iterate_values(text: str) -> Iterator[tuple[JsonPointer, JSON, int, int]]:
    """Pointer, value, start and stop of all that holds nothing further, in compact JSON; raises ValueError."""
    found: list[tuple[JsonPointer, JSON, int, int]] = []
    _collect_values(text, 0, "", found)
    return iter(found)


def _collect_values(text: str, at: int, pointer: str, found: list[tuple[JsonPointer, JSON, int, int]]) -> int:
    """Where the value that begins at `at` ends."""
    close: Mapping[str, str] = {"{": "}", "[": "]"}
    opened = text[at : at + 1]
    if opened not in close or not opened or text[at + 1 : at + 2] == close[opened]:
        value, end = SCALAR_DECODER.raw_decode(text, at)
        found.append((pointer, value, at, end))
        return int(end)
    number: Any = 0
    while text[at] != close[opened]:
        at += 1  # the bracket, or a comma
        if opened == "{":
            name, at = scanstring(text, at + 1)
            number, at = name, at + 1
        at = _collect_values(text, at, pointer + pointer_step(number), found)
        number = number + 1 if opened == "[" else number
    return at + 1
