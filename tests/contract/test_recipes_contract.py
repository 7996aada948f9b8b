"""Every recipe that is discovered."""

from __future__ import annotations

import re

import pytest

from loratory.discovery import list_names
from loratory.experiment.recipes import find_recipe_folder, list_recipes
from loratory.experiment.spec_loading import load_spec
from loratory.protocols.recipes import README_FILE, SPEC_FILE


@pytest.mark.parametrize("name", list_names("recipes"))
def test_a_recipe_is_a_folder_that_explains_itself(name: str) -> None:
    folder = find_recipe_folder(name)
    assert (folder / SPEC_FILE).read_text(encoding="utf-8").startswith("# ")
    readme = (folder / README_FILE).read_text(encoding="utf-8")
    assert re.search(r"Licence|CC BY|CC0", readme), "the README does not tell the licence of the data"
    spec = load_spec(name)
    local = spec.folder / spec.data.path
    assert local.exists() or "." not in spec.data.path.rpartition("/")[2]  # shipped, or the id of a hub


def test_the_list_names_each_with_what_it_is() -> None:
    rows = list_recipes()
    assert [row["name"] for row in rows] == list(list_names("recipes"))
    assert all(row["about"] for row in rows)
