"""How people type: slips of the finger, case, punctuation and spacing."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence, Set
from typing import Literal

from pydantic import Field

from loratory.perturbations.changes import Edit, Perturbation, Place

LONG_WORD = re.compile(r"(?<![\w])[^\W\d_]{4,}(?![\w])")
WORD = re.compile(r"\S+")
GAP = re.compile(r" +")
MARKS = re.compile(r"[.,;:!?\u2026\u3002\uff0c\u3001\uff01\uff1f\uff1b\uff1a\u060c\u061b\u061f\u0964]+")
ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")


def _neighbours() -> dict[str, str]:
    """The keys beside each key of a QWERTY keyboard, on its own row and on those above and below."""
    spots = {key: (x + 0.4 * y, y) for y, row in enumerate(ROWS) for x, key in enumerate(row)}
    return {
        key: "".join(k for k, (a, b) in spots.items() if k != key and abs(a - x) < 1.1 and abs(b - y) < 1.1)
        for key, (x, y) in spots.items()
    }


NEIGHBOURS = _neighbours()


class Typos(Perturbation):
    """A neighbouring key, two letters swapped, one dropped or doubled: one slip in some of the words.

    Only inner letters of words of four letters and more, so that a reader still knows the word (Pruthi et al. 2019);
    never in a word with a digit, and never in a span: a code or a name with a slip in it is another one.
    """

    strength: float = Field(0.2, gt=0, le=1, description="share of the longer words with a slip; one at least")

    def edits(self, text: str, chance: random.Random, kept: Sequence[Place]) -> list[Edit]:
        words = [found for found in LONG_WORD.finditer(text) if not Edit(*found.span(), "").within(kept)]
        made = [edit for found in words if (edit := self._slip(found.group(), found.start(), chance)) is not None]
        return self.some(made, chance)

    def _slip(self, word: str, start: int, chance: random.Random) -> Edit | None:
        slips = [slip for kind in (_key, _swapped, _dropped, _doubled) if (slip := kind(word, chance)) != word]
        return Edit(start, start + len(word), chance.choice(slips)) if slips else None


def _inner(word: str, chance: random.Random) -> int:
    return chance.randrange(1, len(word) - 1)


def _key(word: str, chance: random.Random) -> str:
    places = [place for place in range(1, len(word) - 1) if word[place].lower() in NEIGHBOURS]
    if not places:
        return word
    place = chance.choice(places)
    key = chance.choice(NEIGHBOURS[word[place].lower()])
    return word[:place] + (key.upper() if word[place].isupper() else key) + word[place + 1 :]


def _swapped(word: str, chance: random.Random) -> str:
    places = [place for place in range(1, len(word) - 2) if word[place] != word[place + 1]]
    if not places:
        return word
    place = chance.choice(places)
    return word[:place] + word[place + 1] + word[place] + word[place + 2 :]


def _dropped(word: str, chance: random.Random) -> str:
    place = _inner(word, chance)
    return word[:place] + word[place + 1 :]


def _doubled(word: str, chance: random.Random) -> str:
    place = _inner(word, chance)
    return word[:place] + word[place] + word[place:]


class Case(Perturbation):
    """All upper case, all lower case, or letters of mixed case.

    A word with a digit keeps its case, for case can be a part of a code; so does one that a span with a digit holds.
    """

    strength: float = Field(1.0, gt=0, le=1, description="share of the words that change")
    style: Literal["any", "upper", "lower", "mixed"] = Field("any", description="any: one of the others for each text")

    def edits(self, text: str, chance: random.Random, kept: Sequence[Place]) -> list[Edit]:
        styles = ["upper", "lower", "mixed"] if self.style == "any" else [self.style]
        chance.shuffle(styles)
        codes = [place for place in kept if any(c.isdigit() for c in text[slice(*place)])]
        words = [
            found
            for found in WORD.finditer(text)
            if not any(c.isdigit() for c in found.group()) and not Edit(*found.span(), "").within(codes)
        ]
        for style in styles:
            made = [edits for word in words if (edits := list(_cased(word.group(), word.start(), style, chance)))]
            if made:
                picked = chance.sample(made, max(1, round(self.strength * len(made))))
                return [edit for edits in picked for edit in edits]
        return []


def _cased(word: str, start: int, style: str, chance: random.Random) -> Iterator[Edit]:
    """An edit for each letter, so that every place in the word is found again."""
    turns: dict[str, Callable[[str], str]] = {"upper": str.upper, "lower": str.lower, "mixed": str.swapcase}
    letters = [place for place, letter in enumerate(word) if turns[style](letter) != letter]
    if style == "mixed" and letters:
        letters = sorted(chance.sample(letters, (len(letters) + 1) // 2))
    for place in letters:
        yield Edit(start + place, start + place + 1, turns[style](word[place]))


class Punctuation(Perturbation):
    """Marks taken out, or doubled.

    A mark between two letters or digits stays, for it may belong to a number, a time or an address; so do those in
    spans, whose text would be another.
    """

    strength: float = Field(1.0, gt=0, le=1, description="share of the marks that change; one at least does")
    style: Literal["any", "removed", "doubled"] = Field("any", description="any: one of the others for each text")

    def edits(self, text: str, chance: random.Random, kept: Sequence[Place]) -> list[Edit]:
        style = chance.choice(("removed", "doubled")) if self.style == "any" else self.style
        made = [
            Edit(found.start(), found.end(), "" if style == "removed" else 2 * found.group())
            for found in MARKS.finditer(text)
            if not (_beside(text, found.start() - 1) and _beside(text, found.end()))
        ]
        return self.some([edit for edit in made if not edit.within(kept)], chance)


def _beside(text: str, place: int) -> bool:
    return 0 <= place < len(text) and text[place].isalnum()


class Spacing(Perturbation):
    """Spaces doubled, missing, or in their place a tab or a space that does not break.

    None is missing between two digits, which would make another number, nor beside a span, which would then begin or
    end within a word; those in spans stay as they are.
    """

    styles: tuple[Literal["doubled", "missing", "tab", "fixed"], ...] = Field(
        ("doubled", "missing", "tab", "fixed"), min_length=1, description="fixed: U+00A0, which does not break"
    )

    def edits(self, text: str, chance: random.Random, kept: Sequence[Place]) -> list[Edit]:
        edges = {edge for place in kept for edge in place}
        made = [self._gap(text, found, edges, chance) for found in GAP.finditer(text)]
        return self.some([edit for edit in made if edit is not None and not edit.within(kept)], chance)

    def _gap(self, text: str, gap: re.Match[str], edges: Set[int], chance: random.Random) -> Edit | None:
        digits = gap.start() > 0 and text[gap.start() - 1].isdigit() and text[gap.end() : gap.end() + 1].isdigit()
        needed = digits or not edges.isdisjoint(gap.span())
        styles = [style for style in self.styles if not (style == "missing" and needed)]
        if not styles:
            return None
        instead = {"doubled": 2 * gap.group(), "missing": "", "tab": "\t", "fixed": "\u00a0"}
        return Edit(gap.start(), gap.end(), instead[chance.choice(styles)])
