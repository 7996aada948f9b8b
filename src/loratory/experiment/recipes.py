"""The recipes that are installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from loratory.discovery import list_names, load_named
from loratory.errors import SpecError
from loratory.experiment.editor_schema import MODELINE_START
from loratory.protocols.recipes import SPEC_FILE, Recipe


def find_recipe_folder(name: str) -> Path:
    """The folder of a recipe; raises SpecError with the nearest name, or where it holds no spec."""
    recipe: Recipe = load_named("recipes", name)
    folder = Path(recipe.__path__[0])
    if not (folder / SPEC_FILE).is_file():
        raise SpecError(
            f"the recipe {name!r} has no {SPEC_FILE}",
            where=str(folder),
            remedy="install the package that ships it again; its wheel must hold its data files",
        )
    return folder


def list_recipes() -> list[dict[str, Any]]:
    """Name, first comment line of the spec (after the editor's line), and spec file of every recipe."""
    rows = []
    for name in list_names("recipes"):
        file = find_recipe_folder(name) / SPEC_FILE
        lines = file.read_text(encoding="utf-8").split("\n")
        first = next((line for line in lines if not line.startswith(MODELINE_START)), "")
        rows.append({"name": name, "about": first.removeprefix("#").strip(), "spec": str(file)})
    return rows
