"""A contender that cannot win: its fit ends early, the ladder says so, and the next run keeps to it."""

from __future__ import annotations

from typing import Any

import pytest

from loratory.errors import ContenderPruned as ContenderPrunedError
from loratory.evaluation.ladder import format_ladder_lines
from loratory.experiment.steps import racing
from loratory.protocols.events import ContenderPruned, EpochFinished, FitStarted

from .conftest import Workspace
from .run_fixtures import make_spec, run_command
from .test_trials import again

pytestmark = pytest.mark.usefixtures("without_charts")
# The rates are so low that nothing is learnt beyond where the head starts.
LADDER = "  - tfidf\n  - hopeless: {regime: lora, head: stock, learning_rate: 1.0e-9, head_learning_rate: 1.0e-9}\n"
EPOCHS = 6


def find_row(ladder: Any) -> Any:
    return next(row for row in ladder["contenders"] if row["name"] == "hopeless")


@pytest.mark.parametrize("trials", [1, 2])
def test_a_contender_that_cannot_win_is_stopped_and_told(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, trials: int
) -> None:
    monkeypatch.setattr(racing, "MARGIN_DEVIATIONS", 0.1)  # the validation set of this test is too small for more
    folder = workspace(make_spec(LADDER))
    changes = (f"training.epochs={EPOCHS}", f"training.trials={trials}")
    ladder, heard = again(folder, monkeypatch, *changes)
    row = find_row(ladder)
    assert row["status"] == "pruned"
    assert f"after {racing.MIN_EPOCHS} of {EPOCHS} epochs" in row["failure"]
    assert "cannot reach tfidf" in row["failure"]
    assert heard.values_of(ContenderPruned) == ["hopeless"]
    assert len(heard.values_of(EpochFinished)) == racing.MIN_EPOCHS * trials
    assert "hopeless" in ladder["verdict"]["failed"]
    assert any("hopeless could not win" in line for line in format_ladder_lines(ladder))
    ladder, heard = again(folder, monkeypatch, *changes)
    assert heard.values_of(FitStarted) == []
    assert find_row(ladder)["status"] == "pruned"
    assert run_command(folder, "report", "runs/tiny").code == 0
    ladder, heard = again(folder, monkeypatch, *changes, "training.racing=off")
    assert find_row(ladder)["status"] == "fitted"
    assert len(heard.values_of(EpochFinished)) == EPOCHS * trials


@pytest.mark.parametrize(
    "more",
    [
        {"serve": "{contender: hopeless}"},
        {"serve": "{fallback: [hopeless]}"},
        {"gate": "{not_worse_than: {hopeless: 0.5}}"},
        {"training": "{seeds: 2}"},
    ],
)
def test_what_the_spec_needs_is_trained_to_its_end(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, more: dict[str, str]
) -> None:
    monkeypatch.setattr(racing, "MARGIN_DEVIATIONS", 0.1)
    spec = make_spec(LADDER)
    if "training" in more:
        changes = [f"training.epochs={EPOCHS}", "training.seeds=2"]
    else:
        spec, changes = make_spec(LADDER, **more), [f"training.epochs={EPOCHS}"]
    ladder, _ = again(workspace(spec), monkeypatch, *changes)
    assert find_row(ladder)["status"] == "fitted"


def test_a_warm_up_and_a_score_that_is_no_headline_do_not_race(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A contrastive warm-up of many epochs is no fit yet; the likelihood of a text is no accuracy."""
    monkeypatch.setattr(racing, "MARGIN_DEVIATIONS", 0.1)
    warmed = LADDER.replace("head: stock,", "contrastive: {epochs: 4},")
    ladder, heard = again(workspace(make_spec(warmed)), monkeypatch, "training.epochs=1")
    assert find_row(ladder)["status"] == "fitted"
    assert len(heard.values_of(EpochFinished)) == 5

    class Task:
        headline = "exact"

    class Split:
        task = Task()
        parts = type("Parts", (), {"validation": range(100)})()

    context: Any = type("Context", (), {"split": Split()})()
    monkeypatch.setattr(racing, "_find_leader", lambda context, contender: ("tfidf", 0.9))
    check = racing.make_race_check(context, None)  # type: ignore[arg-type]
    check("likelihood", [0.1, 0.1, 0.1], 5)
    with pytest.raises(ContenderPrunedError, match="cannot reach tfidf"):
        check("exact", [0.1, 0.1, 0.1], 5)
