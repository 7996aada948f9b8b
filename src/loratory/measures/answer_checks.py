"""Checks of a written answer: a share in [0, 1] of what was asked for, or None where the check has nothing to say.

A check is called with the input, the answer and the expected answer. One that takes options is a frozen pydantic
model; a function that takes none will do as well. Both are named in the entry-point group `loratory.checks`.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from loratory.schemas import JSON, pointer_step

WORD = re.compile(r"\w+")
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
BULLET = re.compile(r"^[ \t]*(?:[-*•]|\d+[.)])[ \t]+\S", re.MULTILINE)
HASHTAG = re.compile(r"(?<!\w)#\w+")
REFUSAL_PHRASES = (
    "cannot",
    "can't",
    "can not",
    "won't",
    "will not",
    "unable to",
    "not able to",
    "must decline",
    "not comfortable",
    "no information",
    "not provided",
    "don't have",
    "do not have",
)


class CheckOptions(BaseModel):
    """A check with options."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class CountCheck(CheckOptions):
    """A count with bounds."""

    least: int = Field(0, ge=0, description="minimum")
    most: int | None = Field(None, ge=0, description="maximum; default: no maximum")

    @model_validator(mode="after")
    def _check_bounds(self) -> Self:
        if self.most is not None and self.most < self.least:
            raise ValueError("most is less than least")
        return self

    def is_within(self, count: int) -> float:
        """1 for a count from `least` to `most`, both included; else 0."""
        return float(self.least <= count and (self.most is None or count <= self.most))


class Words(CountCheck):
    """Whether the number of words is within the bounds."""

    def __call__(self, input: Mapping[str, JSON], answer: JSON, expected: JSON) -> float:
        return self.is_within(len(WORD.findall(as_text(answer))))


class Bullets(CountCheck):
    """Whether the number of lines that begin with a dash, a star or a number is within the bounds."""

    def __call__(self, input: Mapping[str, JSON], answer: JSON, expected: JSON) -> float:
        return self.is_within(len(BULLET.findall(as_text(answer))))


class Hashtags(CountCheck):
    """Whether the number of hashtags is within the bounds."""

    def __call__(self, input: Mapping[str, JSON], answer: JSON, expected: JSON) -> float:
        return self.is_within(len(HASHTAG.findall(as_text(answer))))


class Contains(CheckOptions):
    """Whether the answer contains required texts and no forbidden ones; case is ignored."""

    all: tuple[str, ...] = Field((), description="texts that must all occur")
    any: tuple[str, ...] = Field((), description="texts of which at least one must occur")
    none: tuple[str, ...] = Field((), description="texts that must not occur")

    @model_validator(mode="after")
    def _check_any_given(self) -> Self:
        if not (self.all or self.any or self.none):
            raise ValueError("name texts under all, any or none")
        return self

    def __call__(self, input: Mapping[str, JSON], answer: JSON, expected: JSON) -> float:
        text = as_text(answer).casefold()
        rules = [one.casefold() in text for one in self.all]
        rules += [any(one.casefold() in text for one in self.any)] if self.any else []
        rules += [one.casefold() not in text for one in self.none]
        return sum(rules) / len(rules)


class Refuses(CheckOptions):
    """Whether the answer refuses exactly when the expected answer refuses. A refusal is detected by phrases; case is
    ignored.
    """

    phrases: tuple[str, ...] = Field(REFUSAL_PHRASES, description="phrases that mark a refusal")

    def __call__(self, input: Mapping[str, JSON], answer: JSON, expected: JSON) -> float | None:
        return None if expected is None else float(self.is_refusal(answer) == self.is_refusal(expected))

    def is_refusal(self, answer: JSON) -> bool:
        """Whether one of the phrases stands in the answer, case ignored; a curly apostrophe is as a straight one."""
        text = as_text(answer).casefold().replace("\u2019", "'")
        return any(phrase.casefold() in text for phrase in self.phrases)


def exact(input: Mapping[str, JSON], answer: JSON, expected: JSON) -> float | None:
    """Whether the answer equals the expected one. Differences in white space are ignored in texts."""
    if expected is None:
        return None
    if isinstance(answer, str) and isinstance(expected, str):
        return float(answer.split() == expected.split())
    return float(_json_equal(answer, expected))


def overlap(input: Mapping[str, JSON], answer: JSON, expected: JSON) -> float | None:
    """F1 of the words shared with the expected answer; case is ignored (Rajpurkar et al., 2016)."""
    if expected is None:
        return None
    mine, theirs = (Counter(WORD.findall(as_text(one).casefold())) for one in (answer, expected))
    shared, total = (mine & theirs).total(), mine.total() + theirs.total()
    return 2 * shared / total if total else 1.0


def numbers(input: Mapping[str, JSON], answer: JSON, expected: JSON) -> float | None:
    """Share of the numbers in the answer that also occur in the input; None if the answer has no number.

    Numbers of list items, and signs that group digits or end a number, are ignored.
    """
    said = NUMBER.findall(re.sub(r"(?m)^[ \t]*\d+[.)][ \t]", "", as_text(answer)))
    given = {_normalise_number(one) for text in _iterate_strings(input) for one in NUMBER.findall(text)}
    return sum(_normalise_number(one) in given for one in said) / len(said) if said else None


def fields(input: Mapping[str, JSON], answer: JSON, expected: JSON) -> float | None:
    """Share of the JSON values that the answer and the expected answer have in common, at the same place."""
    if expected is None:
        return None
    mine, theirs = dict(iterate_leaves(answer)), dict(iterate_leaves(expected))
    both = sum(place in mine and _json_equal(mine[place], value) for place, value in theirs.items())
    return both / len(mine.keys() | theirs.keys())


def iterate_leaves(value: JSON, place: str = "") -> Iterator[tuple[str, JSON]]:
    """JSON pointer (RFC 6901) and value of all that holds nothing further; an empty list or object is such a value."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from iterate_leaves(inner, place + pointer_step(key))
    elif isinstance(value, (list, tuple)) and value:
        for number, inner in enumerate(value):
            yield from iterate_leaves(inner, place + pointer_step(number))
    else:
        yield place, value


def as_text(answer: JSON) -> str:
    """An answer to read: text as it is, anything else as JSON."""
    return answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)


def _json_equal(one: JSON, other: JSON) -> bool:
    """Equality of JSON, in which true is not 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_json_equal(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(_json_equal, one, other))
    return bool(one == other)


def _normalise_number(number: str) -> str:
    """1,234.50 and 1234.5 are one number: the last sign before one or two digits is the point, others group."""
    whole, sign, part = re.sub(r"[.,](?=\d{3}(?!\d))", "", number).replace(",", ".").rpartition(".")
    plain = f"{whole.replace('.', '')}.{part}".rstrip("0").rstrip(".") if sign else part
    return plain.lstrip("0") or "0"


def _iterate_strings(value: JSON) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _iterate_strings(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _iterate_strings(inner)
