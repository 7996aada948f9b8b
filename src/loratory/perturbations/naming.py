"""Perturbations as a spec names them: `typos`, `{typos: {strength: 0.5}}`, `{mine: {perturbation: typos, ...}}`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from loratory.discovery import find
from loratory.errors import SpecError
from loratory.perturbations.changes import Perturbation

Named = str | dict[str, dict[str, Any] | None]
EVERY: tuple[Named, ...] = ("typos", "case", "punctuation", "spacing", "prefix", "suffix", "lookalikes")
FORM = "names of perturbations, or name: {options}; a name of your own with {perturbation: ..., options}"


def made(of: Sequence[Named]) -> dict[str, Perturbation]:
    """Each by its name, ready to be called. Raises ValueError for what is not there, twice there, or no option."""
    ready: dict[str, Perturbation] = {}
    for one in of:
        for name, options in ({one: None} if isinstance(one, str) else one).items():
            if name in ready:
                raise ValueError(f"two perturbations are called {name}; mine: {{perturbation: {name}}} is another name")
            rest = dict(options or {})
            ready[name] = _made(name, str(rest.pop("perturbation", name)), rest)
    return ready


def _made(name: str, kind: str, options: Mapping[str, Any]) -> Perturbation:
    try:
        cls = find("perturbations", kind)
    except SpecError as problem:
        raise ValueError(f"{problem.problem} (allowed: {problem.allowed})") from None
    try:
        ready: Perturbation = cls(**options)
    except ValidationError as problem:
        first = problem.errors(include_url=False)[0]
        place = ": ".join(map(str, (name, *first["loc"])))
        raise ValueError(f"{place}: {first['msg']} (allowed: {', '.join(cls.model_fields)})") from None
    return ready
