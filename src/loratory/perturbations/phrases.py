"""Harmless words before or behind a text: they say nothing about what it is about."""

from __future__ import annotations

import random
from collections.abc import Sequence

from pydantic import Field

from loratory.perturbations.changes import Edit, Perturbation, Place

BEFORE = (
    "Hello,",
    "Good morning,",
    "Hi there,",
    "Dear team,",
    "To whom it may concern:",
    "I hope you are well.",
    "Sorry to bother you.",
    "Just a short note.",
    "As mentioned before:",
    "Long-time reader, first-time writer.",
    "Not sure whether this is the right place.",
    "I write this on the train, so please bear with me.",
)
BEHIND = (
    "Please advise.",
    "Thank you.",
    "Thanks in advance.",
    "Kind regards",
    "Many thanks for your time.",
    "Have a nice day!",
    "I look forward to your reply.",
    "Let me know what you think.",
    "Hope this makes sense.",
    "Sent from my phone",
    "No hurry.",
    "That is all for today.",
)
MOST = 4  # phrases at strength 1
STRENGTH = Field(0.25, gt=0, le=1, description=f"share of {MOST} phrases that are added; one at least is")


class Prefix(Perturbation):
    """Harmless words before the text. Spans move along with it, and nothing in them changes."""

    strength: float = STRENGTH
    phrases: tuple[str, ...] = Field(BEFORE, min_length=1, description="what is drawn from, in the texts' own language")

    def edits(self, text: str, chance: random.Random, kept: Sequence[Place]) -> list[Edit]:
        return [Edit(0, 0, _drawn(self.phrases, self.strength, chance) + (" " if text else ""))]


class Suffix(Perturbation):
    """Harmless words behind the text; nothing in its spans changes."""

    strength: float = STRENGTH
    phrases: tuple[str, ...] = Field(BEHIND, min_length=1, description="what is drawn from, in the texts' own language")

    def edits(self, text: str, chance: random.Random, kept: Sequence[Place]) -> list[Edit]:
        end = len(text)
        return [Edit(end, end, (" " if text else "") + _drawn(self.phrases, self.strength, chance))]


def _drawn(phrases: Sequence[str], strength: float, chance: random.Random) -> str:
    count = max(1, round(strength * MOST))
    return " ".join(chance.sample(phrases, min(count, len(phrases))))
