"""Offsets of spans: what tools count, and where such offsets stand in a Python string.

Python counts characters (code points). JavaScript, Java and C# count UTF-16 code units: a character beyond U+FFFF, as
most emoji are, counts two. Rust, Go and C tools count UTF-8 bytes: "ü" counts two, "€" three, an emoji four.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

OffsetUnit = Literal["characters", "utf-16", "utf-8"]
EndConvention = Literal["exclusive", "inclusive"]
UNIT_NAMES = {"characters": "characters", "utf-16": "UTF-16 code units", "utf-8": "UTF-8 bytes"}
UNSPACED_SCRIPTS = (  # first and last characters of scripts without white space between words, or before a particle
    ("\u1100", "\u11ff"),  # Hangul: particles stand at the name
    ("\u3130", "\u318f"),  # Hangul
    ("\uac00", "\ud7af"),  # Hangul
    ("\u0e00", "\u0eff"),  # Thai, Lao
    ("\u0f00", "\u0fff"),  # Tibetan
    ("\u1000", "\u109f"),  # Myanmar
    ("\u1780", "\u17ff"),  # Khmer
    ("\u2e80", "\u30ff"),  # Han's radicals and signs, Hiragana, Katakana
    ("\u31f0", "\u31ff"),  # Katakana
    ("\u3400", "\u9fff"),  # Han
    ("\uf900", "\ufaff"),  # Han
    ("\uff66", "\uff9f"),  # Katakana of half the width
    ("\U0001b000", "\U0001b16f"),  # Kana
    ("\U00020000", "\U0003ffff"),  # Han
)
ZERO_WIDTH_JOINER = "\u200d"  # makes one emoji of two
SKIN_TONES = ("\U0001f3fb", "\U0001f3ff")  # change the emoji before them


@dataclass(frozen=True)
class OffsetFormat:
    """How offsets are read: what they count, whether the end is counted in, and the number of the first character."""

    unit: OffsetUnit = "characters"
    end: EndConvention = "exclusive"
    first: int = 0

    @property
    def options(self) -> dict[str, Any]:
        """The options under `task:` that ask for this reading, defaults left out."""
        asked = {"offsets": (self.unit, "characters"), "end": (self.end, "exclusive"), "first": (self.first, 0)}
        return {name: value for name, (value, default) in asked.items() if value != default}

    @property
    def name(self) -> str:
        """In words: "UTF-16 code units, the end counted in"."""
        end = ", the end counted in" if self.end == "inclusive" else ""
        return UNIT_NAMES[self.unit] + (f" from {self.first}" if self.first else "") + end

    @property
    def spec_text(self) -> str:
        """The options as they stand in a spec: "offsets: utf-16, end: inclusive"."""
        return ", ".join(f"{name}: {value}" for name, value in self.options.items())

    def build_remedy(self, now: OffsetFormat | None = None) -> str:
        """The edit of a spec that asks for `now` (by default for nothing): "set task: offsets: utf-16"."""
        before = {**dict.fromkeys(self.options), **(now.options if now else {})}
        defaults = {"offsets": "characters", "end": "exclusive", "first": 0}
        asked = {name: self.options.get(name, defaults[name]) for name in before}
        return "set task: " + ", ".join(f"{name}: {value}" for name, value in asked.items() if value != before[name])


def to_characters(text: str, offset_format: OffsetFormat) -> Callable[[int, int], tuple[int, int] | None]:
    """A function from given start and end to those in characters, end left out.

    It returns None for offsets outside the text, inside of a character, or of an empty span.
    """
    places = _build_position_lookup(text, offset_format.unit)
    shift = offset_format.first - (offset_format.end == "inclusive")

    def convert(start: int, end: int) -> tuple[int, int] | None:
        first, last = places(start - offset_format.first), places(end - shift)
        if last is None and offset_format.end == "inclusive":  # the end may name any unit of the last character
            last = next((place for more in range(1, 4) if (place := places(end - shift + more)) is not None), None)
        return (first, last) if first is not None and last is not None and first < last else None

    return convert


def from_characters(text: str, offset_format: OffsetFormat) -> Callable[[int, int], tuple[int, int]]:
    """The inverse of `to_characters`: from start and end in characters to those that a file in this reading holds."""
    units = _compute_unit_offsets(text, offset_format.unit)
    shift = offset_format.first - (offset_format.end == "inclusive")

    def convert(start: int, end: int) -> tuple[int, int]:
        if units is None:
            return start + offset_format.first, end + shift
        return units[start] + offset_format.first, units[end] + shift

    return convert


def find_first_difference(text: str, unit: OffsetUnit) -> int:
    """The character from which on offsets in this unit differ from characters; the text's length where none does."""
    if unit == "characters" or text.isascii():
        return len(text)
    limit = 0xFFFF if unit == "utf-16" else 0x7F
    return next((place for place, sign in enumerate(text) if ord(sign) > limit), len(text))


def check_span_start(text: str, place: int) -> str:
    """What is wrong with a span that starts here: "inside", "white", "" (nothing), or "?" in such a script."""
    return "white" if text[place].isspace() else _check_boundary(text, place)


def check_span_end(text: str, place: int) -> str:
    """What is wrong with a span that ends before this place, as of `check_span_start`."""
    return "white" if text[place - 1].isspace() else _check_boundary(text, place)


def _check_boundary(text: str, place: int) -> str:
    if not 0 < place < len(text):
        return ""
    before, after = text[place - 1], text[place]
    if (
        ZERO_WIDTH_JOINER in (before, after)
        or SKIN_TONES[0] <= after <= SKIN_TONES[1]
        or unicodedata.category(after).startswith("M")
    ):
        return "inside"
    if not (_is_word_character(before) and _is_word_character(after)):
        return ""
    return "?" if _is_unspaced(before) or _is_unspaced(after) else "inside"


def _is_word_character(sign: str) -> bool:
    return sign.isalnum() or sign == "_" or unicodedata.category(sign).startswith("M")


def _is_unspaced(sign: str) -> bool:
    return sign >= "\u0e00" and any(first <= sign <= last for first, last in UNSPACED_SCRIPTS)


def _compute_unit_offsets(text: str, unit: OffsetUnit) -> list[int] | None:
    """The offset of each character in this unit, and that of the end; None where they are the characters' own."""
    if find_first_difference(text, unit) == len(text):
        return None
    units = [0]
    for sign in text:
        code = ord(sign)
        size = 1 + (code > 0xFFFF) if unit == "utf-16" else 1 + (code > 0x7F) + (code > 0x7FF) + (code > 0xFFFF)
        units.append(units[-1] + size)
    return units


def _build_position_lookup(text: str, unit: OffsetUnit) -> Callable[[int], int | None]:
    units = _compute_unit_offsets(text, unit)
    if units is None:
        return lambda offset: offset if 0 <= offset <= len(text) else None
    return {offset: place for place, offset in enumerate(units)}.get
