"""`loratory.run` and what it gives, on small tables without a base."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

import loratory
from loratory.cli import app
from ticket_rows import make_tickets

LADDER = ["rules", "tfidf"]
FAST = {"resamples": 200, "latency_texts": 5}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def run(home: Path) -> loratory.Run:
    frame = pd.DataFrame(make_tickets(180))
    return loratory.run(
        frame, text="message", label="team", name="tickets", output=home / "run", ladder=LADDER, evidence=FAST
    )


def test_a_frame_becomes_a_run(run: loratory.Run) -> None:
    assert run.name == "tickets"
    assert run.ladder.names == ("majority", "rules", "tfidf")
    assert run.verdict.recommended in run.ladder.names
    assert run.verdict.headline
    assert run.report.is_file()
    assert run.gate_holds is None
    assert run.best.contender == run.verdict.recommended
    assert run.best.predict("my invoice is wrong") == "billing"


def test_rows_hold_scores_with_intervals_and_costs(run: loratory.Run) -> None:
    row = run.ladder["tfidf"]
    score = row.scores["accuracy"]
    assert score.low is not None
    assert score.high is not None
    assert 0.5 < score.low <= score.value <= score.high <= 1
    assert float(score) == score.value
    assert row.scores["recall/billing"].low is None
    assert (row.status, row.regime, row.base) == ("fitted", "tfidf", None)
    assert row.latency_ms is not None
    assert row.latency_ms > 0
    assert run.ladder[0].name == "majority"
    assert [row.name for row in run.ladder[1:]] == LADDER


def test_the_ladder_becomes_a_frame(run: loratory.Run) -> None:
    frame = run.ladder.to_pandas()
    assert list(frame.index) == ["majority", "rules", "tfidf"]
    assert {"accuracy", "accuracy_low", "accuracy_high", "macro_f1", "latency_ms", "recommended"} <= set(frame.columns)
    assert frame.loc["tfidf", "accuracy"] == run.ladder["tfidf"].scores["accuracy"].value
    assert frame["recommended"].sum() == 1


def test_the_words_are_those_of_the_command_line(run: loratory.Run) -> None:
    told = CliRunner().invoke(app, ["evaluate", str(run.folder)])
    assert run.verdict.headline in told.output
    for row in run.ladder:
        assert row.name in str(run)


def test_a_run_is_opened_again(run: loratory.Run) -> None:
    again = loratory.open_run(run.folder)
    assert again.to_dict() == run.to_dict()
    assert again.model("rules").contender == "rules"
    with pytest.raises(loratory.ArtifactError, match="did you mean 'tfidf'"):
        again.ladder["tfidff"]


def test_the_same_call_reuses_what_is_finished(run: loratory.Run, home: Path) -> None:
    before = (run.folder / "contenders/tfidf/seed-1/manifest.json").stat().st_mtime_ns
    frame = pd.DataFrame(make_tickets(180))
    again = loratory.run(
        frame, text="message", label="team", name="tickets", output=home / "run", ladder=LADDER, evidence=FAST
    )
    assert (again.folder / "contenders/tfidf/seed-1/manifest.json").stat().st_mtime_ns == before
    assert again.ladder["tfidf"].scores == run.ladder["tfidf"].scores


def test_the_spec_of_a_frame_is_kept_and_runs_again(run: loratory.Run) -> None:
    spec = loratory.read_spec(run.folder / "spec.yaml", ladder=LADDER)
    assert spec.name == "tickets"
    assert [one.name for one in spec.ladder] == ["majority", *LADDER]


def test_changes_are_merged_into_any_kind_of_spec(run: loratory.Run) -> None:
    mapping = {"name": "t", "data": {"path": str(run.folder / "examples.jsonl"), "text": "message", "label": "team"}}
    spec = loratory.read_spec({**mapping, "ladder": ["tfidf", {"lora-2": {"regime": "lora", "rank": 4}}, "lora"]})
    changed = loratory.read_spec(spec, training={"epochs": 2}, lora={"rank": 8}, data={"split": {"test": 0.4}})
    assert changed.training.epochs == 2
    assert changed.training.batch_tokens == spec.training.batch_tokens
    assert changed.data.split.test == 0.4
    assert changed.data.split.validation == spec.data.split.validation
    assert {one.name: one.options.rank for one in changed.ladder if one.regime == "lora"} == {"lora-2": 8, "lora": 8}
    assert spec.training.epochs is None


def test_other_examples_take_the_place_of_the_specs_own(run: loratory.Run, tmp_path: Path) -> None:
    other = [{"body": row["message"], "team": row["team"]} for row in make_tickets(60, seed=2)]
    found = loratory.check(run.folder / "spec.yaml", data=other, text="body", ladder=LADDER)
    assert "60" in found.lines[0]
    file = tmp_path / "other.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in other))
    assert loratory.check(run.folder / "spec.yaml", data=file, text="body", ladder=LADDER).lines == found.lines


def test_a_data_file_is_a_source(tmp_path: Path) -> None:
    file = tmp_path / "tickets.csv"
    pd.DataFrame(make_tickets(60)).to_csv(file, index=False)
    found = loratory.check(file, text="message", label="team", ladder=LADDER)
    assert "train" in str(found)
    assert any("uncertain" in warning for warning in found.warnings)
    assert not (tmp_path / "runs").exists()


def test_init_writes_a_spec_that_may_stand_where_a_path_may(tmp_path: Path) -> None:
    file = tmp_path / "tickets.csv"
    pd.DataFrame(make_tickets(60)).to_csv(file, index=False)
    spec = loratory.init(file, tmp_path / "spec.yaml", label="team")
    assert os.fspath(spec) == str(tmp_path / "spec.yaml")
    assert any("3 labels" in note for note in spec.notes)
    assert loratory.read_spec(spec).name == "tickets"
    with pytest.raises(loratory.SpecError, match="this spec exists"):
        loratory.init(file, tmp_path / "spec.yaml", label="team")


def test_recipes_are_listed() -> None:
    known = {recipe.name: recipe for recipe in loratory.recipes()}
    assert known["risk-triage"].spec.is_file()
    assert known["risk-triage"].about


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"source": "no-such-recipe"}, loratory.SpecError, "is no spec"),
        ({"source": "nope.yaml"}, loratory.SpecError, "does not exist"),
        ({"source": 5}, loratory.SpecError, "no spec and no examples"),
        ({"source": make_tickets(9), "label": "teem"}, loratory.DataError, "did you mean 'team'"),
        ({"source": make_tickets(9), "trainig": {}}, loratory.SpecError, "did you mean 'training'"),
        ({"source": "risk-triage", "training": {"epoks": 1}}, loratory.SpecError, "argument training.epoks"),
        ({"source": "risk-triage", "training": {"epochs": 0}}, loratory.SpecError, "argument training.epochs"),
        ({"source": "risk-triage", "data": 5}, loratory.SpecError, "is no data"),
        ({"source": ["a", "b"]}, loratory.DataError, "holds no rows"),
    ],
)
def test_bad_input_is_an_error_of_ours(
    arguments: dict[str, Any], error: type[Exception], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=said):
        loratory.run(**arguments)


def test_a_finished_run_is_no_spec(run: loratory.Run, tmp_path: Path) -> None:
    (tmp_path / "ladder.json").write_bytes((run.folder / "ladder.json").read_bytes())
    with pytest.raises(loratory.SpecError, match="open_run"):
        loratory.run(tmp_path)


def test_the_words_of_an_error_are_those_of_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text("name: x\ndata: d.csv\nladder: [tfidf]\ntraining: {epoks: 3}\n")
    with pytest.raises(loratory.SpecError) as caught:
        loratory.run(file)
    told = CliRunner().invoke(app, ["check", str(file)])
    assert str(caught.value) == str(told.exception)
