"""A stranger's task, whose options come with the input, from a file of questions to answers over HTTP."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from loratory.backbones.forward.execution import run_locally
from loratory.backbones.pool import TorchBackbonePool
from loratory.cli import app
from loratory.experiment.run import run_experiment
from loratory.experiment.run_paths import RunPaths
from loratory.experiment.spec_loading import load_spec
from loratory.predictors import predictor_files
from loratory.protocols.events import ignore_event
from loratory.serving.launcher import load_service
from loratory.serving.warm_up import warm_up
from loratory.specs.serve import ServedTaskSpec
from serving_fixtures import make_server, post
from tiny_models import save_causal_model

SPEC = """
name: quiz
task: {kind: multiple-choice}
data: {path: quiz.jsonl, near_duplicates: 1.0, duplicates: report}
base: writer
ladder:
  - majority
  - prompted
  - prompted-2: {regime: prompted, shots: 2}
  - lora: {rank: 4}
training: {epochs: 1, precision: fp32, max_tokens: 300}
evidence: {resamples: 200, latency_texts: 5, unconstrained_texts: 2}
"""
ASKED = {"text": "which of them is blue", "choices": ["card", "cash", "login"]}


def write_quiz(folder: Path) -> None:
    """Questions with two to four choices of their own; the right one stands at the second place."""
    colours = ("red", "blue", "late", "new", "wrong", "broken", "kept", "out", "here", "my")
    rows = []
    for i in range(40):
        choices = [f"{colours[(i + k) % 10]} {('card', 'cash')[(i + k) % 2]}" for k in range(2 + i % 3)]
        rows.append({"question": f"which of them came {i} days ago", "options": choices, "answer": 1})
    (folder / "quiz.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    (folder / "spec.yaml").write_text(SPEC, encoding="utf-8")


@pytest.fixture
def ladder(plugins: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)
    save_causal_model(tmp_path / "writer", max_positions=640)
    write_quiz(tmp_path)
    spec = load_spec("spec.yaml")
    return run_experiment(spec, RunPaths.for_spec(spec, None), ignore_event)


def test_from_questions_to_answers(ladder: dict[str, Any], tmp_path: Path) -> None:
    rows = {row["name"]: row for row in ladder["contenders"]}
    assert all(row["status"] == "fitted" for row in rows.values()), rows
    assert rows["majority"]["metrics"]["accuracy"]["mean"] == 1.0  # the place that is right most often
    assert all("accuracy" in row["metrics"] for row in rows.values())

    (folder,) = (tmp_path / "runs").glob("*")
    for name in ("majority", "prompted", "prompted-2", "lora"):
        fit = next(folder.glob(f"contenders/{name}/seed-*"))
        predictor = predictor_files.load_predictor(fit, TorchBackbonePool())
        found = predictor.predict([ASKED, {**ASKED, "choices": ["late", "new"]}], run_locally)
        for prediction, options in zip(found, (ASKED["choices"], ["late", "new"]), strict=True):
            assert prediction.answer is not None
            assert prediction.answer["choice"] in options
            assert set(prediction.probabilities["/choice"]) == set(options)
            assert sum(prediction.probabilities["/choice"].values()) == pytest.approx(1)

    shown = CliRunner().invoke(app, ["predict", str(folder), "--contender", "prompted", json.dumps(ASKED)])
    assert json.loads(shown.stdout)["choice"] in ASKED["choices"], shown.output

    service = load_service("quiz", ServedTaskSpec(path=folder, contender="prompted"), TorchBackbonePool())
    warm_up(service)
    server = make_server(tmp_path, service)
    reply = post(server, "/v1/tasks/quiz/predict", {"inputs": [ASKED]})
    (answer,) = json.loads(reply.body)["predictions"]
    assert answer["answer"] == json.loads(shown.stdout)
    assert set(answer["probabilities"]["/choice"]) == set(ASKED["choices"])
    refused = post(server, "/v1/tasks/quiz/predict", {"inputs": [{**ASKED, "choices": ["card"]}]})
    assert refused.status == 422
    assert "choices" in str(refused.body)
