"""The test rows of a run beside the answers that a fit gave to them: what a rounded form is weighed on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from loratory.artifacts.manifests import Artifact
from loratory.data.splitting import ledger
from loratory.experiment.golden_sources import read_test_part
from loratory.experiment.run_context import read_outcome_if_listed
from loratory.experiment.steps.measure import TEST_PREDICTIONS_FILE, align_outcome
from loratory.exporting.certificates.accuracy import AccuracyEvidence
from loratory.exporting.certificates.certificate import make_parity_error
from loratory.exporting.certificates.goldens import GoldenSet
from loratory.exporting.certificates.model_facts import ModelFacts
from loratory.protocols import Example, Labelled, Prediction, ScoredPredictions
from loratory.protocols.exporters import StageOutputs
from loratory.specs.evidence import EvidenceSpec
from loratory.specs.yaml_files import load_yaml

MAX_DRIFT = 2e-2  # of a probability, between the day of the measurement and today: bf16 explains as much


def read_measured_outcome(artifact: Artifact) -> ScoredPredictions | None:
    """What the fit answered when it was measured; None where it was not."""
    return read_outcome_if_listed(artifact.folder, TEST_PREDICTIONS_FILE)


def check_fit_unchanged(goldens: GoldenSet, outcome: ScoredPredictions, labels: tuple[str, ...], fit: Path) -> None:
    """Raise ParityError where the fit itself gives other probabilities than when it was measured.

    Only labels with all their probabilities are compared: of more than a hundred labels the rows hold the likeliest.
    """
    measured = {
        str(example.input["text"]): prediction.probabilities["/label"]
        for example, prediction in zip(outcome.examples, outcome.predictions, strict=True)
        if "text" in example.input and set(prediction.probabilities.get("/label", ())) == set(labels)
    }
    for golden in goldens.goldens:
        known = measured.get(golden.text)
        if golden.kind != "test" or known is None or golden.probabilities is None or golden.rows != 1:
            continue
        far = float(np.abs(golden.probabilities - [known[label] for label in labels]).max())
        if far > MAX_DRIFT:
            raise make_parity_error(
                "probabilities",
                f"the fit itself is {far:.2g} from what it answered to {golden.id} when it was measured",
                fit,
                remedy="export it with the versions of torch and transformers that environment.json of the run names",
            )


def load_evidence(run: Path, artifact: Artifact, model: ModelFacts, margin: float | None) -> AccuracyEvidence | None:
    """None where the fit was not measured on the run's test split. Raises ArtifactError for rows of another one."""
    outcome = read_measured_outcome(artifact)
    if outcome is None:
        return None
    test = read_test_part(run)
    outcome = align_outcome(outcome, test)
    spec = read_evidence_spec(run)
    return AccuracyEvidence(
        task=test.task,
        examples=test.examples,
        counts=outcome.counts,
        texts=test.texts,
        read=make_reader(test.task, model.labels),
        margin=spec.margin if margin is None else margin,
        confidence=spec.confidence,
        resamples=spec.resamples,
        seed=spec.seed,
    )


def make_reader(task: Any, labels: tuple[str, ...]) -> Any:
    """A function from an example and a form's outputs to the prediction that is scored."""

    def read(example: Example, found: StageOutputs) -> Prediction:
        if isinstance(task, Labelled) and found.probabilities is not None:
            odds: Mapping[str, float] = dict(zip(labels, np.asarray(found.probabilities).tolist(), strict=True))
            if found.answer is None:
                return Prediction(None, {"/label": odds}, "abstained")
            return Prediction(task.from_probabilities(example.input, {found.answer: 1.0}).answer, {"/label": odds})
        return Prediction(found.answer, reason=None if found.answer is not None else "abstained")

    return read


def read_evidence_spec(run: Path) -> EvidenceSpec:
    """`evidence:` of the run's own spec."""
    values, _ = load_yaml(run / "spec.lock.yaml")
    return EvidenceSpec.model_validate(values.get("evidence") or {})


def record_evidence_read(run: Path, contender: str, formats: tuple[str, ...]) -> None:
    """Note in the ledger that the test split was looked at again: a form was chosen by it."""
    test = read_test_part(run)
    values, _ = load_yaml(run / "spec.lock.yaml")
    names = frozenset(f"export:{contender}:{name}" for name in formats)
    reader = ledger.TestReader(str(values["name"]), str(run.resolve()), f"export: {', '.join(formats)}", names)
    ledger.record_read(reader, ledger.compute_row_keys(test.texts))
