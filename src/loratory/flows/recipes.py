"""What recipes there are."""

from __future__ import annotations

from typing import Any

from loratory.discovery import names
from loratory.flows.specs import SPEC, recipe_folder


def listed() -> list[dict[str, Any]]:
    """Name, first comment line of the spec, and folder of every recipe."""
    rows = []
    for name in names("recipes"):
        file = recipe_folder(name) / SPEC
        first = file.read_text(encoding="utf-8").split("\n", 1)[0]
        rows.append({"name": name, "about": first.removeprefix("#").strip(), "spec": str(file)})
    return rows
