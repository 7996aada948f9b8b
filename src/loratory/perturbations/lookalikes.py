"""Characters that a reader takes for others: Unicode look-alikes (UTS #39 calls them confusables)."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from loratory.perturbations.changes import Edit, Perturbation, TextSpan

LATIN = "aceijopsxyABEHIKMOPSTXYZ"
CYRILLIC_OR_GREEK = (  # of the letters above, in their order
    "\u0430\u0441\u0435\u0456\u0458\u043e\u0440\u0455\u0445\u0443"
    "\u0410\u0412\u0415\u041d\u0406\u039a\u041c\u041e\u0420\u0405\u0422\u03a7\u03a5\u0396"
)
LETTER_LOOKALIKES = dict(zip(LATIN, CYRILLIC_OR_GREEK, strict=True)) | dict(zip(CYRILLIC_OR_GREEK, LATIN, strict=True))
FULL_WIDTH_OFFSET = 0xFEE0  # from an ASCII character to its full-width form
ZERO_WIDTH = ("\u200b", "\u2060")  # without width and without a meaning in any script; joiners have one in some
INSIDE_WORD = re.compile(r"(?<=[^\W_])(?=[^\W_])")  # between two letters or digits


class Lookalikes(Perturbation):
    """Replaces Latin letters by Cyrillic or Greek look-alikes and back, uses full-width forms, or inserts zero-width
    characters.

    Spans change too: a person still reads the name or number, and this perturbation tests whether it can be hidden from
    a machine.
    """

    styles: tuple[Literal["letters", "full-width", "zero-width"], ...] = Field(
        ("letters", "full-width", "zero-width"), min_length=1, description="kinds of change; one is drawn for each text"
    )

    def edits(self, text: str, rng: random.Random, spans: Sequence[TextSpan]) -> list[Edit]:
        """Characters of one style, drawn among those that the text offers a place for; in spans as well."""
        for style in rng.sample(self.styles, len(self.styles)):
            if made := _find_edits(text, style, rng):
                return self.sample_edits(made, rng)
        return []


def _find_edits(text: str, style: str, rng: random.Random) -> list[Edit]:
    if style == "zero-width":
        return [Edit(found.start(), found.start(), rng.choice(ZERO_WIDTH)) for found in INSIDE_WORD.finditer(text)]
    if style == "letters":
        return [
            Edit(i, i + 1, LETTER_LOOKALIKES[letter]) for i, letter in enumerate(text) if letter in LETTER_LOOKALIKES
        ]
    wide = [(i, letter) for i, letter in enumerate(text) if letter.isascii() and letter.isalnum()]
    return [Edit(i, i + 1, chr(ord(letter) + FULL_WIDTH_OFFSET)) for i, letter in wide]
