"""A stranger's exporter, through the command line."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from loratory.cli import app
from loratory.errors import SpecError, UnsupportedTask
from loratory.experiment.export_fit import load_exporter
from loratory.exporting.contract_checks import verify_exporter

ROWS = [("my card broke", "card"), ("no cash came", "cash")] * 30


def invoke(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def run(plugins: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    lines = [f"{text} {number},{label}" for number, (text, label) in enumerate(ROWS)]
    (tmp_path / "data.csv").write_text("text,label\n" + "\n".join(lines), encoding="utf-8")
    (tmp_path / "spec.yaml").write_text(
        "name: toy\ndata: {path: data.csv, near_duplicates: 1.0, suspects: false}\nladder: [tfidf]\n", encoding="utf-8"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("loratory.experiment.results.render_report", lambda *_: "<html></html>")
    done = invoke("run", "spec.yaml")
    assert done.exit_code == 0, done.output
    return tmp_path / "runs" / "toy"


def test_a_fit_becomes_a_table_that_answers_alone(run: Path, tmp_path: Path) -> None:
    words = ("--to", "weight-table", "--set", "digits=4", "--output", tmp_path / "out", "--json")
    done = invoke("export", run, "--contender", "tfidf", *words)
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    assert answer["folders"] == [str(tmp_path / "out")]
    assert "leaves TF-IDF's scales out" in answer["notes"][0]
    with (tmp_path / "out" / "weights.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["word"]: row for row in csv.DictReader(file)}
    assert float(rows["broke"]["card"]) > 0 > float(rows["broke"]["cash"])
    assert len(rows["broke"]["card"].lstrip("0.")) <= 4
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))
    assert (manifest["layout"], manifest["fit"]["contender"]) == ("weight-table", "tfidf")

    model = load_exporter("weight-table").open(tmp_path / "out")
    card, cash = model.run_stages(["my card broke", "no cash came"])
    assert model.output_names == ("card", "cash")
    assert card.probabilities is not None
    assert cash.probabilities is not None
    assert card.probabilities[0] > 0.5 > cash.probabilities[0]


def test_it_keeps_what_every_exporter_promises(run: Path, tmp_path: Path) -> None:
    exporter, fits = load_exporter("weight-table"), run / "contenders"
    assert verify_exporter(exporter, fits / "tfidf" / "seed-1", tmp_path / "out")
    assert not verify_exporter(exporter, fits / "majority" / "seed-1", tmp_path / "other")


def test_it_is_listed_with_its_options_and_what_it_does_not_suit(run: Path) -> None:
    rows = {row["name"]: row for row in json.loads(invoke("export", run, "-c", "tfidf", "--json").stdout)}
    assert rows["weight-table"]["suits"]
    assert rows["weight-table"]["options"][0]["name"] == "digits"
    assert not rows["router"]["suits"]
    text = invoke("export", run, "-c", "majority").stdout
    assert "does not support this model: only a tfidf fit is a table of words" in text
    assert "--set digits=...: significant digits of a weight" in text


def test_a_fit_that_does_not_suit_and_an_option_that_is_none(run: Path, tmp_path: Path) -> None:
    words = ("--to", "weight-table", "--output", tmp_path / "out")
    refused = invoke("export", run, "-c", "majority", *words)
    assert isinstance(refused.exception, UnsupportedTask)
    assert refused.exception.remedy == "--contender tfidf"
    wrong = invoke("export", run, "-c", "tfidf", *words, "--set", "digits=90")
    assert isinstance(wrong.exception, SpecError)
    assert "--set digits=90" in str(wrong.exception)
    unknown = invoke("export", run, "-c", "tfidf", *words, "--set", "digit=3")
    assert "did you mean 'digits'" in str(unknown.exception)
    assert not (tmp_path / "out").exists()
