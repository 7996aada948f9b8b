"""A perturbation: words that say nothing, as people put them into what they dictate."""

from __future__ import annotations

import random
from collections.abc import Sequence

from pydantic import Field

from loratory.perturbations.changes import Edit, Perturbation, TextSpan


class Fillers(Perturbation):
    """Puts a word between two others. Never into a span: a name with a word in it is another one."""

    strength: float = Field(0.1, gt=0, le=1, description="share of the gaps that are filled; one at least")
    words: tuple[str, ...] = Field(("um", "well", "like"), min_length=1, description="the words to put in")

    def edits(self, text: str, rng: random.Random, spans: Sequence[TextSpan]) -> list[Edit]:
        gaps = [place for place, sign in enumerate(text) if sign == " "]
        made = [Edit(place, place, f" {rng.choice(self.words)}") for place in gaps]
        return self.sample_edits([edit for edit in made if not edit.overlaps(spans)], rng)
