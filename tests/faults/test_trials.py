"""Trials: as many for each contender, kept by the next run; and contenders that cannot be fitted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from loratory.errors import TrainingDiverged
from loratory.experiment.run import run_experiment
from loratory.experiment.run_paths import RunPaths
from loratory.experiment.spec_loading import load_spec
from loratory.experiment.steps.tuning_trials import TRIAL_FACTORS
from loratory.protocols.events import ContenderFailed, FitStarted
from loratory.specs.training import TrainingSpec

from .conftest import Workspace
from .run_fixtures import RecordingListener, make_spec, read_weights, run_command

pytestmark = pytest.mark.usefixtures("without_charts")
LADDER = "  - rules\n  - tfidf\n  - head\n  - lora\n"


def again(folder: Path, monkeypatch: pytest.MonkeyPatch, *changes: str) -> tuple[Any, RecordingListener]:
    heard = RecordingListener()
    monkeypatch.chdir(folder)
    return run_experiment(load_spec("spec.yaml", None, changes), RunPaths(folder / "runs" / "tiny"), heard), heard


def test_each_tuned_contender_gets_as_many_trials_and_keeps_them(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = workspace(make_spec(LADDER))
    ladder, heard = again(folder, monkeypatch, "training.trials=3")
    assert {row["name"]: len(row["trials"]) for row in ladder["contenders"]} == {
        **{"majority": 0, "rules": 0, "tfidf": 3, "head": 3, "lora": 3}
    }
    assert sorted(heard.values_of(FitStarted)) == sorted(["majority", "rules", *["tfidf", "head", "lora"] * 3])
    for row in ladder["contenders"][2:]:
        assert len({trial["value"] for trial in row["trials"]}) == 3
        fit = json.loads((folder / "runs/tiny/contenders" / row["name"] / "seed-1/fit.json").read_text())
        best = max(row["trials"], key=lambda trial: (trial["score"], -trial["log_loss"]))
        assert fit["options"][best["option"]] == best["value"]
        assert sorted(f.name for f in (folder / "runs/tiny/contenders" / row["name"]).iterdir()) == [
            *("seed-1", "trials.json"),
        ]
    before = read_weights(folder / "runs")
    once_more, heard = again(folder, monkeypatch, "training.trials=3")
    assert heard.values_of(FitStarted) == []
    assert read_weights(folder / "runs") == before
    assert [row["trials"] for row in once_more["contenders"]] == [row["trials"] for row in ladder["contenders"]]


def test_trials_cut_short_between_their_record_and_the_move_are_finished(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = workspace(make_spec("  - tfidf\n"))
    again(folder, monkeypatch, "training.trials=2")
    before = read_weights(folder / "runs")
    home = folder / "runs/tiny/contenders/tfidf"
    number = json.loads((home / "trials.json").read_text())["trials"][0]["number"]
    (home / "seed-1").rename(home / f"trial-{number}")  # as a kill would leave it
    (home / ".trial-9.part").mkdir()
    _, heard = again(folder, monkeypatch, "training.trials=2")
    assert heard.values_of(FitStarted) == []
    assert read_weights(folder / "runs") == before
    assert sorted(f.name for f in home.iterdir()) == ["seed-1", "trials.json"]


def test_there_is_a_factor_for_every_trial_that_a_spec_may_ask_for() -> None:
    most = next(rule.le for rule in TrainingSpec.model_fields["trials"].metadata if hasattr(rule, "le"))
    assert most == len(TRIAL_FACTORS) == len(set(TRIAL_FACTORS))
    assert TRIAL_FACTORS[0] == 1.0


def test_a_contender_whose_every_trial_fails_is_recorded_and_the_others_go_on(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = workspace(make_spec(LADDER))

    def diverge(*_: Any, **__: Any) -> None:
        raise TrainingDiverged("the loss is nan", remedy="try a third of the learning rate")

    with monkeypatch.context() as patched:
        patched.setattr("loratory.regimes.lora.Lora.fit", diverge)
        ladder, heard = again(folder, patched, "training.trials=2")
    rows = {row["name"]: row for row in ladder["contenders"]}
    assert [row["status"] for row in ladder["contenders"]] == ["fitted", "fitted", "fitted", "fitted", "failed"]
    assert "every trial of lora failed" in rows["lora"]["failure"]
    assert "0.001: the loss is nan" in rows["lora"]["failure"]
    assert heard.values_of(ContenderFailed) == ["lora"]
    # the next run does not train in vain again, for it would fail in the same way; another option is another fit
    ladder, heard = again(folder, monkeypatch, "training.trials=2")
    assert heard.values_of(FitStarted) == []
    assert ladder["contenders"][4]["status"] == "failed"
    assert "failed.json" in ladder["contenders"][4]["failure"]
    assert run_command(folder, "report", "runs/tiny").code == 0
    ladder, heard = again(folder, monkeypatch, "training.trials=2", "lora.rank=2")
    assert heard.values_of(FitStarted) == ["lora", "lora"]
    assert ladder["contenders"][4]["status"] == "fitted"


def test_a_trial_beyond_the_options_bounds_fails_alone(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = workspace(make_spec("  - head: {learning_rate: 0.5}\n"))
    ladder, _ = again(folder, monkeypatch, "training.trials=3")
    trials = {trial["value"]: trial for trial in ladder["contenders"][1]["trials"]}
    assert "less than 1" in trials[1.58]["failure"]
    assert trials[0.5]["score"] >= 0


def test_train_goes_on_after_a_failure_and_fails_when_nothing_could_be_fitted(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = workspace(make_spec("  - lora\n  - tfidf\n"))

    def diverge(*_: Any, **__: Any) -> None:
        raise TrainingDiverged("the loss is nan", remedy="try a third of the learning rate")

    monkeypatch.setattr("loratory.regimes.lora.Lora.fit", diverge)
    done = run_command(folder, "train", "spec.yaml", "--json")
    assert done.code == 0
    assert [row["contender"] for row in json.loads(done.out)] == ["majority", "tfidf"]
    assert "failed: the loss is nan" in done.read_stderr()
    done = run_command(folder, "train", "spec.yaml", "-c", "lora")
    assert done.code == 2
    assert "the loss is nan" in done.read_stderr()
