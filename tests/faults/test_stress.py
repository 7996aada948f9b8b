"""Stress on a run's disk: what is written, what is kept, how the readings of the test set are counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from loratory.data.quality import paired_texts
from loratory.errors import UnsupportedTask
from loratory.experiment.inference import stress_run

from . import run_fixtures
from .test_run_on_disk import again, reads

LADDER = "  - rules\n  - tfidf\n"
STRESS = "{of: [typos, {loud: {perturbation: case, style: upper}}], texts: 20}"


def read_stressed_contenders(run: Path) -> list[dict[str, Any]]:
    return list(json.loads((run / "stress.json").read_text(encoding="utf-8"))["contenders"])


@pytest.fixture
def shaken(base: Path, tmp_path: Path, without_charts: None, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Any]:
    """A run with stress and a gate on it, and its ladder."""
    spec = run_fixtures.make_spec(LADDER, stress=STRESS, gate="{flips: {loud: {at_most: 0.3}}}")
    folder = run_fixtures.make_workspace(tmp_path / "w", base, spec)
    return folder, again(folder, monkeypatch)[0]


def test_a_run_with_stress_is_measured_once_and_kept(shaken: tuple[Path, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, ladder = shaken
    run = folder / "runs" / "tiny"
    assert [one["name"] for one in read_stressed_contenders(run)] == ["majority", "rules", "tfidf"]
    for row in ladder["contenders"]:
        assert {one["name"] for one in row["stress"]} == {"typos", "loud"}
        assert [check["what"] for check in row["gate"]["checks"]] == ["flips/loud"]
        assert row["gate"]["checks"][0]["n"] > 0
    assert reads() == ladder["facts"]["test_reads"] == 1
    monkeypatch.setattr(stress_run, "measure_under_stress", lambda *_: pytest.fail("it was done already"))
    once_more, _ = again(folder, monkeypatch)
    assert once_more["contenders"] == ladder["contenders"]
    assert reads() == 1


def test_another_stress_is_measured_and_counted_and_no_fit_is_made_again(
    shaken: tuple[Path, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = shaken
    before = run_fixtures.read_weights(folder / "runs")
    ladder, _ = again(folder, monkeypatch, "stress.seed=7")
    assert reads() == 2
    assert run_fixtures.read_weights(folder / "runs") == before
    assert len(read_stressed_contenders(folder / "runs" / "tiny")) == 6
    assert ladder["contenders"][1]["stress"]
    again(folder, monkeypatch, "stress.part=validation")
    assert reads() == 2


def test_by_hand(shaken: tuple[Path, Any]) -> None:
    folder, _ = shaken
    run = folder / "runs" / "tiny"
    done = run_fixtures.run_command(folder, "stress", "runs/tiny", "-c", "tfidf", "--texts", "7", "--json")
    assert done.code == 0, done.err
    made = json.loads(done.out)
    assert (made["name"], made["part"], made["texts"]) == ("tfidf", "test", 7)
    assert "as they are and perturbed" in done.err
    assert reads() == 2
    assert len(read_stressed_contenders(run)) == 4  # what the run's own spec asked for is still there
    own = run_fixtures.run_command(
        folder, "stress", "runs/tiny", "--data", "data.csv", "--set", "stress.of=[suffix]", "--texts", "5"
    )
    assert own.code == 0, own.err
    assert "5 texts of data.csv" in own.out
    assert len(read_stressed_contenders(run)) == 4
    assert reads() == 3, "labelled rows that a person names may be test rows too"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--set", "stres.of=[typos]"), "did you mean 'stress'"),
        (("--set", "stress.of=[typo]"), "did you mean 'typos'"),
        (("--set", "stress.texts=0"), "at least 1"),
        (("-c", "nobody"), "no fitted contender"),
        (("--data", "nowhere.csv"), "nowhere.csv"),
    ],
)
def test_mistakes_are_told(shaken: tuple[Path, Any], arguments: tuple[str, ...], said: str) -> None:
    done = run_fixtures.run_command(shaken[0], "stress", "runs/tiny", *arguments)
    assert done.code == 2
    assert said in done.err


def test_a_fit_by_itself_needs_data(shaken: tuple[Path, Any]) -> None:
    done = run_fixtures.run_command(shaken[0], "stress", "runs/tiny/contenders/tfidf/seed-1")
    assert done.code == 2
    assert "--data" in done.err


def test_a_gate_without_stress_is_refused(base: Path, tmp_path: Path) -> None:
    folder = run_fixtures.make_workspace(
        tmp_path / "w", base, run_fixtures.make_spec(LADDER, gate="{flips: {suffix: {at_most: 0.1}}}")
    )
    done = run_fixtures.run_command(folder, "run", "spec.yaml")
    assert done.code == 2
    assert "nothing is perturbed" in done.err
    assert "add stress: {}" in done.err


def test_a_task_that_writes_is_refused() -> None:
    from loratory.tasks.generate import Generate

    with pytest.raises(UnsupportedTask, match="neither with a label nor with spans"):
        paired_texts.require_comparable(Generate())
