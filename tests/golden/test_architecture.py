"""The map of the code names files that exist, and the pages of extensions cover every group of entry points."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from loratory.discovery import ENTRY_POINT_GROUPS
from loratory.protocols.routes import ERROR_STATUSES

HOME = Path(__file__).parents[2]
PAGE = (HOME / "docs/architecture.md").read_text(encoding="utf-8")
PATHS = sorted(set(re.findall(r"`([\w/]+(?:/|\.py))`", PAGE)))


def test_the_page_names_many_paths() -> None:
    assert len(PATHS) > 60


@pytest.mark.parametrize("path", PATHS)
def test_every_path_of_the_page_exists(path: str) -> None:
    found = HOME / "src/loratory" / path
    assert found.is_dir() if path.endswith("/") else found.is_file()


def test_every_folder_of_the_source_stands_in_the_layers() -> None:
    layers = tomllib.loads((HOME / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"][
        0
    ]
    held = {name.removeprefix("loratory.") for name in layers["layers"]}
    there = {entry.stem for entry in (HOME / "src/loratory").iterdir() if entry.name[0] not in "._"}
    assert there - held <= {"py", "bundled_recipes", "contract_checks"}, "a folder that import-linter does not order"


def test_the_page_of_routes_lists_every_error_code() -> None:
    page = (HOME / "docs/extending/routes.md").read_text(encoding="utf-8")
    listed = {code: int(status) for code, status in re.findall(r"`(\w+)` (\d{3})", page)}
    assert listed == dict(ERROR_STATUSES)


@pytest.mark.parametrize("group", ENTRY_POINT_GROUPS)
def test_every_group_has_its_page_and_its_row(group: str) -> None:
    page = HOME / f"docs/extending/{group}.md"
    assert page.is_file()
    assert f'[project.entry-points."loratory.{group}"]' in page.read_text(encoding="utf-8")
    assert f"| `loratory.{group}` |" in (HOME / "docs/extending/README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("group", ENTRY_POINT_GROUPS)
def test_every_group_has_a_protocol_a_contract_test_and_a_strangers_file(group: str) -> None:
    protocols = {file.stem for file in (HOME / "src/loratory/protocols").glob("*.py")}
    assert group in protocols
    strangers = tomllib.loads((HOME / "tests/plugins/pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert strangers["entry-points"][f"loratory.{group}"]
    contracts = "".join(file.read_text(encoding="utf-8") for file in (HOME / "tests/contract").glob("*.py"))
    assert f'list_names("{group}")' in contracts
