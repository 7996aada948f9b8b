"""Ways around the count of test reads, through the command line; rows that moved; what decides a fit; latencies."""

from __future__ import annotations

import json
import random
import signal
from pathlib import Path
from typing import Any

import pytest

from loratory.cli.evaluate import describe_test_reads
from loratory.data.splitting import ledger
from loratory.evaluation import ladder as ladders
from loratory.experiment.steps import latency, measure
from loratory.protocols.events import FitStarted, MeasurementStarted

from . import run_fixtures
from .conftest import Workspace
from .run_fixtures import make_rows, make_spec, run_command, to_csv
from .test_run_on_disk import again, purposes, reads

pytestmark = pytest.mark.usefixtures("without_charts")
SMALL = "  - rules\n  - tfidf\n"
MORE = SMALL + "  - words: {regime: tfidf, words: 1}\n"
GIVEN = make_spec(SMALL).replace("near_duplicates: 1}", "near_duplicates: 1, test: test.csv}")


def facts(folder: Path, run: str = "runs/tiny") -> dict[str, Any]:
    return dict(json.loads((folder / run / "ladder.json").read_text(encoding="utf-8"))["facts"])


def shuffle(file: Path, seed: int = 1) -> None:
    head, *lines = file.read_text(encoding="utf-8").splitlines()
    random.Random(seed).shuffle(lines)
    file.write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")


def with_test_file(folder: Path) -> Path:
    """The same workspace with every fifth row in a test file of its own."""
    test = make_rows()[::5]
    (folder / "test.csv").write_text(to_csv(test), encoding="utf-8")
    (folder / "data.csv").write_text(to_csv([row for row in make_rows() if row not in test]), encoding="utf-8")
    return folder


def test_another_folder_another_seed_and_other_white_space_are_further_reads(workspace: Workspace) -> None:
    folder = workspace(make_spec(SMALL))
    assert run_command(folder, "run", "spec.yaml").code == 0
    assert (facts(folder)["test_reads"], facts(folder)["test_overlap"]) == (1, None)
    moved = run_fixtures.make_workspace(folder / "elsewhere", folder / "base", make_spec(SMALL))
    text = to_csv([(f"  {text.upper()} .", label) for text, label in make_rows()])
    (moved / "data.csv").write_text(text, encoding="utf-8")
    assert run_command(moved, "run", "spec.yaml", "-o", "out").code == 0
    found = facts(moved, "out")
    assert found["test_reads"] == 2
    assert 0 < found["test_overlap"]["largest"] <= 1, "the split goes by the text, so it is another one"
    assert found["test_overlap"]["run"] == "tiny"
    assert run_command(folder, "run", "spec.yaml", "-o", "seed", "--set", "data.split.seed=7").code == 0
    assert facts(folder, "seed")["test_reads"] == 3
    assert 0 < facts(folder, "seed")["test_overlap"]["largest"] < 1
    assert facts(folder)["test_reads"] == 1, "what came later weakens nothing that was found before"


def test_evaluate_and_stress_on_test_rows_are_reads(workspace: Workspace, tmp_path: Path) -> None:
    folder = with_test_file(workspace(GIVEN))
    (folder / "half.csv").write_text(
        to_csv([(text.title(), label) for text, label in make_rows()[:60:5]]), encoding="utf-8"
    )
    assert run_command(folder, "train", "spec.yaml").code == 0
    fit = "runs/tiny/contenders/tfidf/seed-1"
    first = run_command(folder, "evaluate", fit, "--data", "half.csv", "--json")
    assert first.code == 0, first.err
    assert describe_test_reads(json.loads(first.out)) == "none of these rows was read before"
    second = run_command(folder, "evaluate", fit, "--data", "test.csv", "--json")
    told = json.loads(second.out)
    assert (told["test_reads"], told["test_overlap"]["largest"]) == (2, 0.5)
    assert "the largest earlier reading had 50% of them" in describe_test_reads(told)
    assert run_command(folder, "stress", fit, "--data", "test.csv", "--texts", "5").code == 0
    assert run_command(folder, "run", "spec.yaml").code == 0
    found = facts(folder)
    assert (found["test_reads"], found["test_overlap"]["reads"]) == (4, 3)
    assert found["test_overlap"]["largest"] == found["test_overlap"]["seen"] == 1.0
    assert [purpose.partition(":")[0] for purpose in purposes()] == ["evaluate", "evaluate", "stress", "run"]


def test_a_run_that_is_stopped_between_two_measurements_counts_once(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = workspace(make_spec(MORE))
    real = measure.measure_contender

    def measure_once(bench: Any, one: Any) -> None:
        real(bench, one)
        signal.raise_signal(signal.SIGINT)

    for sitting in range(2):
        with monkeypatch.context() as patched:
            patched.setattr("loratory.experiment.steps.measure.measure_contender", measure_once)
            assert run_command(folder, "run", "spec.yaml").code == 130, sitting
    assert run_command(folder, "run", "spec.yaml").code == 0
    assert reads() == facts(folder)["test_reads"] == 1
    assert run_command(folder, "run", "spec.yaml", "--set", "rules.mined=3").code == 0
    assert reads() == facts(folder)["test_reads"] == 2, "another fit is another look"


def test_a_place_that_cannot_be_written_is_told_before_anything_is_fitted_or_read(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = workspace(make_spec(SMALL))
    monkeypatch.setenv(ledger.LEDGER_VARIABLE, str(folder / "data.csv" / "reads.sqlite"))
    done = run_command(folder, "run", "spec.yaml")
    assert done.code == 2
    assert "the ledger of test reads cannot be used" in done.read_stderr()
    assert "LORATORY_LEDGER" in done.read_stderr()
    assert not (folder / "runs").exists()
    assert run_command(folder, "train", "spec.yaml").code == 0, "which reads no test row"
    done = run_command(folder, "evaluate", "runs/tiny/contenders/rules/seed-1", "--data", "data.csv")
    assert (done.code, done.out) == (2, "")


@pytest.mark.parametrize("changed", ["data.csv", "test.csv"])
def test_shuffled_rows_and_a_new_contender_in_an_old_folder(
    changed: str, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = with_test_file(workspace(GIVEN))
    before, _ = again(folder, monkeypatch)
    shuffle(folder / changed)
    (folder / "spec.yaml").write_text(GIVEN.replace(SMALL, MORE), encoding="utf-8")
    weighed: list[Any] = []
    real = ladders.build_ladder

    def build(task: Any, rows: Any, *others: Any) -> Any:
        weighed.extend(fit for row in rows for fit in row.fits)
        return real(task, rows, *others)

    monkeypatch.setattr(ladders, "build_ladder", build)
    ladder, heard = again(folder, monkeypatch)
    for part in ("validation", "test"):  # row by row the same texts, though a line may hold another text than before
        first, *rest = [getattr(fit, part).examples for fit in weighed]
        assert len(rest) == 3
        assert all(list(other) == list(first) for other in rest)
    everybody = ["majority", "rules", "tfidf", "words"]
    fitted = ["words"] if changed == "test.csv" else everybody  # training goes by the order
    assert heard.values_of(FitStarted) == heard.values_of(MeasurementStarted) == fitted
    assert [row["status"] for row in ladder["contenders"]] == ["fitted"] * 4
    assert ladder["facts"]["test_reads"] == 2
    for old, new in zip(before["contenders"], ladder["contenders"], strict=False):
        if changed == "test.csv":
            assert new["metrics"]["accuracy"]["mean"] == old["metrics"]["accuracy"]["mean"]


def test_kept_answers_follow_their_rows(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    from loratory.errors import ArtifactError
    from loratory.evaluation.prediction_rows import read_predictions

    folder = with_test_file(workspace(GIVEN))
    again(folder, monkeypatch)
    kept = read_predictions(folder / "runs/tiny/contenders/tfidf/seed-1/test_predictions.parquet")
    now = [*reversed(kept.examples)]
    moved = measure.align_outcome(kept, now)
    assert list(moved.examples) == now
    assert moved.predictions == [*reversed(kept.predictions)]
    assert moved.counts == [*reversed(kept.counts)]
    for other in (now[1:], [*now, now[0]], [*now[1:], now[1]]):
        with pytest.raises(ArtifactError, match="other examples"):
            measure.align_outcome(kept, other)


# ---- what decides a fit
OPERATED = "{temperature: true, thresholds: {FRAUD: {recall: 0.5}}, abstain: {keep: 0.9, test: {far: far.csv}}}"


def test_the_calibration_part_decides_an_operated_fit_and_no_other(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    from loratory.experiment.run import open_run_context
    from loratory.experiment.run_context import RunContext, fit_identity
    from loratory.experiment.run_paths import RunPaths
    from loratory.experiment.spec_loading import load_spec

    folder = workspace(
        make_spec("  - tfidf\n", operating=OPERATED).replace(
            "duplicates: 1", "duplicates: 1, split: {calibration: 0.2}"
        )
    )
    (folder / "far.csv").write_text("text\nthe river was wide\n", encoding="utf-8")
    monkeypatch.chdir(folder)
    bench = open_run_context(
        load_spec("spec.yaml"), RunPaths(folder / "r"), run_fixtures.RecordingListener(), lambda: False
    )
    assert len(bench.split.parts.calibration) >= 20

    def identity(bench: RunContext, **parts: Any) -> str:
        split = replace(bench.split, parts=replace(bench.split.parts, **parts))
        return fit_identity(replace(bench, split=split), bench.spec.ladder[0], 1)

    part, train = bench.split.parts.calibration, bench.split.parts.train
    joined = tuple(replace(example, group="one") for example in part)
    named = tuple(replace(example, group=f"new {example.group}") for example in reversed(part))
    same = identity(bench)
    assert identity(bench, calibration=named) == same
    assert len({same, identity(bench, calibration=part[1:]), identity(bench, calibration=joined)}) == 3
    assert identity(bench, train=tuple(reversed(train))) != same
    assert identity(bench, train=(replace(train[0], weight=2.0), *train[1:])) != same
    bare = replace(bench, spec=replace(bench.spec, operating=None))
    assert identity(bare) == identity(bare, calibration=part[1:]) != same


def test_a_changed_file_of_texts_out_of_scope_is_measured_again(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec("  - tfidf\n", operating=OPERATED).replace(
        "duplicates: 1", "duplicates: 1, split: {calibration: 0.2}"
    )
    folder = workspace(spec)
    (folder / "far.csv").write_text("text\nthe river was wide\n", encoding="utf-8")
    _, heard = again(folder, monkeypatch)
    assert heard.values_of(FitStarted) == heard.values_of(MeasurementStarted) == ["majority", "tfidf"]
    (folder / "far.csv").write_text("text\nthe river was wide\nand deep\n", encoding="utf-8")
    ladder, heard = again(folder, monkeypatch)
    assert (heard.values_of(FitStarted), heard.values_of(MeasurementStarted)) == ([], ["majority", "tfidf"])
    assert ladder["contenders"][1]["operating"]["out_of_scope"]["far"]["n"] == 2
    assert reads() == 1


# ---- latencies
def test_latencies_are_taken_in_turns_once_and_all_again_with_a_new_contender(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = workspace(make_spec(SMALL))
    ladder, _ = again(folder, monkeypatch)
    file = folder / "runs/tiny" / latency.LATENCY_FILE
    first = json.loads(file.read_text())
    assert set(first["contenders"]) == {"majority", "rules", "tfidf"}
    for row in ladder["contenders"]:
        kept = first["contenders"][row["name"]]
        assert row["latency_ms"] == {"p50": kept["p50"], "p95": kept["p95"]}
    with monkeypatch.context() as patched:
        patched.setattr(latency, "time_side_by_side", lambda *_: pytest.fail("nothing is new"))
        assert again(folder, patched)[0]["contenders"] == ladder["contenders"]
    (folder / "spec.yaml").write_text(make_spec(MORE), encoding="utf-8")
    ladder, heard = again(folder, monkeypatch)
    assert heard.values_of(MeasurementStarted) == ["words"]
    second = json.loads(file.read_text())
    assert set(second["contenders"]) == {"majority", "rules", "tfidf", "words"}
    assert all(second["contenders"][name]["p50"] != first["contenders"][name]["p50"] for name in first["contenders"])
    assert all(row["latency_ms"]["p50"] > 0 for row in ladder["contenders"])


def test_a_run_that_is_stopped_while_it_times_goes_on(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = workspace(make_spec(SMALL))
    real = latency.time_contenders

    def measure(*arguments: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        real(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(latency, "time_contenders", measure)
        assert run_command(folder, "run", "spec.yaml").code == 130
    assert not (folder / "runs/tiny" / latency.LATENCY_FILE).exists()
    assert run_command(folder, "run", "spec.yaml").code == 0
    assert reads() == 1


# ---- a calibration part only where it is used
def test_a_calibration_part_is_kept_only_where_something_uses_it(workspace: Workspace) -> None:
    spec = make_spec("  - tfidf\n")
    folder = workspace(spec)

    def counts(*changes: str) -> tuple[dict[str, int], str]:
        words = [word for change in changes for word in ("--set", change)]
        done = run_command(folder, "check", "spec.yaml", *words, "--json")
        assert done.code == 0, done.err
        return dict(json.loads(done.out)["counts"]), done.err

    unused = "nothing uses the 12 examples of the calibration part"
    found, said = counts()
    assert found == {"train": 84, "validation": 12, "calibration": 0, "test": 24}
    assert unused not in said
    found, said = counts("data.split.calibration=0.1")
    assert (found["train"], found["calibration"]) == (72, 12)
    assert unused in said
    done = run_command(folder, "check", "spec.yaml", "--set", "operating.temperature=true")  # as run would
    assert done.code == 2
    assert "the calibration part has 12 examples" in done.read_stderr()
    assert "set data: split: calibration: 0.17" in done.read_stderr()
    found, said = counts("operating.temperature=true", "data.split.calibration=0.17")
    assert found["calibration"] >= 20
    assert unused not in said
    assert counts("operating.temperature=true", "data.split.calibration=0.2")[0]["calibration"] == 24
    done = run_command(
        folder, "check", "spec.yaml", "--set", "data.split.test=0.7", "--set", "data.split.validation=0.15"
    )
    assert done.code == 0
    words = [*("--set", "data.split.test=0.7"), *("--set", "operating.temperature=true")]
    assert "the calibration part has 12 examples" in run_command(folder, "check", "spec.yaml", *words).read_stderr()
    words = [*("--set", "data.split.test=0.75"), *("--set", "operating.temperature=true")]
    assert (
        "lower test or validation, or say calibration: 0.05"
        in run_command(folder, "check", "spec.yaml", *words).read_stderr()
    )
