"""Contenders that start from contenders, over a tiny base: what learns on, what is kept, what fails with what."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from loratory.backbones.forward.execution import run_locally
from loratory.backbones.pool import TorchBackbonePool
from loratory.errors import UnsupportedTask
from loratory.experiment.run import run_experiment
from loratory.experiment.run_paths import RunPaths
from loratory.experiment.spec_loading import load_spec
from loratory.predictors.predictor_files import load_predictor
from loratory.protocols.events import FitStarted
from loratory.regimes.head import Head

from .conftest import Workspace
from .run_fixtures import RecordingListener, make_spec, read_weights, run_command

pytestmark = pytest.mark.usefixtures("without_charts")
LADDER = """\
  - on: {regime: lora, start: first}
  - first: {regime: lora}
  - wider: {regime: lora, start: first, rank: 8}
  - whole: {regime: full, start: first}
  - probed: {regime: lora, start: head}
  - head
"""


def again(folder: Path, monkeypatch: pytest.MonkeyPatch, *changes: str) -> tuple[dict[str, Any], RecordingListener]:
    heard = RecordingListener()
    monkeypatch.chdir(folder)
    ladder = run_experiment(load_spec("spec.yaml", None, changes), RunPaths(folder / "runs" / "tiny"), heard)
    return {row["name"]: row for row in ladder["contenders"]}, heard


def read_json(folder: Path, name: str, file: str, seed: int = 1) -> Any:
    return json.loads((folder / f"runs/tiny/contenders/{name}/seed-{seed}/{file}").read_text(encoding="utf-8"))


def test_lora_and_full_go_on_from_a_contender(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = workspace(make_spec(LADDER))
    rows, heard = again(folder, monkeypatch, "training.epochs=1")
    assert {row["status"] for row in rows.values()} == {"fitted"}
    order = heard.values_of(FitStarted)
    assert order.index("first") < min(order.index(name) for name in ("on", "wider", "whole"))
    assert order.index("head") < order.index("probed")
    assert {name: row["start"] for name, row in rows.items() if "start" in row} == {
        **{"on": "first", "wider": "first", "whole": "first", "probed": "head"}
    }
    facts = {name: read_json(folder, name, "encoder.json") for name in rows if name != "majority"}
    assert {name: bool(one["adapter"]) for name, one in facts.items()} == {
        **{"first": True, "on": True, "wider": False, "whole": False, "probed": True, "head": False}
    }
    assert {name for name, one in facts.items() if one["owned"]} == {"wider", "whole"}  # weights of their own
    assert len({one["backbone"]["digest"] for name, one in facts.items() if not one["owned"]}) == 1  # the shared base
    assert facts["on"]["adapter"] != facts["first"]["adapter"]
    for name in facts:  # what is on disk answers, in a process that knows only the artifact
        made = load_predictor(folder / f"runs/tiny/contenders/{name}/seed-1", TorchBackbonePool())
        assert made.predict([{"text": "my card was stolen"}], run_locally)[0].answer is not None

    before = read_weights(folder / "runs")
    _, heard = again(folder, monkeypatch, "training.epochs=1")
    assert heard.values_of(FitStarted) == []
    assert read_weights(folder / "runs") == before
    _, heard = again(folder, monkeypatch, "training.epochs=1", "head.learning_rate=0.001")
    assert heard.values_of(FitStarted) == ["head", "probed"]


def test_what_is_learnt_begins_where_the_start_ended(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """At a learning rate of nearly nothing the answers stay the start's."""
    still = "learning_rate: 1.0e-12, head_learning_rate: 1.0e-12"
    folder = workspace(
        make_spec(
            f"  - first: {{regime: lora}}\n  - on: {{regime: lora, start: first, {still}}}\n"
            f"  - whole: {{regime: full, start: first, {still}}}\n"
            f"  - wider: {{regime: lora, start: first, rank: 2, {still}}}\n"
        )
    )
    again(folder, monkeypatch, "training.epochs=1")
    inputs = [{"text": text} for text in ("my card was stolen", "i want a refund", "please reset the login")]
    made = {
        name: load_predictor(folder / f"runs/tiny/contenders/{name}/seed-1", TorchBackbonePool()).predict(
            inputs, run_locally
        )
        for name in ("first", "on", "whole", "wider")
    }
    for name in ("on", "whole", "wider"):
        for mine, theirs in zip(made[name], made["first"], strict=True):
            assert mine.probabilities["/label"] == pytest.approx(theirs.probabilities["/label"], abs=1e-4)


def test_a_seed_starts_from_the_same_seed(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = workspace(make_spec("  - first: {regime: lora}\n  - on: {regime: lora, start: first}\n  - head\n"))
    rows, _ = again(folder, monkeypatch, "training.seeds=2", "training.epochs=1")
    assert rows["on"]["seeds"] == [1, 2]
    for seed in (1, 2):
        assert read_json(folder, "on", "fit.json", seed)["start"] == {
            **{
                "contender": "first",
                "seed": seed,
                "identity": read_json(folder, "first", "manifest.json", seed)["identity"],
            }
        }


def test_what_starts_from_a_failed_one_says_so_and_the_rest_goes_on(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise UnsupportedTask("this head broke")

    folder = workspace(
        make_spec("  - a: {regime: lora, start: b}\n  - b: {regime: lora, start: head}\n  - head\n  - tfidf\n")
    )
    with monkeypatch.context() as broken:
        broken.setattr(Head, "fit", fail)
        rows, _ = again(folder, broken, "training.epochs=1")
    assert [rows[name]["status"] for name in ("head", "b", "a", "tfidf")] == ["failed"] * 3 + ["fitted"]
    assert "its start head failed" in rows["b"]["failure"]
    assert "its start b failed" in rows["a"]["failure"]
    rows, heard = again(folder, monkeypatch, "training.epochs=1")  # mended: they are tried again
    assert heard.values_of(FitStarted) == ["head", "b", "a"]
    assert {row["status"] for row in rows.values()} == {"fitted"}


def test_a_regime_that_cannot_use_its_start_is_told_before_anything_is_fitted(workspace: Workspace) -> None:
    folder = workspace(make_spec("  - tfidf\n  - a: {regime: lora, start: tfidf}\n  - b: {regime: lora, start: a}\n"))
    done = run_command(folder, "check", "spec.yaml")
    assert done.code == 2
    assert (
        "lora goes on from the weights of a contender whose predictor is encoder or decoder, and linear has" in done.err
    )
    assert "ladder: a, b" in done.err
