"""The pages on exporters, trackers and recipes: each shows the very files that are tested here."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import get_args

import pytest

from loratory.protocols.events import Event

HOME = Path(__file__).parent
PAGES = HOME.parents[1] / "docs" / "extending"
FILES = {
    "exporters": ("weight_table.py",),
    "trackers": ("score_file.py",),
    "recipes": ("tea_or_coffee/spec.yaml", "tea_or_coffee/README.md"),
}


@pytest.mark.parametrize("group", FILES)
def test_a_page_shows_the_files_and_their_entry_point(group: str) -> None:
    page = (PAGES / f"{group}.md").read_text(encoding="utf-8")
    for file in FILES[group]:
        text = (HOME / "example_plugins" / file).read_text(encoding="utf-8")
        assert f"\n{text}```" in page, f"docs/extending/{group}.md shows another {file}"
    points = tomllib.loads((HOME / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
    ((name, place),) = points[f"loratory.{group}"].items()
    assert f'[project.entry-points."loratory.{group}"]\n{name} = "{place}"\n' in page


def test_the_page_on_trackers_names_every_event() -> None:
    page = (PAGES / "trackers.md").read_text(encoding="utf-8")
    assert not [kind.__name__ for kind in get_args(Event) if f"`{kind.__name__}`" not in page]
