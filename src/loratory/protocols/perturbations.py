"""A perturbation: a change of a text that leaves the right answer as it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from loratory.perturbations.changes import PerturbedText, TextSpan


class Perturbation(Protocol):
    """A frozen pydantic model whose fields are its options in the YAML; `perturbations.changes.Perturbation` helps."""

    def __call__(self, text: str, seed: int, spans: Sequence[TextSpan] = ()) -> PerturbedText | None:
        """The changed text, never the same nor emptied; None where the text offers nothing to change.

        A pure function: the same text and seed give the same. `spans` are the places of the expected spans.
        """

    def model_dump(self, *, mode: str = "python") -> dict[str, Any]:
        """Its options, for the report; pydantic's own."""
