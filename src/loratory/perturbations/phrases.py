"""Harmless words before or behind a text: they say nothing about what it is about."""

from __future__ import annotations

import random
from collections.abc import Sequence

from pydantic import Field

from loratory.perturbations.changes import Edit, Perturbation, TextSpan

OPENING_PHRASES = (
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
CLOSING_PHRASES = (
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
MAX_PHRASES = 4  # phrases at strength 1
STRENGTH_FIELD = Field(0.25, gt=0, le=1, description=f"share of {MAX_PHRASES} phrases that are added, at least one")


class Prefix(Perturbation):
    """Adds harmless phrases before the text. Spans move with the text and do not change."""

    strength: float = STRENGTH_FIELD
    phrases: tuple[str, ...] = Field(
        OPENING_PHRASES, min_length=1, description="phrases to choose from, in the language of the texts"
    )

    def edits(self, text: str, rng: random.Random, spans: Sequence[TextSpan]) -> list[Edit]:
        """One edit at the beginning: the phrases that were drawn, and a space."""
        return [Edit(0, 0, _sample_phrases(self.phrases, self.strength, rng) + (" " if text else ""))]


class Suffix(Perturbation):
    """Adds harmless phrases after the text. Spans do not change."""

    strength: float = STRENGTH_FIELD
    phrases: tuple[str, ...] = Field(
        CLOSING_PHRASES, min_length=1, description="phrases to choose from, in the language of the texts"
    )

    def edits(self, text: str, rng: random.Random, spans: Sequence[TextSpan]) -> list[Edit]:
        """One edit at the end: a space, and the phrases that were drawn."""
        end = len(text)
        return [Edit(end, end, (" " if text else "") + _sample_phrases(self.phrases, self.strength, rng))]


def _sample_phrases(phrases: Sequence[str], strength: float, rng: random.Random) -> str:
    count = max(1, round(strength * MAX_PHRASES))
    return " ".join(rng.sample(phrases, min(count, len(phrases))))
