"""A perturbation: filler words, as in dictated text."""

from __future__ import annotations

import random
from collections.abc import Sequence

from pydantic import Field

from loratory.perturbations.changes import Edit, Perturbation, TextSpan


class Fillers(Perturbation):
    """Inserts a filler between two words, never inside a span: a name with another word in it is another name."""

    strength: float = Field(0.1, gt=0, le=1, description="share of the gaps that get a filler, at least one")
    words: tuple[str, ...] = Field(("um", "well", "like"), min_length=1, description="fillers to choose from")

    def edits(self, text: str, rng: random.Random, spans: Sequence[TextSpan]) -> list[Edit]:
        gaps = [place for place, sign in enumerate(text) if sign == " "]
        made = [Edit(place, place, f" {rng.choice(self.words)}") for place in gaps]
        return self.sample_edits([edit for edit in made if not edit.overlaps(spans)], rng)
