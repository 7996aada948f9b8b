"""What recipes there are."""

from __future__ import annotations

from typing import Any

from loratory.discovery import list_names
from loratory.experiment.spec_loading import SPEC_FILE, find_recipe_folder


def list_recipes() -> list[dict[str, Any]]:
    """Name, first comment line of the spec, and folder of every recipe."""
    rows = []
    for name in list_names("recipes"):
        file = find_recipe_folder(name) / SPEC_FILE
        first = file.read_text(encoding="utf-8").split("\n", 1)[0]
        rows.append({"name": name, "about": first.removeprefix("#").strip(), "spec": str(file)})
    return rows
