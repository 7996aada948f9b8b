"""What a perturbation is: a pure function of a text and a seed to another text, with the way for its spans.

A perturbation is a frozen pydantic model whose fields are its options, `strength` among them. `kept` are the expected
spans of the text: each class says in its docstring why it may change what lies in them, or leaves it alone.
"""

from __future__ import annotations

import hashlib
import random
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

TextSpan = tuple[int, int]  # start and end in characters, end left out


@dataclass(frozen=True)
class Edit:
    """text[start:end] becomes `text`; an insertion has start == end."""

    start: int
    end: int
    text: str

    def overlaps(self, spans: Iterable[TextSpan]) -> bool:
        """Whether it changes what stands in one of the places; what is put in at an end of one stands outside."""
        if self.start == self.end:
            return any(start < self.start < end for start, end in spans)
        return any(self.start < end and start < self.end for start, end in spans)


@dataclass(frozen=True)
class PerturbedText:
    """A text after edits, which are in order and do not overlap."""

    original: str
    edits: tuple[Edit, ...]

    @property
    def text(self) -> str:
        parts, last = [], 0
        for edit in self.edits:
            parts += [self.original[last : edit.start], edit.text]
            last = edit.end
        return "".join((*parts, self.original[last:]))

    def map_span(self, start: int, end: int) -> TextSpan:
        """Where a place of the text before is now: what was put in at its ends stays outside of it."""
        first = sum(len(edit.text) - (edit.end - edit.start) for edit in self.edits if edit.end <= start)
        last = sum(len(edit.text) - (edit.end - edit.start) for edit in self.edits if edit.start < end)
        return start + first, end + last


class Perturbation(BaseModel):
    """A change that leaves the right answer as it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    strength: float = Field(0.3, gt=0, le=1, description="share of the possible places that change, at least one")

    def __call__(self, text: str, seed: int, spans: Sequence[TextSpan] = ()) -> PerturbedText | None:
        """The changed text, never the same nor emptied; None where the text offers nothing to change."""
        chance = random.Random(_derive_seed(type(self).__name__, seed, text))
        made = PerturbedText(
            text, tuple(sorted(self.edits(text, chance, spans), key=lambda edit: (edit.start, edit.end)))
        )
        return made if made.text != text and (made.text.strip() or not text.strip()) else None

    @abstractmethod
    def edits(self, text: str, rng: random.Random, spans: Sequence[TextSpan]) -> list[Edit]:
        """Edits that do not overlap; none where there is nothing to change."""

    def sample_edits(self, edits: Sequence[Edit], rng: random.Random) -> list[Edit]:
        """So many of the possible edits as `strength` says, one at least."""
        return rng.sample(edits, max(1, round(self.strength * len(edits)))) if edits else []


def _derive_seed(*parts: object) -> int:
    """`repr` writes what UTF-8 cannot, such as half of a surrogate pair."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big")
