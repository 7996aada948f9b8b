"""A stranger's recipe, through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from loratory.cli import app
from loratory.errors import SpecError


def invoke(*words: str) -> Result:
    return CliRunner().invoke(app, words)


@pytest.fixture(autouse=True)
def workspace(plugins: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("loratory.experiment.results.render_report", lambda *_: "<html></html>")


def test_it_is_listed_and_runs_by_its_name() -> None:
    rows = {row["name"]: row for row in json.loads(invoke("recipes", "--json").stdout)}
    assert rows["tea-or-coffee"]["about"] == "Orders at a counter: tea or coffee, from 40 examples"
    done = invoke("run", "tea-or-coffee", "--json")
    assert done.exit_code == 0, done.output
    assert {row["name"] for row in json.loads(done.stdout)["contenders"]} == {"majority", "rules", "tfidf"}
    assert Path("runs/tea-or-coffee/ladder.json").is_file()


def test_init_copies_its_spec(tmp_path: Path) -> None:
    done = invoke("init", "--recipe", "tea-or-coffee")
    assert done.exit_code == 0, done.output
    assert "tea-or-coffee" in next(tmp_path.glob("*.yaml")).read_text(encoding="utf-8")


def test_a_name_that_is_none_is_told_the_nearest() -> None:
    wrong = invoke("run", "tea-or-cofee")
    assert isinstance(wrong.exception, SpecError)
    assert "did you mean 'tea-or-coffee'" in str(wrong.exception)
