"""How a number is read where a text stops inside it, and the shortest digits that end it within a schema's bounds."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator

from loratory.protocols import Schema

MAX_DIGITS = 18  # of a whole number at most
PartialNumber = tuple[int, str | None]  # where the number ended, None; or -1 and what is missing of it


def _read_bounds(schema: Schema, whole: bool) -> tuple[float, float]:
    """The least and the greatest value that may be written; for whole numbers both may."""
    low, high = schema.get("minimum"), schema.get("maximum")
    under, over = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    lows = [v for v in (low, None if under is None or not whole else math.floor(under) + 1) if v is not None]
    highs = [v for v in (high, None if over is None or not whole else -math.floor(-over) - 1) if v is not None]
    return max(lows, default=float("-inf")), min(highs, default=float("inf"))


def parse_integer(schema: Schema, text: str, position: int) -> Iterator[PartialNumber]:
    """Readings of the whole number that starts at `at`."""
    low, high = _read_bounds(schema, whole=True)
    end = position + (1 if text.startswith("-", position) else 0)
    while end < len(text) and text[end].isdigit():
        end += 1
    given = text[position:end]
    digits = given.lstrip("-")
    if len(digits) > 1 and digits[0] == "0":
        return
    if digits and low <= int(given) <= high:
        yield end, None
    if end == len(text):
        missing = _complete_digits(given, low, high)
        if missing is not None:
            yield -1, missing


def _complete_digits(given: str, low: float, high: float) -> str | None:
    """The shortest digits behind a sign and digits, or nothing, that make a whole number from low to high."""
    starts = [given] if given not in ("", "-") else [given + d for d in "0123456789"] + (["-"] if not given else [])
    best: str | None = None
    for start in starts:
        if start == "-":
            found = _complete_digits("-", low, high)
            found = None if found is None else "-" + found
        else:
            found = _complete_integer(start, low, high)
            found = None if found is None else start[len(given) :] + found
        if found is not None and (best is None or len(found) < len(best)):
            best = found
    return best


def _complete_integer(start: str, low: float, high: float) -> str | None:
    """The shortest digits behind whole digits; "" where they are in bounds as they stand."""
    if start in ("0", "-0"):
        return "" if low <= 0 <= high else None
    for count in range(MAX_DIGITS + 1 - len(start.lstrip("-"))):
        least, most = int(start + "0" * count), int(start + "9" * count)
        least, most = min(least, most), max(least, most)
        if least <= high and most >= low:
            inside = max(least, low) if not start.startswith("-") else min(most, high)
            return str(int(inside))[len(start) :]
    return None


def parse_number(schema: Schema, text: str, position: int) -> Iterator[PartialNumber]:
    """Readings of a whole number, or one with a point; never with an exponent. Ends are sought among few endings."""
    low, high = _read_bounds(schema, whole=False)
    end = position
    while end < len(text) and (text[end].isdigit() or text[end] in "-.eE+"):
        end += 1
    given = text[position:end]
    if _is_in_bounds(given, schema):
        yield end, None
    if end == len(text):
        for ending in _generate_endings(given, low, high):
            if _is_in_bounds(given + ending, schema):
                yield -1, ending
                return


def _generate_endings(given: str, low: float, high: float) -> Iterator[str]:
    """Candidates, short ones first."""
    whole = given in ("", "-") or given.lstrip("-").isdigit()
    yield from "0123456789"
    if not given:
        yield from (f"-{digit}" for digit in "0123456789")
    if whole and (found := _complete_digits(given, low, high)):
        yield found
    yield from _generate_digits()
    for value in (low, high, (low + high) / 2):
        spelled = json.dumps(value)
        if spelled.startswith(given) and spelled.strip("-.0123456789") == "":  # neither infinite nor with an exponent
            yield spelled[len(given) :]
    if whole:
        yield from (f"{'' if given not in ('', '-') else '0'}.{digits}" for digits in _generate_digits())


def _generate_digits() -> Iterator[str]:
    for size in range(1, 4):
        yield from (f"{number:0{size}d}" for number in range(10**size))


def _is_in_bounds(given: str, schema: Schema) -> bool:
    try:
        value = json.loads(given)
    except ValueError:
        return False
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    return bool(
        value >= schema.get("minimum", value)
        and value <= schema.get("maximum", value)
        and value > schema.get("exclusiveMinimum", float("-inf"))
        and value < schema.get("exclusiveMaximum", float("inf"))
    )
