"""A whole run: what lies on the disk, what a second run keeps, and how the readings of the test set are counted."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from loratory.artifacts.manifests import verify_artifact
from loratory.data.splitting import ledger
from loratory.experiment.run import run_experiment
from loratory.experiment.run_paths import RunPaths
from loratory.experiment.spec_loading import load_spec
from loratory.protocols.events import FitReused, FitStarted, MeasurementStarted, Message, StageStarted
from loratory.specs.yaml_files import load_yaml

from .conftest import Workspace
from .run_fixtures import RecordingListener, make_spec, read_weights, run_command

NAMES = ["majority", "rules", "tfidf", "zero-shot", "prototype", "head", "lora", "lora-stock", "full"]


def again(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *changes: str, spec: str = "spec.yaml"
) -> tuple[Any, RecordingListener]:
    """Run in a workspace; the ladder and what was heard."""
    heard = RecordingListener()
    monkeypatch.chdir(folder)
    parsed = load_spec(spec, None, changes)
    return run_experiment(parsed, RunPaths(folder / "runs" / "tiny"), heard), heard


def purposes() -> list[str]:
    """What for the ledger was written, oldest first."""
    with (
        closing(sqlite3.connect(ledger.find_ledger_file())) as known,
        suppress(sqlite3.OperationalError),
    ):  # no table yet
        return [purpose for (purpose,) in known.execute("SELECT purpose FROM reads ORDER BY id")]
    return []


def reads() -> int:
    return len(purposes())


def test_every_file_of_a_run_is_there(finished_run: Path) -> None:
    run = finished_run / "runs" / "tiny"
    top = {entry.name for entry in run.iterdir()}
    assert top == {
        *(
            "spec.lock.yaml",
            "environment.json",
            "data",
            "contenders",
            "ladder.json",
            "verdict.json",
            "golden.jsonl",
            "report.html",
            "latency.json",
            "manifest.json",
        ),
    }
    parts = {f"{part}.parquet" for part in ("train", "validation", "calibration", "test")}
    assert {entry.name for entry in (run / "data").iterdir()} == parts | {
        *("quality.json", "split.json", "task.json", "labels.json", "manifest.json"),
    }
    assert sorted(entry.name for entry in (run / "contenders").iterdir()) == sorted(NAMES)
    for name in NAMES:
        fit = run / "contenders" / name / "seed-1"
        assert [entry.name for entry in fit.parent.iterdir()] == ["seed-1"], "something is left behind"
        files = set(verify_artifact(fit)["files"])
        assert {
            "metrics.json",
            "test_predictions.parquet",
            "validation.parquet",
            "fit.json",
            "labels.json",
            "README.md",
        } <= files
        assert ("adapter/adapter_model.safetensors" in files) == name.startswith("lora")
        assert ("merged/model.safetensors" in files) == name.startswith("lora")
        assert ("base_3/model.safetensors" in files) == name.startswith("lora")
    left = [path for path in run.rglob(".*")]
    assert left == [], "a temporary file is left behind"


def test_the_ladder_has_what_it_promises(finished_run: Path) -> None:
    ladder = json.loads((finished_run / "runs" / "tiny" / "ladder.json").read_text(encoding="utf-8"))
    assert {"contenders", "comparisons", "verdict"} <= set(ladder)
    assert [row["name"] for row in ladder["contenders"]] == NAMES
    for row in ladder["contenders"]:
        assert {"name", "regime", "base", "seeds", "metrics", "train_seconds", "latency_ms", "parameters"} <= set(row)
        for metric in ("accuracy", "macro_f1"):
            low, mean, high = (row["metrics"][metric][key] for key in ("low", "mean", "high"))
            assert 0 <= low <= mean <= high <= 1
        assert 0 < row["latency_ms"]["p50"] <= row["latency_ms"]["p95"]
        assert 0 <= row["parameters"]["trained"] <= row["parameters"]["total"]
        assert row["status"] == "fitted"
        assert row["size_bytes"] > 0
    assert json.loads((finished_run / "runs" / "tiny" / "verdict.json").read_text()) == ladder["verdict"]
    assert ladder["facts"]["test_reads"] == 1
    assert not any("was read" in warning for warning in ladder["verdict"]["warnings"])


def test_a_second_run_fits_nothing_reads_nothing_and_loads_no_weights(
    run_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, counted = read_weights(run_copy / "runs"), reads()
    # the copy lies elsewhere, so its split is made again once, to the same examples
    ladder, heard = again(run_copy, monkeypatch)
    assert heard.values_of(FitStarted) == []
    monkeypatch.setattr("loratory.backbones.pool.load_backbone", lambda *_: pytest.fail("weights were loaded"))
    ladder, heard = again(run_copy, monkeypatch)
    assert heard.values_of(FitStarted) == heard.values_of(MeasurementStarted) == []
    assert heard.values_of(FitReused) == NAMES
    assert heard.values_of(StageStarted, "text") == ["comparing the contenders"]
    assert reads() == counted
    assert read_weights(run_copy / "runs") == before
    assert ladder["facts"]["test_reads"] == 1


def test_one_changed_option_fits_one_contender_again_and_counts_one_reading(
    run_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ladder, heard = again(run_copy, monkeypatch, "ladder.lora.rank=2")
    assert heard.values_of(FitStarted) == heard.values_of(MeasurementStarted) == ["lora"]
    assert heard.values_of(FitReused) == [name for name in NAMES if name != "lora"]
    assert reads() == 2
    assert ladder["facts"]["test_reads"] == 2
    assert any("were read 2 times" in warning for warning in ladder["verdict"]["warnings"])
    assert "were read 2 times" in (run_copy / "runs" / "tiny" / "report.html").read_text(encoding="utf-8")
    assert purposes()[-1] == "run: lora"


@pytest.mark.usefixtures("without_charts")
def test_an_added_contender_is_the_only_one_that_is_fitted(run_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (run_copy / "spec.yaml").read_text()
    (run_copy / "spec.yaml").write_text(
        text.replace("  - full\n", "  - full\n  - tfidf-words: {regime: tfidf, words: 1}\n")
    )
    ladder, heard = again(run_copy, monkeypatch)
    assert heard.values_of(FitStarted) == heard.values_of(MeasurementStarted) == ["tfidf-words"]
    assert [row["name"] for row in ladder["contenders"]] == [*NAMES, "tfidf-words"]
    assert reads() == 2


@pytest.mark.usefixtures("without_charts")
def test_more_seeds_keep_the_first_one(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = workspace(make_spec("  - tfidf\n  - head\n"))
    again(folder, monkeypatch)
    first = read_weights(folder / "runs")
    ladder, heard = again(folder, monkeypatch, "training.seeds=2")
    assert heard.values_of(FitStarted, "seed") == [2]
    assert heard.values_of(FitStarted) == ["head"]
    assert [row["seeds"] for row in ladder["contenders"]] == [[1], [1], [1, 2]]
    assert first.items() <= read_weights(folder / "runs").items()


def test_the_lock_runs_again_from_anywhere(finished_run: Path, tmp_path: Path) -> None:
    lock = finished_run / "runs" / "tiny" / "spec.lock.yaml"
    values = load_yaml(lock)[0]
    assert Path(values["data"]["path"]).is_absolute()
    assert Path(values["base"]).is_absolute()
    assert values["training"]["batch_tokens"] == 1024  # a default that the spec left out
    done = run_command(tmp_path, "train", lock, "-c", "lora", "-c", "tfidf", "-o", tmp_path / "out")
    assert done.code == 0, done.err
    for name in ("lora", "tfidf"):
        made = read_weights(tmp_path / "out" / "contenders" / name)
        assert made
        assert made.items() <= read_weights(finished_run / "runs" / "tiny" / "contenders" / name).items()


@pytest.mark.usefixtures("without_charts")
def test_changed_data_makes_a_new_split_and_new_fits(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = workspace(make_spec("  - tfidf\n  - prototype\n"))
    again(folder, monkeypatch)
    digest = json.loads((folder / "runs/tiny/data/split.json").read_text())["parts"]["train"]["digest"]
    file = folder / "data.csv"
    os.utime(file, ns=(1, 1))  # another time, the same bytes
    _, heard = again(folder, monkeypatch)
    assert "reading and splitting the examples" not in heard.values_of(StageStarted, "text")
    file.write_text(file.read_text(encoding="utf-8").replace("\n", "\r\n"), encoding="utf-8")  # the same examples
    _, heard = again(folder, monkeypatch)
    assert "reading and splitting the examples" in heard.values_of(StageStarted, "text")
    assert heard.values_of(FitReused) == ["majority", "tfidf", "prototype"]
    file.write_text("\n".join(file.read_text(encoding="utf-8").split("\n")[:-21]) + "\n", encoding="utf-8")
    ladder, heard = again(folder, monkeypatch)
    assert heard.values_of(FitStarted) == heard.values_of(MeasurementStarted) == ["majority", "tfidf", "prototype"]
    assert json.loads((folder / "runs/tiny/data/split.json").read_text())["parts"]["train"]["digest"] != digest
    assert ladder["facts"]["test_reads"] == 2
    assert 0 < ladder["facts"]["test_overlap"]["largest"] < 1, "another test set, and some of its rows were read before"


@pytest.mark.usefixtures("without_charts")
def test_a_damaged_split_is_made_again_and_said(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = workspace(make_spec("  - tfidf\n"))
    again(folder, monkeypatch)
    file = folder / "runs/tiny/data/train.parquet"
    file.write_bytes(file.read_bytes()[:-1])
    _, heard = again(folder, monkeypatch)
    assert any("the split on disk is damaged and is written again" in text for text in heard.values_of(Message, "text"))
    assert heard.values_of(FitReused) == ["majority", "tfidf"]


@pytest.mark.usefixtures("without_charts")
@pytest.mark.parametrize("operating", ["{temperature: true}", "{thresholds: {FRAUD: {recall: 0.5}}}"])
def test_an_operating_point_without_abstention_is_written_and_read(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, operating: str
) -> None:
    """JSON has no infinity, which is where abstention begins that there is not."""
    folder = workspace(make_spec("  - tfidf\n", operating=operating))
    ladder, _ = again(folder, monkeypatch, "data.split.calibration=0.25")
    assert [row["status"] for row in ladder["contenders"]] == ["fitted"] * 2
    fit = folder / "runs/tiny/contenders/tfidf/seed-1"
    assert json.loads((fit / "operating.json").read_text())["least"] is None
    assert json.loads((fit / "fit.json").read_text())["facts"]["operating"]["point"]["least"] is None
    assert run_command(folder, "predict", "runs/tiny", "my card was stolen").code == 0


@pytest.mark.usefixtures("without_charts")
@pytest.mark.parametrize("part", ["", "data", "contenders/tfidf/seed-1"])
def test_a_run_of_an_older_version_is_refused_and_left_as_it_is(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    folder = workspace(make_spec("  - tfidf\n"))
    again(folder, monkeypatch)
    run = folder / "runs/tiny"
    file = run / part / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "format": 2}), encoding="utf-8")
    before = {entry: entry.read_bytes() for entry in run.rglob("*") if entry.is_file()}
    done = run_command(folder, "run", "spec.yaml")
    assert done.code == 2
    assert "the manifest is of format 2: another version of loratory wrote this folder" in done.err
    assert "Traceback" not in done.err
    assert {entry: entry.read_bytes() for entry in run.rglob("*") if entry.is_file()} == before


def test_a_gate_on_a_label_that_the_data_does_not_have_is_refused_before_training(workspace: Workspace) -> None:
    folder = workspace(make_spec("  - tfidf\n", gate="{recall: {FRUAD: {at_least: 0.5}}}"))
    for verb in ("check", "run"):
        done = run_command(folder, verb, "spec.yaml")
        assert done.code == 2
        assert "gate: recall: FRUAD: 'FRUAD' is no label of this spec; did you mean 'FRAUD'?" in done.read_stderr()
        assert not (folder / "runs").exists()


def test_report_writes_the_same_evidence_again(run_copy: Path) -> None:
    run = run_copy / "runs" / "tiny"
    before = json.loads((run / "ladder.json").read_text(encoding="utf-8"))
    (run / "report.html").unlink()
    counted = reads()
    done = run_command(run_copy, "report", "runs/tiny")
    assert done.code == 0, done.err
    assert (run / "report.html").stat().st_size > 10_000
    assert json.loads((run / "ladder.json").read_text(encoding="utf-8")) == before
    assert reads() == counted


def test_a_fit_that_was_made_again_is_not_passed_off_as_the_measured_one(run_copy: Path) -> None:
    done = run_command(run_copy, "train", "spec.yaml", "-c", "rules", "--set", "rules.mined=3")
    assert done.code == 0, done.err
    for words in (("predict", "runs/tiny", "-c", "rules", "a text"), ("report", "runs/tiny")):
        done = run_command(run_copy, *words)
        assert done.code == 2
        assert "loratory run" in done.read_stderr()
    assert run_command(run_copy, "predict", "runs/tiny/contenders/rules/seed-1", "a text").code == 0
