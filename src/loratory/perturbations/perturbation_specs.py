"""Perturbations as a spec names them: `typos`, `{typos: {strength: 0.5}}`, `{mine: {perturbation: typos, ...}}`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from loratory.discovery import load_named
from loratory.errors import SpecError
from loratory.perturbations.changes import Perturbation

PerturbationSpec = str | dict[str, dict[str, Any] | None]
DEFAULT_PERTURBATIONS: tuple[PerturbationSpec, ...] = (
    "typos",
    "case",
    "punctuation",
    "spacing",
    "prefix",
    "suffix",
    "lookalikes",
)
ALLOWED_FORMS = "names of perturbations, or name: {options}; a name of your own with {perturbation: ..., options}"


def create_perturbations(specs: Sequence[PerturbationSpec]) -> dict[str, Perturbation]:
    """Each by its name, ready to be called. Raises ValueError for what is not there, twice there, or no option."""
    ready: dict[str, Perturbation] = {}
    for one in specs:
        for name, options in ({one: None} if isinstance(one, str) else one).items():
            if name in ready:
                raise ValueError(f"two perturbations are called {name}; mine: {{perturbation: {name}}} is another name")
            rest = dict(options or {})
            ready[name] = _create_perturbation(name, str(rest.pop("perturbation", name)), rest)
    return ready


def _create_perturbation(name: str, kind: str, options: Mapping[str, Any]) -> Perturbation:
    try:
        cls = load_named("perturbations", kind)
    except SpecError as problem:
        raise ValueError(f"{problem.problem} (allowed: {problem.allowed})") from None
    try:
        ready: Perturbation = cls(**options)
    except ValidationError as problem:
        first = problem.errors(include_url=False)[0]
        place = ": ".join(map(str, (name, *first["loc"])))
        raise ValueError(f"{place}: {first['msg']} (allowed: {', '.join(cls.model_fields)})") from None
    return ready
