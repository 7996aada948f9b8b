"""The pages on tasks and what surrounds them: each shows the very file that is tested here."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

HOME = Path(__file__).parent
PAGES = HOME.parents[1] / "docs" / "extending"
FILES = {
    "tasks": "multiple_choice",
    "predictors": "echo",
    "prompt_templates": "lettered",
    "output_adapters": "ordinal",
    "checks": "greets",
    "perturbations": "fillers",
    "scorers": "brevity",
}


@pytest.mark.parametrize("group", FILES)
def test_a_page_shows_the_file_and_its_entry_point(group: str) -> None:
    page = (PAGES / f"{group}.md").read_text(encoding="utf-8")
    code = (HOME / "example_plugins" / f"{FILES[group]}.py").read_text(encoding="utf-8")
    assert f"```python\n{code}```" in page, f"docs/extending/{group}.md shows another file"
    points = tomllib.loads((HOME / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
    ((name, place),) = [
        (name, place)
        for name, place in points[f"loratory.{group}"].items()
        if place.startswith(f"example_plugins.{FILES[group]}:")
    ]
    assert f'[project.entry-points."loratory.{group}"]\n{name} = "{place}"\n' in page
