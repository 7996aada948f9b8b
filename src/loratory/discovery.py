"""Everything that can be named in a YAML comes from entry points, ours too."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from pydantic import ValidationError

from loratory.errors import ExtensionError, SpecError, first_line, is_own_module, suggest_nearest

NamedSpec = str | dict[str, dict[str, Any] | None]  # a name, or name: {options}

ENTRY_POINT_GROUPS = (
    "tasks",
    "regimes",
    "predictors",
    "prompt_templates",
    "output_adapters",
    "objectives",
    "checks",
    "perturbations",
    "exporters",
    "trackers",
    "routes",
    "recipes",
    "scorers",
)


def _get_name(point: EntryPoint) -> str:
    """What names are sorted by: installers keep no order."""
    return point.name


@cache
def _find_entry_points(group: str) -> Mapping[str, EntryPoint]:
    found = entry_points(group=f"loratory.{group}")
    ours = [point for point in found if point.dist is not None and point.dist.name == "loratory"]
    others = [point for point in found if point not in ours]
    return {point.name: point for part in (ours, others) for point in sorted(part, key=_get_name)}


def list_names(group: str) -> tuple[str, ...]:
    """The names of a group: ours, then those of others, each by the alphabet."""
    return tuple(_find_entry_points(group))


def load_named(group: str, name: str, where: str = "") -> Any:
    """The class or module behind a name; raises SpecError with the nearest known one."""
    points = _find_entry_points(group)
    if name not in points:
        raise SpecError(
            f"there is no {group[:-1]} called {name!r}{suggest_nearest(name, points)}",
            where=where,
            allowed=", ".join(sorted(points)),
            remedy="where it is an extension of yours: pip install its package again, as each new entry point needs",
        )
    point = points[name]
    try:
        return point.load()
    except Exception as problem:
        if is_own_module(point.module):
            raise
        raise ExtensionError(
            f"the entry point {name} = {point.value} cannot be loaded: {type(problem).__name__}: {first_line(problem)}",
            where=f"loratory.{group}",
            remedy="correct the module and the name behind the colon in its pyproject.toml, and install it again",
        ) from problem


def split_named(group: str, specs: Sequence[NamedSpec]) -> list[tuple[str, str, dict[str, Any]]]:
    """Name, what is named, and options of each: `{mine: {check: words, most: 9}}` calls the check `words` "mine".

    Raises ValueError where two have one name.
    """
    key, parts = group[:-1], list[tuple[str, str, dict[str, Any]]]()
    for one in specs:
        for name, options in ({one: None} if isinstance(one, str) else one).items():
            if any(name == known for known, _, _ in parts):
                raise ValueError(f"two {group} are called {name}; mine: {{{key}: {name}}} is another name")
            rest = dict(options or {})
            parts.append((name, str(rest.pop(key, name)), rest))
    return parts


def create_named(group: str, specs: Sequence[NamedSpec]) -> dict[str, Any]:
    """Each by its name, made of its options and ready to be called.

    Raises ValueError for what is not there, is there twice, or takes no such option.
    """
    return {name: _create(group, name, kind, options) for name, kind, options in split_named(group, specs)}


def _create(group: str, name: str, kind: str, options: Mapping[str, Any]) -> Any:
    try:
        found = load_named(group, kind)
    except SpecError as problem:
        raise ValueError(f"{problem.problem} (allowed: {problem.allowed})") from None
    if not inspect.isclass(found):
        if options:
            raise ValueError(f"the {group[:-1]} {name} takes no options")
        return found
    cls: Any = found
    try:
        return cls(**options)
    except ValidationError as problem:
        first = problem.errors(include_url=False)[0]
        place = ": ".join(map(str, (name, *first["loc"])))
        raise ValueError(f"{place}: {first['msg']} (allowed: {', '.join(cls.model_fields)})") from None
