"""How sure a writer was of each field: the probability of the tokens that spell its value."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Any

from loratory.protocols import JSON, Pointer
from loratory.schemas import step

SCALARS = json.JSONDecoder()


def field_odds(text: str, ends: Sequence[int], odds: Sequence[float]) -> dict[Pointer, dict[str, float]]:
    """JSON pointer -> {value: probability} of each value in compact JSON.

    Token k has the probability `odds[k]` and ends before character `ends[k]`. A token that holds part of a value and
    of what surrounds it counts for that value; what the grammar forced has probability 1 and changes nothing.
    """
    begins = [0, *ends]
    found = {}
    for pointer, value, start, stop in spans(text):
        spelling = [odd for odd, begin, end in zip(odds, begins, ends, strict=False) if begin < stop and end > start]
        name = value if isinstance(value, str) else json.dumps(value)
        found[pointer] = {name: math.exp(sum(math.log(max(odd, 1e-300)) for odd in spelling))}
    return found


def spans(text: str) -> Iterator[tuple[Pointer, JSON, int, int]]:
    """Pointer, value, start and stop of all that holds nothing further, in compact JSON; raises ValueError."""
    found: list[tuple[Pointer, JSON, int, int]] = []
    _walk(text, 0, "", found)
    return iter(found)


def _walk(text: str, at: int, pointer: str, found: list[tuple[Pointer, JSON, int, int]]) -> int:
    """Where the value that begins at `at` ends."""
    close: Mapping[str, str] = {"{": "}", "[": "]"}
    opened = text[at : at + 1]
    if opened not in close or not opened or text[at + 1 : at + 2] == close[opened]:
        value, end = SCALARS.raw_decode(text, at)
        found.append((pointer, value, at, end))
        return int(end)
    number: Any = 0
    while text[at] != close[opened]:
        at += 1  # the bracket, or a comma
        if opened == "{":
            name, at = scanstring(text, at + 1)
            number, at = name, at + 1
        at = _walk(text, at, pointer + step(number), found)
        number = number + 1 if opened == "[" else number
    return at + 1
