"""The first line of a generated spec names a schema that is there, and that the spec is valid against."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from loratory.cli import app
from loratory.discovery import list_names, load_named
from loratory.errors import ExtensionError
from loratory.experiment import editor_schema
from loratory.experiment.editor_schema import MODELINE, SCHEMA_FILE, build_server_schema, collect_known_classes
from loratory.experiment.init.spec_writer import copy_recipe_spec, write_spec_for_data
from loratory.experiment.recipes import list_recipes
from loratory.serving.launcher import load_server_spec
from loratory.specs.yaml_files import load_yaml

IS_MODELINE = re.compile(r"^#\s+yaml-language-server\s*:")  # the two patterns of the language server
SCHEMA_TARGET = re.compile(r"\$schema=(\S+)")
WORDS = ("a card", "this shop", "that letter", "my house", "our garden", "her bicycle", "his boat", "their dog")
ROWS: Mapping[str, list[dict[str, Any]]] = {
    "classify": [{"text": f"{word} is {label}", "label": label} for word in WORDS for label in ("lost", "found")],
    "tag": [
        {"text": f"{word} in Leeds", "spans": [{"start": len(word) + 4, "end": len(word) + 9, "label": "CITY"}]}
        for word in WORDS
    ],
    "generate": [{"prompt": f"where is {word}?", "completion": f"{word} is in the hall"} for word in WORDS],
    "generate-json": [{"prompt": f"one {word}", "completion": json.dumps({"item": word, "n": 1})} for word in WORDS],
}


def find_schema(spec: Path) -> Path:
    """The file that the editor reads: the first comment that is a modeline counts, its path starts at the spec."""
    lines = [line for line in spec.read_text(encoding="utf-8").split("\n") if IS_MODELINE.match(line)]
    assert len(lines) == 1
    found = SCHEMA_TARGET.search(lines[0])
    assert found is not None
    assert "#" not in found[1], "the language server takes what follows for a fragment"
    assert not Path(found[1]).is_absolute(), "the path has to exist for a colleague too"
    return spec.parent / found[1]


def find_errors(spec: Path) -> list[str]:
    schema = json.loads(find_schema(spec).read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    return [error.message for error in Draft202012Validator(schema).iter_errors(load_yaml(spec)[0])]


@pytest.mark.parametrize("kind", ROWS)
def test_the_spec_of_each_task_names_its_schema(kind: str, tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in ROWS[kind]), encoding="utf-8")
    spec = tmp_path / "a folder # with signs" / "spec.yaml"
    spec.parent.mkdir()
    write_spec_for_data(str(data), spec, None)
    assert spec.read_text(encoding="utf-8").startswith(MODELINE)
    assert load_yaml(spec)[0]["task"]["kind"] == kind.partition("-")[0]
    assert find_errors(spec) == []


@pytest.mark.parametrize("recipe", list_names("recipes"))
def test_the_copy_of_each_recipe_names_its_schema(recipe: str, tmp_path: Path) -> None:
    copy_recipe_spec(recipe, tmp_path / "spec.yaml")
    assert (tmp_path / "spec.yaml").read_text(encoding="utf-8").startswith(MODELINE)
    assert find_errors(tmp_path / "spec.yaml") == []


def test_the_schema_finds_a_wrong_key(tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    copy_recipe_spec("pii", spec)
    spec.write_text(spec.read_text(encoding="utf-8").replace("\nladder:", "\nlader:"), encoding="utf-8")
    assert any("lader" in error for error in find_errors(spec))


def test_an_old_schema_is_replaced_and_the_same_one_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / SCHEMA_FILE
    file.write_text("{}", encoding="utf-8")
    copy_recipe_spec("pii", tmp_path / "one.yaml")
    first = file.stat()
    assert json.loads(file.read_text(encoding="utf-8"))["title"] == "loratory spec"
    copy_recipe_spec("orders", tmp_path / "two.yaml")
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (first.st_ino, first.st_mtime_ns)


def test_a_recipe_that_begins_with_the_editors_line_is_listed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "spec.yaml").write_text(f"{MODELINE}# What it is\nname: x\n", encoding="utf-8")
    monkeypatch.setattr("loratory.experiment.recipes.list_names", lambda group: ("mine",))
    monkeypatch.setattr("loratory.experiment.recipes.find_recipe_folder", lambda name: tmp_path)
    assert [row["about"] for row in list_recipes()] == ["What it is"]


def test_the_verb_prints_and_writes_the_same(tmp_path: Path) -> None:
    file = tmp_path / "s.json"
    printed = CliRunner().invoke(app, ["schema"])
    written = CliRunner().invoke(app, ["schema", "-o", str(file)])
    assert printed.exit_code == written.exit_code == 0
    assert printed.stdout == file.read_text(encoding="utf-8")
    assert written.stdout == f"wrote {file}\n"
    assert json.loads(CliRunner().invoke(app, ["schema", "-o", str(file), "--json"]).stdout) == {"file": str(file)}
    assert set(list_names("regimes")) <= set(json.loads(printed.stdout)["properties"])


def test_the_servers_schema_takes_what_the_server_takes(tmp_path: Path) -> None:
    values = "tasks: {tickets: {path: runs/tickets, contender: lora}}\nlimits: {texts: 8}\nprecision: auto\n"
    file = tmp_path / "server.yaml"
    file.write_text(values, encoding="utf-8")
    load_server_spec(file, (), ())
    validator = Draft202012Validator(build_server_schema())
    assert validator.is_valid(load_yaml(file)[0])
    assert not validator.is_valid({"prt": 8000})
    assert json.loads(CliRunner().invoke(app, ["schema", "--server"]).stdout) == build_server_schema()


def test_a_broken_plugin_is_left_out_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_or_fail(group: str, name: str) -> Any:
        if name == "broken":
            raise ExtensionError("the entry point broken = nothing:here cannot be loaded")
        return load_named(group, name)

    monkeypatch.setattr(editor_schema, "list_names", lambda group: (*list_names(group), "broken"))
    monkeypatch.setattr(editor_schema, "load_named", load_or_fail)
    known, problems = collect_known_classes()
    assert set(known.tasks) == set(list_names("tasks"))
    assert len(problems) == 3
    assert "nothing:here" in problems[0]
