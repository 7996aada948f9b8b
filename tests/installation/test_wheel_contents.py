"""What the wheel holds: all that an installed user needs, and nothing of the tree around it."""

from __future__ import annotations

import json
import tomllib
import zipfile
from collections.abc import Mapping
from configparser import ConfigParser
from email.message import Message
from email.parser import Parser
from pathlib import Path
from typing import Any

import pytest

from .conftest import ROOT

PROJECT: Mapping[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SOURCE = ROOT / "src" / "loratory"


@pytest.fixture(scope="module")
def contents(wheel: Path) -> Mapping[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def read_dist_info(contents: Mapping[str, bytes], file: str) -> str:
    found = [text for name, text in contents.items() if name.endswith(f".dist-info/{file}")]
    assert len(found) == 1, file
    return found[0].decode()


def test_the_top_level_is_the_package_alone(contents: Mapping[str, bytes]) -> None:
    tops = {name.partition("/")[0] for name in contents}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"loratory"}
    assert len(tops) == 2


def test_every_file_of_the_package_is_in_it_and_no_other(contents: Mapping[str, bytes]) -> None:
    """Templates, pages, prompts, weights, recipes with their data; caches and generators stay out."""
    files = {file for file in SOURCE.rglob("*") if file.is_file() and "__pycache__" not in file.parts}
    own = {f"loratory/{file.relative_to(SOURCE).as_posix()}" for file in files}
    packed = {name for name in contents if name.startswith("loratory/")}
    assert packed - own == {"loratory/reference/spec.md", "loratory/reference/spec.schema.json"}
    assert own - packed == set()
    assert not [name for name in packed if {"tests", "tools", "benchmarks"} & set(name.split("/"))]


def test_the_reference_of_the_spec_is_that_of_the_docs(contents: Mapping[str, bytes]) -> None:
    for name in ("spec.md", "spec.schema.json"):
        assert contents[f"loratory/reference/{name}"] == (ROOT / "docs" / name).read_bytes()
    assert json.loads(contents["loratory/reference/spec.schema.json"])["title"] == "loratory spec"


@pytest.mark.parametrize("module", PROJECT["entry-points"]["loratory.recipes"].values())
def test_each_recipe_is_whole(module: str, contents: Mapping[str, bytes]) -> None:
    folder = module.replace(".", "/")
    spec = contents[f"{folder}/spec.yaml"].decode()
    assert f"{folder}/README.md" in contents
    data = [name for name in contents if name.startswith(f"{folder}/") and name.endswith(".jsonl")]
    assert data or "mteb/" in spec, "the data is neither shipped nor on a hub"
    assert all(Path(name).name in spec and contents[name].strip() for name in data)


def test_types_and_the_licence_are_there(contents: Mapping[str, bytes]) -> None:
    assert "loratory/py.typed" in contents
    assert read_dist_info(contents, "licenses/LICENSE") == (ROOT / "LICENSE").read_text(encoding="utf-8")


def test_the_entry_points_are_those_of_the_project(contents: Mapping[str, bytes]) -> None:
    points = ConfigParser(delimiters=("=",))
    points.optionxform = str  # type: ignore[assignment,method-assign]
    points.read_string(read_dist_info(contents, "entry_points.txt"))
    assert {group: dict(points[group]) for group in points.sections()} == {
        "console_scripts": PROJECT["scripts"],
        **PROJECT["entry-points"],
    }


def test_the_metadata_is_what_pip_needs(contents: Mapping[str, bytes]) -> None:
    metadata: Message = Parser().parsestr(read_dist_info(contents, "METADATA"))
    assert metadata["Name"] == "loratory"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == PROJECT["requires-python"]
    assert set(metadata.get_all("Provides-Extra") or ()) == set(PROJECT["optional-dependencies"])
    base = [one for one in metadata.get_all("Requires-Dist") or () if "extra ==" not in one]
    assert len(base) == len(PROJECT["dependencies"])
    assert str(metadata.get_payload()).lstrip().startswith("# "), "the page of the package index is the README"
