"""Everything that can be named in a YAML comes from entry points, ours too."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from loratory.errors import SpecError, suggest_nearest

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


@cache
def _find_entry_points(group: str) -> Mapping[str, EntryPoint]:
    found = entry_points(group=f"loratory.{group}")
    ours = [point for point in found if point.dist is not None and point.dist.name == "loratory"]
    others = [point for point in found if point not in ours]
    return {point.name: point for point in (*ours, *others)}


def list_names(group: str) -> tuple[str, ...]:
    """The names of a group, ours first come as they are declared."""
    return tuple(_find_entry_points(group))


def load_named(group: str, name: str, where: str = "") -> Any:
    """The class or module behind a name; raises SpecError with the nearest known one."""
    points = _find_entry_points(group)
    if name not in points:
        raise SpecError(
            f"there is no {group[:-1]} called {name!r}{suggest_nearest(name, points)}",
            where=where,
            allowed=", ".join(sorted(points)),
        )
    return points[name].load()
