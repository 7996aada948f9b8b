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

Place = tuple[int, int]  # start and end in characters, end left out


@dataclass(frozen=True)
class Edit:
    """text[start:end] becomes `text`; an insertion has start == end."""

    start: int
    end: int
    text: str

    def within(self, places: Iterable[Place]) -> bool:
        """Whether it changes what stands in one of the places; what is put in at an end of one stands outside."""
        if self.start == self.end:
            return any(start < self.start < end for start, end in places)
        return any(self.start < end and start < self.end for start, end in places)


@dataclass(frozen=True)
class Changed:
    """A text after edits, which are in order and do not overlap."""

    before: str
    edits: tuple[Edit, ...]

    @property
    def text(self) -> str:
        parts, last = [], 0
        for edit in self.edits:
            parts += [self.before[last : edit.start], edit.text]
            last = edit.end
        return "".join((*parts, self.before[last:]))

    def moved(self, start: int, end: int) -> Place:
        """Where a place of the text before is now: what was put in at its ends stays outside of it."""
        first = sum(len(edit.text) - (edit.end - edit.start) for edit in self.edits if edit.end <= start)
        last = sum(len(edit.text) - (edit.end - edit.start) for edit in self.edits if edit.start < end)
        return start + first, end + last


class Perturbation(BaseModel):
    """A change that leaves the right answer as it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    strength: float = Field(0.3, gt=0, le=1, description="share of the places that could be changed; one at least is")

    def __call__(self, text: str, seed: int, kept: Sequence[Place] = ()) -> Changed | None:
        """The changed text, never the same nor emptied; None where the text offers nothing to change."""
        chance = random.Random(_hashed(type(self).__name__, seed, text))
        made = Changed(text, tuple(sorted(self.edits(text, chance, kept), key=lambda edit: (edit.start, edit.end))))
        return made if made.text != text and (made.text.strip() or not text.strip()) else None

    @abstractmethod
    def edits(self, text: str, chance: random.Random, kept: Sequence[Place]) -> list[Edit]:
        """Edits that do not overlap; none where there is nothing to change."""

    def some(self, edits: Sequence[Edit], chance: random.Random) -> list[Edit]:
        """So many of the possible edits as `strength` says, one at least."""
        return chance.sample(edits, max(1, round(self.strength * len(edits)))) if edits else []


def _hashed(*parts: object) -> int:
    """`repr` writes what UTF-8 cannot, such as half of a surrogate pair."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big")
