"""A run whose ladder holds a causal base that writes: from a CSV to metrics.json and the verdict's words."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from loratory.errors import SpecError
from loratory.experiment.run import run_experiment
from loratory.experiment.run_paths import RunPaths
from loratory.experiment.spec_loading import load_spec
from loratory.protocols.events import Event, ExamplePreviewed, FitStarted
from tiny_models import make_examples, save_causal_model

SPEC = """
name: toy
task: {kind: classify, labels: [card, cash, login]}
data: {path: toy.csv, text: text, label: label, duplicates: report, suspects: false, near_duplicates: 1.0}
ladder:
  - tfidf
  - told: {regime: prompted, base: writer, shots: 1}
  - lora-json: {regime: lora, base: writer, rank: 4, prompt: asked.yaml}
training: {epochs: 2, seeds: 1, precision: fp32}
evidence: {resamples: 200, latency_texts: 5, unconstrained_texts: 6}
"""
PROMPT = 'version: toy-1\nsystem: "Which of {names}?"\nuser: "{text}"\n'


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save_causal_model(tmp_path / "writer")
    (tmp_path / "spec.yaml").write_text(SPEC, encoding="utf-8")
    (tmp_path / "asked.yaml").write_text(PROMPT, encoding="utf-8")
    with (tmp_path / "toy.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "label"])
        rows.writerows((e.input["text"], e.answer["label"]) for e in make_examples())  # type: ignore[index]
    return tmp_path


def test_a_causal_contender_stands_in_the_ladder(home: Path) -> None:
    events: list[Event] = []
    spec = load_spec("spec.yaml")
    ladder = run_experiment(spec, RunPaths.for_spec(spec, None), events.append)
    rows = {row["name"]: row for row in ladder["contenders"]}
    assert all(row["status"] == "fitted" for row in rows.values())
    assert rows["lora-json"]["json_valid"] == 1.0
    assert 0 <= rows["told"]["json_valid_unconstrained"] <= 1
    assert "json_valid" not in rows["tfidf"]
    fit = home / "runs/toy/contenders/lora-json/seed-1"
    metrics = json.loads((fit / "metrics.json").read_text(encoding="utf-8"))
    assert set(metrics["recall"]) == {"card", "cash", "login"}
    assert metrics["n"] > 5
    assert metrics["accuracy"] == metrics["scores"]["accuracy"]
    assert "toy-1" in (fit / "prompt.yaml").read_text(encoding="utf-8")
    shown = [event for event in events if isinstance(event, ExamplePreviewed)]
    assert "Which of card, cash, login?" in shown[0].prompt
    assert shown[0].target.startswith('{"label":"')

    (home / "asked.yaml").write_text(PROMPT.replace("Which", "What"), encoding="utf-8")  # another prompt is another fit
    events.clear()
    run_experiment(
        load_spec("spec.yaml"),
        RunPaths.for_spec(spec, None),
        events.append,
    )
    fitted = [event.contender for event in events if isinstance(event, FitStarted)]
    assert fitted == ["lora-json"]


def test_a_prompt_file_that_is_not_there_is_an_error_before_anything_is_read(home: Path) -> None:
    (home / "asked.yaml").unlink()
    with pytest.raises(SpecError, match=r"no prompt file 'asked\.yaml'"):
        load_spec("spec.yaml")
