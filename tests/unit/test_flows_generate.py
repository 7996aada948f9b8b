"""Runs of a task whose answer is written, from conversations on disk to evidence and single answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from loratory.backbones.forward.execution import run_locally
from loratory.backbones.pool import TorchBackbonePool
from loratory.errors import DataError, UnsupportedTask
from loratory.experiment.inference import local_prediction as flow
from loratory.experiment.run import run_experiment
from loratory.experiment.run_paths import RunPaths
from loratory.experiment.spec_loading import load_spec
from loratory.predictors import predictor_files
from loratory.protocols.events import Event, ExamplePreviewed
from tiny_models import save_causal_model

SPEC = """
name: orders
task:
  kind: generate
  answer_schema:
    type: object
    properties: {kind: {enum: [card, cash]}, count: {type: integer, minimum: 0, maximum: 99}}
    required: [kind, count]
    additionalProperties: false
data: {path: orders.jsonl, near_duplicates: 1.0, duplicates: report}
base: writer
ladder:
  - prompted: {shots: 1}
  - lora: {rank: 4}
training: {epochs: 1, precision: fp32, max_tokens: 300}
evidence: {resamples: 200, latency_texts: 5, unconstrained_texts: 2}
"""
TALK = """
name: talk
task: {kind: generate, checks: [overlap, {short: {check: words, most: 60}}]}
data: {path: orders.jsonl, near_duplicates: 1.0, duplicates: report}
base: writer
ladder:
  - lora: {rank: 4, writing: {max_new_tokens: 12, temperature: 0.7, stop: [card]}}
training: {epochs: 1, precision: fp32, max_tokens: 300, packing: on}
evidence: {resamples: 200, latency_texts: 5}
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save_causal_model(tmp_path / "writer")
    rows = []
    for i in range(40):
        kind, count = ("card", "cash")[i % 2], 10 + i
        asked = {"role": "user", "content": f"please {count} {kind} today"}
        told = {"role": "assistant", "content": json.dumps({"kind": kind, "count": count})}
        rows.append({"messages": [{"role": "system", "content": "be brief"}, asked, told]})
    (tmp_path / "orders.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    (tmp_path / "spec.yaml").write_text(SPEC, encoding="utf-8")
    (tmp_path / "talk.yaml").write_text(TALK, encoding="utf-8")
    return tmp_path


def ran(name: str) -> tuple[dict[str, Any], list[Event]]:
    events: list[Event] = []
    spec = load_spec(name)
    ladder = run_experiment(spec, RunPaths.for_spec(spec, None), events.append)
    return ladder, events


def test_every_answer_is_of_the_users_schema_and_each_field_has_its_confidence(home: Path) -> None:
    ladder, events = ran("spec.yaml")
    rows = {row["name"]: row for row in ladder["contenders"]}
    assert all(row["status"] == "fitted" for row in rows.values()), rows
    assert rows["lora"]["json_valid"] == rows["prompted"]["json_valid"] == 1.0
    shown = next(event for event in events if isinstance(event, ExamplePreviewed))
    assert '"additionalProperties":false' in shown.prompt  # the schema stands in the prompt
    assert "be brief" in shown.prompt
    assert json.loads(shown.target.partition("<|im_end|>")[0])["kind"] in ("card", "cash")

    made = predictor_files.load_predictor(home / "runs/orders/contenders/lora/seed-1", TorchBackbonePool())
    asked = [{"prompt": "please 17 cash"}, {"prompt": "card", "system": "be brief"}, {"prompt": "today " * 400}]
    *held, long = made.predict(asked, run_locally)
    for prediction in held:
        assert Draft202012Validator(made.task.contract()).is_valid(prediction.answer)
        assert set(prediction.probabilities) == {"/kind", "/count"}
        assert all(0 <= odd <= 1 for odds in prediction.probabilities.values() for odd in odds.values())
        assert prediction.confidence == min(max(odds.values()) for odds in prediction.probabilities.values())
    assert (long.answer, long.reason) == (None, "long")
    heard: list[str] = []
    assert flow.stream_answer(made, asked[0], heard.append).answer == held[0].answer
    assert json.loads("".join(heard)) == held[0].answer
    assert len(heard) > 3
    with pytest.raises(UnsupportedTask, match="no answer: long"):
        flow.stream_answer(made, asked[2], heard.append)
    assert (home / "runs/orders/contenders/lora/seed-1/README.md").read_text().count("text-generation") == 2


def test_text_is_drawn_as_the_spec_says_and_the_same_each_time(home: Path) -> None:
    ladder, _ = ran("talk.yaml")
    _, row = ladder["contenders"]
    assert row["status"] == "fitted", row
    assert "json_valid" not in row  # text is no JSON
    assert set(row["metrics"]) >= {"checks", "passed", "overlap", "short"}
    first, second = (
        predictor_files.load_predictor(home / "runs/talk/contenders/lora/seed-1", TorchBackbonePool()).predict(
            [{"prompt": "17 cash"}] * 2, run_locally
        )
        for _ in range(2)
    )
    assert first == second
    assert first[0] == first[1]
    assert isinstance(first[0].answer, str)
    assert "card" not in first[0].answer
    assert 0 < first[0].confidence < 1


def test_conversations_that_do_not_fit_are_named_before_anything_is_learnt(home: Path) -> None:
    text = (home / "spec.yaml").read_text(encoding="utf-8").replace("max_tokens: 300", "max_tokens: 60")
    (home / "spec.yaml").write_text(text.replace("  - prompted: {shots: 1}\n", ""), encoding="utf-8")
    with pytest.raises(DataError, match=r"the longest of \d+ examples that are too long") as caught:
        ran("spec.yaml")
    assert caught.value.where.startswith("orders.jsonl:")
    assert "training: max_tokens" in caught.value.remedy


@pytest.mark.parametrize(
    ("schema", "match"),
    [
        ("{type: object, properties: {a: {type: string, pattern: '(?=a)a'}}, required: [a]}", "looks ahead or behind"),
        ("{type: integer, minimum: 3, maximum: 2}", "no number lies between"),
    ],
)
def test_a_schema_that_cannot_be_promised_is_refused_before_a_weight_is_loaded(
    home: Path, schema: str, match: str
) -> None:
    lines = (
        SPEC.partition("  answer_schema:")[0] + f"  answer_schema: {schema}\n" + "data" + SPEC.partition("\ndata")[2]
    )
    (home / "spec.yaml").write_text(lines, encoding="utf-8")
    with pytest.raises(UnsupportedTask, match=match):
        ran("spec.yaml")
