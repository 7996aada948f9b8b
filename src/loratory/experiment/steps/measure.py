"""Answer the locked test set, once."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from loratory.artifacts.durable_files import to_json
from loratory.artifacts.manifests import digest_of, extend_artifact, hash_file, open_artifact, read_manifest
from loratory.backbones.forward.execution import run_locally
from loratory.data.split_files import digest_examples
from loratory.errors import ArtifactError
from loratory.evaluation.contender_result import ContenderResult, Fit
from loratory.evaluation.prediction_rows import write_predictions
from loratory.experiment.artifact_lookup import METRICS_FILE
from loratory.experiment.events import reference_artifact
from loratory.experiment.run_context import FittedContender, RunContext, read_outcome_if_listed
from loratory.experiment.steps.operating_points import evaluate_operating_point
from loratory.predictors import predictor_files
from loratory.protocols import (
    Answer,
    Example,
    GenerativePredictor,
    Input,
    ParameterCount,
    Predictor,
    ScoredPredictions,
    Scores,
    predict_and_score,
)
from loratory.protocols.events import FitMeasured
from loratory.tasks.scorers import add_scorer_counts

TEST_PREDICTIONS_FILE = "test_predictions.parquet"
REPORTED_METRICS = ("json_valid", "json_valid_unconstrained", "unconstrained_texts", "operating")


def is_measured(context: RunContext, fitted: FittedContender) -> bool:
    """Whether every fit of a contender has answered this test set."""
    return all(_is_fit_measured(context, folder) for folder in fitted.folders.values())


def _is_fit_measured(context: RunContext, folder: Path) -> bool:
    manifest = read_manifest(folder)
    if not manifest or METRICS_FILE not in manifest["files"]:
        return False
    metrics = open_artifact(folder).read_json(METRICS_FILE)
    same = metrics["test"] == digest_examples(context.split.parts.test)
    return bool(same and metrics.get("outside", {}) == _digest_out_of_scope_files(context))


def _digest_out_of_scope_files(context: RunContext) -> dict[str, str]:
    """Digests of the files of texts out of scope that an operating point is weighed on."""
    operating = context.spec.operating
    files = operating.abstain.test if operating and operating.abstain else {}
    return {name: hash_file(context.spec.folder / Path(file).expanduser()) for name, file in files.items()}


def name_test_reads(fitted: FittedContender) -> list[str]:
    """A name for what measuring a contender looks at: its fits, each by all that decided it."""
    return [digest_of((read_manifest(folder) or {}).get("identity"))[:16] for folder in fitted.folders.values()]


def measure_contender(context: RunContext, fitted: FittedContender) -> None:
    """Test rows and scores beside each fit."""
    for seed, folder in fitted.folders.items():
        if not _is_fit_measured(context, folder):
            scores = _measure_fit(context, folder)
            context.on_event(FitMeasured(fitted.contender.name, seed, scores, reference_artifact(folder)))


def _measure_fit(context: RunContext, folder: Path) -> Scores:
    """Write the test rows and metrics.json beside a fit; returns its scores on the test set."""
    predictor = predictor_files.load_predictor(folder, context.pool)
    examples = context.split.parts.test
    started = time.monotonic()
    outcome = predict_and_score(predictor, examples, run_locally)
    seconds = time.monotonic() - started
    scores = dict(context.split.task.summarise(outcome.sum_counts()))
    facts = {
        "test": digest_examples(examples),
        "n": len(examples),
        "accuracy": scores.get("accuracy"),
        "recall": {name.partition("/")[2]: value for name, value in scores.items() if name.startswith("recall/")},
        "scores": scores,
        "texts_per_second": len(examples) / max(seconds, 1e-9),
        "outside": _digest_out_of_scope_files(context),
        **measure_json_validity(predictor, examples[: context.spec.evidence.unconstrained_texts], outcome),
        **evaluate_operating_point(context, predictor, outcome),
    }
    with extend_artifact(folder) as part:
        write_predictions(part / TEST_PREDICTIONS_FILE, outcome)
        (part / METRICS_FILE).write_text(to_json(facts), encoding="utf-8")
    return scores


def measure_json_validity(
    predictor: Predictor, examples: Sequence[Example], outcome: ScoredPredictions
) -> dict[str, Any]:
    """Of a predictor that writes: how much of what it writes is JSON of the contract, held to it and not.

    A text counts as valid where it is one JSON value, and nothing else, that the contract's schema allows.
    """
    task = predictor.task
    if not isinstance(predictor, GenerativePredictor) or task.contract().get("type") == "string":
        return {}
    import jsonschema

    def valid(input: Input, answer: Answer) -> bool:
        return bool(jsonschema.Draft202012Validator(task.contract(input)).is_valid(answer))

    def read(text: str) -> Any:
        try:
            return json.loads(text)
        except ValueError:
            return ...

    held = [valid(e.input, p.answer) for e, p in zip(outcome.examples, outcome.predictions, strict=True)]
    texts = predictor.generate_unconstrained([example.input for example in examples], run_locally)
    answers = [read(text) for text in texts]
    free = [answer is not ... and valid(e.input, answer) for e, answer in zip(examples, answers, strict=True)]
    return {
        "json_valid": sum(held) / max(len(held), 1),
        "json_valid_unconstrained": sum(free) / len(free) if free else None,
        "unconstrained_texts": len(free),
    }


def collect_results(context: RunContext, fitted: FittedContender) -> ContenderResult:
    """What evaluation needs, from the rows on disk, in the order that the examples have now; no latency."""
    fits, contender, parts = [], fitted.contender, context.split.parts
    for seed, folder in fitted.folders.items():
        facts = open_artifact(folder).read_json("fit.json")["facts"]
        validation, test = (
            read_outcome_if_listed(folder, "validation.parquet"),
            read_outcome_if_listed(folder, TEST_PREDICTIONS_FILE),
        )
        if validation is None or test is None:
            raise ArtifactError(
                "this fit has not answered the test set since it was made", where=str(folder), remedy="loratory run"
            )
        validation, test = align_outcome(validation, parts.validation), align_outcome(test, parts.test)
        test = add_scorer_counts(context.split.task, test, context.spec.evidence.scorers)
        fits.append(Fit(seed, validation, test, facts.get("seconds", 0.0), facts))
    ship = open_artifact(fitted.folders[fitted.shipped_seed])
    parameters = ship.read_json("fit.json")["parameters"]
    return ContenderResult(
        contender.name,
        contender.regime,
        contender.base,
        contender.options.adapts,
        tuple(fits),
        fitted.shipped_seed,
        ParameterCount(**parameters),
        count_needed_bytes(context, ship.folder, contender.base),
        {},
        fitted.trials,
        start=contender.start,
        extra_columns={k: v for k, v in ship.read_json(METRICS_FILE).items() if k in REPORTED_METRICS},
    )


def align_outcome(outcome: ScoredPredictions, examples: Sequence[Example]) -> ScoredPredictions:
    """Kept answers in the order, and with the origins and groups, that the same examples have now.

    A file may have been shuffled, renamed or grouped anew since: contenders that were measured at different times are
    compared row by row. Raises ArtifactError where the rows are not the same.
    """
    places: dict[str, list[int]] = {}
    for at, example in enumerate(outcome.examples):
        places.setdefault(digest_of(example.content), []).append(at)
    try:
        order = [places[digest_of(one.content)].pop(0) for one in examples]
    except (KeyError, IndexError):
        order = []
    if len(order) != len(examples) or len(examples) != len(outcome.examples):
        raise ArtifactError("the kept answers are to other examples than the run's", remedy="loratory run")
    now = [replace(outcome.examples[at], origin=e.origin, group=e.group) for at, e in zip(order, examples, strict=True)]
    return ScoredPredictions(now, [outcome.predictions[at] for at in order], [outcome.counts[at] for at in order])


def count_needed_bytes(context: RunContext, folder: Path, base: str | None) -> int:
    """Bytes of all files that must be on disk to answer: the fit's own, and the base's weights where it shares one."""
    names = [
        name
        for name in (read_manifest(folder) or {"files": {}})["files"]
        if not name.startswith(("base_", "merged/")) and not name.endswith((".parquet", "README.md"))
    ]
    own: int = sum((folder / name).stat().st_size for name in names)
    if base is None or any(name.startswith("model/") for name in names):
        return own
    weights: int = sum(file.stat().st_size for file in context.resolve_base(base).folder.glob("*.safetensors"))
    return own + weights
