"""How people type: slips of the finger, case, punctuation and spacing."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence, Set
from typing import Literal

from pydantic import Field

from loratory.perturbations.changes import Edit, Perturbation, TextSpan

LONG_WORD = re.compile(r"(?<![\w])[^\W\d_]{4,}(?![\w])")
WORD = re.compile(r"\S+")
GAP = re.compile(r" +")
PUNCTUATION_MARKS = re.compile(r"[.,;:!?\u2026\u3002\uff0c\u3001\uff01\uff1f\uff1b\uff1a\u060c\u061b\u061f\u0964]+")
KEYBOARD_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")


def _find_key_neighbours() -> dict[str, str]:
    """The keys beside each key of a QWERTY keyboard, on its own row and on those above and below."""
    spots = {key: (x + 0.4 * y, y) for y, row in enumerate(KEYBOARD_ROWS) for x, key in enumerate(row)}
    return {
        key: "".join(k for k, (a, b) in spots.items() if k != key and abs(a - x) < 1.1 and abs(b - y) < 1.1)
        for key, (x, y) in spots.items()
    }


KEY_NEIGHBOURS = _find_key_neighbours()


class Typos(Perturbation):
    """One slip in some words: a neighbouring key, two swapped letters, a dropped or a doubled letter.

    Only inner letters of words with at least four letters change, so that a reader still knows the word (Pruthi et al.,
    2019). Words with digits and spans never change, because a slip makes another code or name.
    """

    strength: float = Field(0.2, gt=0, le=1, description="share of the longer words that get a slip, at least one")

    def edits(self, text: str, rng: random.Random, spans: Sequence[TextSpan]) -> list[Edit]:
        """One slip in each word that is drawn, among the longer ones outside of the spans."""
        words = [found for found in LONG_WORD.finditer(text) if not Edit(*found.span(), "").overlaps(spans)]
        made = [edit for found in words if (edit := self._make_typo(found.group(), found.start(), rng)) is not None]
        return self.sample_edits(made, rng)

    def _make_typo(self, word: str, start: int, rng: random.Random) -> Edit | None:
        slips = [
            slip
            for kind in (_replace_with_neighbour, _swap_letters, _drop_letter, _double_letter)
            if (slip := kind(word, rng)) != word
        ]
        return Edit(start, start + len(word), rng.choice(slips)) if slips else None


def _choose_inner_position(word: str, rng: random.Random) -> int:
    return rng.randrange(1, len(word) - 1)


def _replace_with_neighbour(word: str, rng: random.Random) -> str:
    places = [place for place in range(1, len(word) - 1) if word[place].lower() in KEY_NEIGHBOURS]
    if not places:
        return word
    place = rng.choice(places)
    key = rng.choice(KEY_NEIGHBOURS[word[place].lower()])
    return word[:place] + (key.upper() if word[place].isupper() else key) + word[place + 1 :]


def _swap_letters(word: str, rng: random.Random) -> str:
    places = [place for place in range(1, len(word) - 2) if word[place] != word[place + 1]]
    if not places:
        return word
    place = rng.choice(places)
    return word[:place] + word[place + 1] + word[place] + word[place + 2 :]


def _drop_letter(word: str, rng: random.Random) -> str:
    place = _choose_inner_position(word, rng)
    return word[:place] + word[place + 1 :]


def _double_letter(word: str, rng: random.Random) -> str:
    place = _choose_inner_position(word, rng)
    return word[:place] + word[place] + word[place:]


class Case(Perturbation):
    """Changes words to upper, lower or mixed case.

    Words with digits, and words in spans with digits, keep their case, because case can be part of a code.
    """

    strength: float = Field(1.0, gt=0, le=1, description="share of the words that change")
    style: Literal["any", "upper", "lower", "mixed"] = Field(
        "any", description="any: a random one of the others for each text"
    )

    def edits(self, text: str, rng: random.Random, spans: Sequence[TextSpan]) -> list[Edit]:
        """Letters of the words that are drawn, in the first style of a drawn order that changes any word."""
        styles = ["upper", "lower", "mixed"] if self.style == "any" else [self.style]
        rng.shuffle(styles)
        codes = [place for place in spans if any(c.isdigit() for c in text[slice(*place)])]
        words = [
            found
            for found in WORD.finditer(text)
            if not any(c.isdigit() for c in found.group()) and not Edit(*found.span(), "").overlaps(codes)
        ]
        for style in styles:
            made = [edits for word in words if (edits := list(_change_case(word.group(), word.start(), style, rng)))]
            if made:
                picked = rng.sample(made, max(1, round(self.strength * len(made))))
                return [edit for edits in picked for edit in edits]
        return []


def _change_case(word: str, start: int, style: str, rng: random.Random) -> Iterator[Edit]:
    """An edit for each letter, so that every place in the word is found again."""
    turns: dict[str, Callable[[str], str]] = {"upper": str.upper, "lower": str.lower, "mixed": str.swapcase}
    letters = [place for place, letter in enumerate(word) if turns[style](letter) != letter]
    if style == "mixed" and letters:
        letters = sorted(rng.sample(letters, (len(letters) + 1) // 2))
    for place in letters:
        yield Edit(start + place, start + place + 1, turns[style](word[place]))


class Punctuation(Perturbation):
    """Removes or doubles punctuation marks.

    Marks between two letters or digits stay, because they can belong to a number, a time or an address. Marks in spans
    stay too.
    """

    strength: float = Field(1.0, gt=0, le=1, description="share of the marks that change, at least one")
    style: Literal["any", "removed", "doubled"] = Field(
        "any", description="any: a random one of the others for each text"
    )

    def edits(self, text: str, rng: random.Random, spans: Sequence[TextSpan]) -> list[Edit]:
        """Marks that are drawn, all taken out or all doubled; none in a span, or between letters or digits."""
        style = rng.choice(("removed", "doubled")) if self.style == "any" else self.style
        made = [
            Edit(found.start(), found.end(), "" if style == "removed" else 2 * found.group())
            for found in PUNCTUATION_MARKS.finditer(text)
            if not (_is_alphanumeric_at(text, found.start() - 1) and _is_alphanumeric_at(text, found.end()))
        ]
        return self.sample_edits([edit for edit in made if not edit.overlaps(spans)], rng)


def _is_alphanumeric_at(text: str, place: int) -> bool:
    return 0 <= place < len(text) and text[place].isalnum()


class Spacing(Perturbation):
    """Doubles or removes spaces, or replaces them by a tab or a no-break space.

    A space is never removed between two digits, which would make another number, or beside a span, which would then
    start or end inside a word. Spaces in spans stay.
    """

    styles: tuple[Literal["doubled", "missing", "tab", "fixed"], ...] = Field(
        ("doubled", "missing", "tab", "fixed"),
        min_length=1,
        description="kinds of change; fixed: U+00A0, the no-break space",
    )

    def edits(self, text: str, rng: random.Random, spans: Sequence[TextSpan]) -> list[Edit]:
        """Gaps between words that are drawn, each in a style of its own; none in a span."""
        edges = {edge for place in spans for edge in place}
        made = [self._change_gap(text, found, edges, rng) for found in GAP.finditer(text)]
        return self.sample_edits([edit for edit in made if edit is not None and not edit.overlaps(spans)], rng)

    def _change_gap(self, text: str, match: re.Match[str], edges: Set[int], rng: random.Random) -> Edit | None:
        digits = (
            match.start() > 0 and text[match.start() - 1].isdigit() and text[match.end() : match.end() + 1].isdigit()
        )
        needed = digits or not edges.isdisjoint(match.span())
        styles = [style for style in self.styles if not (style == "missing" and needed)]
        if not styles:
            return None
        instead = {"doubled": 2 * match.group(), "missing": "", "tab": "\t", "fixed": "\u00a0"}
        return Edit(match.start(), match.end(), instead[rng.choice(styles)])
