"""`loratory evaluate --data`: a predictor on labelled examples that it is given now."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loratory.backbones.forward.execution import run_locally
from loratory.data.columns import match_columns
from loratory.data.dataset import Dataset
from loratory.data.examples import to_examples
from loratory.data.readers.source_reader import read_source
from loratory.data.splitting import ledger
from loratory.data.splitting.groups import group_examples
from loratory.errors import SpecError
from loratory.evaluation.statistics.bootstrap import draw_resamples, index_groups, resample_scores
from loratory.evaluation.statistics.comparison_set import list_overall_scores
from loratory.evaluation.statistics.intervals import compute_score_interval
from loratory.experiment.artifact_lookup import open_predictor
from loratory.protocols import Predictor, ScoredPredictions, Task, predict_and_score
from loratory.specs.data import DataSpec
from loratory.specs.evidence import EvidenceSpec


def evaluate_on_data(source: Path, data: str, contender: str | None, columns: Sequence[str]) -> dict[str, Any]:
    """Scores with intervals, over groups of near-duplicates. Raises DataError for an unknown label."""
    predictor, folder = open_predictor(source, contender)
    look = ledger.TestReader(folder.parent.name, str(folder.resolve()), f"evaluate: {data}")
    return {"artifact": str(folder), **score_predictor(predictor, data, columns, look)}


def score_predictor(
    predictor: Predictor, data: str, columns: Sequence[str], test_read: ledger.TestReader
) -> dict[str, Any]:
    """The same of any predictor; the reading is noted before it happens. Raises DataError, StorageError."""
    task: Task = predictor.task
    examples = read_labelled_examples(task, data, columns)
    reads = record_test_read(test_read, examples)
    outcome = predict_and_score(predictor, examples, run_locally)
    per_label = {name: value for name, value in task.summarise(outcome.sum_counts()).items() if "/" in name}
    return {
        "data": data,
        "n": len(examples),
        "metrics": estimate_scores(task, outcome, EvidenceSpec()),
        "per_label": per_label,
        **reads,
    }


def estimate_scores(task: Task, outcome: ScoredPredictions, evidence: EvidenceSpec) -> dict[str, dict[str, float]]:
    """{value, low, high} of every score of the whole."""
    scores = task.summarise(outcome.sum_counts())
    resampling = draw_resamples(index_groups(outcome.examples), evidence.resamples, evidence.seed)
    samples = resample_scores(resampling, outcome.counts, task, list_overall_scores(scores))
    metrics = {}
    for name in list_overall_scores(scores):
        found = compute_score_interval(task, name, [outcome.counts], samples[name], resampling, evidence.confidence)
        metrics[name] = {"value": scores[name], "low": found["low"], "high": found["high"]}
    return metrics


def record_test_read(test_read: ledger.TestReader, examples: Dataset) -> dict[str, Any]:
    """Note a reading of labelled rows: {test_reads: how often some of them were read, this time included,
    test_overlap: what earlier readings had of them}.
    """
    keys = ledger.compute_row_keys(examples.texts)
    earlier = ledger.find_reads(keys)
    ledger.record_read(test_read, keys)
    return {"test_reads": len(earlier) + 1, "test_overlap": ledger.summarise_overlap(earlier)}


def read_labelled_examples(task: Task, data: str, columns: Sequence[str]) -> Dataset:
    """Labelled examples of a file, a folder (its test file) or a hub id, with the groups of near-duplicates."""
    spec = DataSpec(path=str(Path(data).expanduser().resolve()) if Path(data).expanduser().exists() else data)
    source = read_source(spec, Path.cwd())
    rows = source.test or source.train
    matching = match_columns(rows, task.columns, _parse_columns(columns))
    examples = to_examples(rows, task, matching, spec.max_characters)
    return examples.with_groups(group_examples(examples, examples.texts, spec.near_duplicates).groups)


def _parse_columns(columns: Sequence[str]) -> dict[str, str]:
    made = {}
    for one in columns:
        key, equals, value = one.partition("=")
        if not equals:
            raise SpecError(
                f"{one!r} is no column", where="--column", allowed="TASK_COLUMN=FILE_COLUMN, such as label=category"
            )
        made[key] = value
    return made
