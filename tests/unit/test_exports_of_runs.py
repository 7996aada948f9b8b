"""Exports of a run: golden texts frozen when it concluded, evidence from its test split, and where folders go."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import loratory
from loratory.artifacts.manifests import open_artifact, read_manifest
from loratory.cli import app
from loratory.data.splitting import ledger
from loratory.errors import ParityError, SpecError
from loratory.experiment import export_evidence, golden_sources
from loratory.experiment.artifact_lookup import GOLDEN_FILE, open_run, seal_run
from loratory.experiment.export_session import ExportSession
from loratory.exporting.certificates import tolerances
from loratory.exporting.certificates.accuracy import AccuracyEvidence
from loratory.protocols.exporters import StageOutputs
from ticket_rows import make_tickets
from tiny_models import save_base


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> loratory.Run:
    home = tmp_path_factory.mktemp("home")
    base = str(save_base(home / "base", "bert"))
    return loratory.run(
        make_tickets(240),
        text="message",
        label="team",
        name="tickets",
        output=home / "run",
        ladder=["tfidf", {"lora": {"base": base, "rank": 2}}],
        training={"epochs": 2, "racing": "off"},
        evidence={"resamples": 200, "latency_texts": 5},
    )


def invoke(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_golden_texts_are_frozen_with_the_run(run: loratory.Run) -> None:
    assert GOLDEN_FILE in (read_manifest(run.folder) or {"files": {}})["files"]
    source = golden_sources.load_golden_texts(run.folder, run.folder / "contenders" / "lora" / "seed-1")
    assert source.notes == ()
    test = golden_sources.read_test_part(run.folder)
    chosen = [one for one in source.texts if one.kind == "test"]
    assert {one.label for one in chosen} == set(test.labels)
    for one in chosen:
        assert test.texts[int(one.id.removeprefix("test-"))] == one.text
    before = (run.folder / GOLDEN_FILE).read_bytes()
    assert invoke("report", run.folder).exit_code == 0
    assert (run.folder / GOLDEN_FILE).read_bytes() == before


def test_an_older_run_gets_them_when_it_is_exported(run: loratory.Run, tmp_path: Path) -> None:
    old = Path(shutil.copytree(run.folder, tmp_path / "old"))
    (old / GOLDEN_FILE).unlink()
    seal_run(old)
    source = golden_sources.load_golden_texts(old, old / "contenders" / "lora" / "seed-1")
    assert source.notes == (golden_sources.MADE_NOW,)
    assert sum(one.kind == "test" for one in source.texts) > 20
    inside = old / "contenders" / "lora" / "seed-1"
    assert golden_sources.load_golden_texts(inside, inside).run == old.resolve()


def test_peft_goes_below_the_run_and_is_verified(run: loratory.Run) -> None:
    done = invoke("export", run.folder, "-c", "lora", "--to", "peft", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    folder = run.folder / "exports" / "peft"
    assert told["folders"] == [str(folder)]
    assert any("texts of the test split" in note for note in told["notes"])
    measured = told["certificates"][str(folder)]["measured"]
    assert measured["label_agreement"]["of"] > 60
    assert measured["max_dp"] < 1e-5
    assert invoke("verify", folder).exit_code == 0
    assert open_run(run.folder)  # the run itself is as it was
    (folder / "merged" / "model.safetensors").write_bytes(b"")
    refused = invoke("verify", folder, "--json")
    assert isinstance(refused.exception, ParityError)
    assert (refused.exception.exit_code, refused.exception.stage) == (3, "digest")


def test_texts_of_the_test_split_may_stay_out(run: loratory.Run, tmp_path: Path) -> None:
    done = loratory.export(run.folder, tmp_path / "out", contender="lora", test_texts=False)
    written = (done.folder / "goldens.jsonl").read_text(encoding="utf-8")
    assert golden_sources.TESTS_LEFT_OUT in done.notes
    assert done.certificates[done.folder]["goldens"]["count"] > 30
    for text in golden_sources.read_test_part(run.folder).texts:
        assert text not in written
    assert '"kind": "test"' not in written
    assert "boundary" not in written
    assert loratory.verify(done.folder).format == "peft"


def test_what_is_not_there_is_told(run: loratory.Run, tmp_path: Path) -> None:
    assert "did you mean 'onnx'" in str(invoke("export", run.folder, "--to", "onxx").exception)
    rules = invoke("export", run.folder, "-c", "tfidf", "--to", "onnx").exception
    assert "no other form" in str(rules)
    assert "no format is named" in str(invoke("export", run.folder, "--to", ",").exception)
    lone = Path(shutil.copytree(run.folder / "contenders" / "lora" / "seed-1", tmp_path / "fit"))
    found = invoke("export", lone, "--to", "peft").exception
    assert isinstance(found, SpecError)
    assert "--output FOLDER" in str(found)
    assert "no certificate.json" in str(invoke("verify", run.folder).exception)
    assert "no such folder" in str(invoke("verify", tmp_path / "nothing").exception)


# ---- evidence of rounded forms
class Flipped:
    """The fit's own answers, some of them turned into another label."""

    output_names: tuple[str, ...] = ()

    def __init__(self, evidence: AccuracyEvidence, labels: tuple[str, ...], flips: int) -> None:
        self.answers = {}
        for place, (text, example) in enumerate(zip(evidence.texts, evidence.examples, strict=True)):
            right = labels.index(example.answer["label"]) if example.answer else 0
            self.answers[text] = (right + (place < flips)) % len(labels)
        self.labels = labels

    def run_stages(self, texts: Any) -> list[StageOutputs]:
        rows = [np.eye(len(self.labels))[self.answers[text]] * 0.8 + 0.2 / len(self.labels) for text in texts]
        picked = [self.labels[self.answers[text]] for text in texts]
        return [
            StageOutputs(probabilities=row, answer=label, has_answer=True)
            for row, label in zip(rows, picked, strict=True)
        ]


@pytest.fixture(scope="module")
def evidence(run: loratory.Run) -> tuple[AccuracyEvidence, tuple[str, ...]]:
    fit = run.folder / "contenders" / "lora" / "seed-1"
    session = ExportSession(run.folder, fit, open_artifact(fit), 0.02)
    assert session.reference is not None
    found = export_evidence.load_evidence(run.folder, session.artifact, session.reference.model, 0.02)
    assert found is not None
    return found, session.reference.model.labels


def test_evidence_is_a_paired_difference(evidence: tuple[AccuracyEvidence, tuple[str, ...]]) -> None:
    found, labels = evidence
    right = found.measure(Flipped(found, labels, 0))
    fit = sum(one["reward"] for one in found.counts) / len(found.counts)
    assert right.difference == pytest.approx(1 - fit)
    assert right.rows == len(found.texts)
    worse = found.measure(Flipped(found, labels, 10))
    assert worse.difference == pytest.approx(right.difference - 10 / len(found.texts))
    assert worse.low < worse.difference < worse.high
    assert worse.needed_margin >= max(-worse.low, 0)


def test_a_reading_of_the_test_split_is_noted(run: loratory.Run) -> None:
    test = golden_sources.read_test_part(run.folder)
    keys = ledger.compute_row_keys(test.texts)
    before = len(ledger.find_reads(keys))
    export_evidence.record_evidence_read(run.folder, "lora", ("int8",))
    export_evidence.record_evidence_read(run.folder, "lora", ("int8",))
    assert len(ledger.find_reads(keys)) == before + 1


def test_a_fit_that_answers_otherwise_than_when_it_was_measured_is_refused(run: loratory.Run) -> None:
    fit = run.folder / "contenders" / "lora" / "seed-1"
    session = ExportSession(run.folder, fit, open_artifact(fit), None)
    reference, outcome = session.reference, export_evidence.read_measured_outcome(session.artifact)
    assert reference is not None
    assert outcome is not None
    export_evidence.check_fit_unchanged(reference.goldens, outcome, reference.model.labels, fit)
    with pytest.raises(ParityError, match="when it was measured"):
        export_evidence.check_fit_unchanged(reference.goldens, outcome, reference.model.labels[::-1], fit)


def test_no_margin_is_wider_than_ours() -> None:
    assert invoke("export", "x", "--to", "int8", "--margin", "0.5").exit_code == 2
    assert tolerances.MAX_MARGIN == 0.05


@pytest.mark.slow
def test_a_quantised_form_passes_by_evidence_or_leaves_nothing(run: loratory.Run, tmp_path: Path) -> None:
    with pytest.raises(ParityError, match="the margin is 0") as caught:
        loratory.export(run.folder, tmp_path / "out", to="onnx,int8-weights", contender="lora", margin=0.0)
    assert caught.value.stage == "labels"
    assert [one.name for one in (tmp_path / "out").iterdir() if not one.name.startswith(".")] == ["onnx"]
    suggested = re.search(r"--margin (0\.\d+)|no margin up to", caught.value.remedy)
    assert suggested is not None
    if suggested[1] is None:
        return
    done = loratory.export(
        run.folder, tmp_path / "again", to="int8-weights", contender="lora", margin=float(suggested[1])
    )
    made = done.certificates[done.folder]
    assert made["chain"]["exact_member"] is not None
    assert made["measured"]["accuracy"]["low"] >= -float(suggested[1])
    assert loratory.verify(done.folder).format == "int8-weights"
