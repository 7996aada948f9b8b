"""Perturbations as a spec names them: `typos`, `{typos: {strength: 0.5}}`, `{mine: {perturbation: typos, ...}}`."""

from __future__ import annotations

from collections.abc import Sequence

from loratory.discovery import NamedSpec, create_named
from loratory.perturbations.changes import Perturbation

PerturbationSpec = NamedSpec
DEFAULT_PERTURBATIONS: tuple[PerturbationSpec, ...] = (
    "typos",
    "case",
    "punctuation",
    "spacing",
    "prefix",
    "suffix",
    "lookalikes",
)
ALLOWED_FORMS = (
    "Perturbations: a list of names, or name: {options}. To use a name of your own: "
    "mild: {perturbation: typos, strength: 0.1}."
)


def create_perturbations(specs: Sequence[PerturbationSpec]) -> dict[str, Perturbation]:
    """Each by its name, ready to be called. Raises ValueError for what is not there, twice there, or no option."""
    return create_named("perturbations", specs)
