"""Everything that can be named in a YAML comes from entry points, ours too."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from loratory.errors import SpecError, nearest

GROUPS = ("tasks", "regimes", "predictors", "forms", "checks", "perturbations", "recipes")


@cache
def _points(group: str) -> Mapping[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=f"loratory.{group}")}


def names(group: str) -> tuple[str, ...]:
    """The names of a group, ours first come as they are declared."""
    return tuple(_points(group))


def find(group: str, name: str, where: str = "") -> Any:
    """The class or module behind a name; raises SpecError with the nearest known one."""
    points = _points(group)
    if name not in points:
        raise SpecError(
            f"there is no {group[:-1]} called {name!r}{nearest(name, points)}",
            where=where,
            allowed=", ".join(sorted(points)),
        )
    return points[name].load()
