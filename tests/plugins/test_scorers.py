"""A stranger's scorer: named in a spec, it stands beside the checks in the ladder and its table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loratory.errors import SpecError
from loratory.evaluation.table_cells import build_cells, select_columns
from loratory.experiment.run import run_experiment
from loratory.experiment.run_paths import RunPaths
from loratory.experiment.spec_loading import load_spec
from loratory.protocols.events import ignore_event

SPEC = """
name: short
task: {{kind: generate}}
data: {{path: a.jsonl, near_duplicates: 1.0, duplicates: report, extras: {{words: limit}}}}
ladder: [majority]
evidence: {{resamples: 200, latency_texts: 5, scorers: {scorers}}}
"""


@pytest.fixture
def home(plugins: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rows = [{"prompt": f"say {n}", "completion": "one two three", "limit": 1 + n % 2 * 2} for n in range(60)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return tmp_path


def write_spec(folder: Path, scorers: str) -> str:
    (folder / "spec.yaml").write_text(SPEC.format(scorers=scorers), encoding="utf-8")
    return "spec.yaml"


def test_a_scorer_stands_beside_the_checks(home: Path) -> None:
    spec = load_spec(write_spec(home, "[reward, brevity, {strict: {scorer: brevity, slack: 2}}]"))
    ladder = run_experiment(spec, RunPaths.for_spec(spec, None), ignore_event)
    (row,) = ladder["contenders"]
    metrics, examples = row["metrics"], ladder["test"]["examples"]
    assert metrics["scorer/reward"]["mean"] == metrics["checks"]["mean"] == 1.0
    late = round((1 - metrics["scorer/strict"]["mean"]) * examples)  # a limit of one: two words over, of two
    assert 0 < late < examples
    assert metrics["scorer/brevity"]["mean"] == pytest.approx(1 - late * 0.1 / examples)
    assert metrics["scorer/strict"]["low"] < metrics["scorer/strict"]["mean"] < metrics["scorer/strict"]["high"]
    assert [column.title for column in select_columns(ladder)][-3:] == ["reward", "brevity", "strict"]
    assert build_cells(ladder, row)["scorer/reward"] == "100.0"


@pytest.mark.parametrize(
    ("scorers", "match"),
    [
        ("[brevty]", "no scorer called 'brevty'; did you mean 'brevity'"),
        ("[{brevity: {slack: 0}}]", "brevity: slack"),
        ("[brevity, brevity]", "two scorers are called brevity"),
        ("[{check: {name: nothing}}]", "no check called 'nothing'"),
    ],
)
def test_what_is_no_scorer_is_told_before_anything_is_read(home: Path, scorers: str, match: str) -> None:
    with pytest.raises(SpecError, match=match):
        load_spec(write_spec(home, scorers))
