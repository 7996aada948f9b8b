"""`loratory evaluate --data`: a predictor on labelled examples that it is given now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from loratory.data import ledger
from loratory.data.columns import match
from loratory.data.examples import texts_of, to_examples
from loratory.data.groups import group
from loratory.data.readers import read_source
from loratory.errors import SpecError
from loratory.evaluation.bootstrap import draw, group_index, replicate
from loratory.evaluation.contest import flat
from loratory.evaluation.intervals import score_interval
from loratory.flows.opening import open_predictor
from loratory.models.execution import run_here
from loratory.protocols import Example, Outcome, Predictor, Task, answer
from loratory.specs.data import DataSpec
from loratory.specs.evidence import EvidenceSpec


def on_data(where: Path, data: str, contender: str | None, columns: Sequence[str]) -> dict[str, Any]:
    """Scores with intervals, over groups of near-duplicates. Raises DataError for an unknown label."""
    predictor, folder = open_predictor(where, contender)
    look = ledger.Look(folder.parent.name, str(folder.resolve()), f"evaluate: {data}")
    return {"artifact": str(folder), **scored(predictor, data, columns, look)}


def scored(predictor: Predictor, data: str, columns: Sequence[str], look: ledger.Look) -> dict[str, Any]:
    """The same of any predictor; the reading is noted before it happens. Raises DataError, StorageError."""
    task: Any = predictor.task
    examples = examples_of(task, data, columns)
    reads = note_read(look, task, examples)
    outcome = answer(predictor, examples, run_here)
    per_label = {name: value for name, value in task.summarise(outcome.totals()).items() if "/" in name}
    return {
        "data": data,
        "n": len(examples),
        "metrics": estimate_scores(task, outcome, EvidenceSpec()),
        "per_label": per_label,
        **reads,
    }


def estimate_scores(task: Task, outcome: Outcome, evidence: EvidenceSpec) -> dict[str, dict[str, float]]:
    """{value, low, high} of every score of the whole."""
    scores = task.summarise(outcome.totals())
    resampling = draw(group_index(outcome.examples), evidence.resamples, evidence.seed)
    samples = replicate(resampling, outcome.marks, task, flat(scores))
    metrics = {}
    for name in flat(scores):
        found = score_interval(task, name, [outcome.marks], samples[name], resampling, evidence.confidence)
        metrics[name] = {"value": scores[name], "low": found["low"], "high": found["high"]}
    return metrics


def note_read(look: ledger.Look, task: Any, examples: Sequence[Example]) -> dict[str, Any]:
    """Note a reading of labelled rows: {test_reads: how often some of them were read, this time included,
    test_overlap: what earlier readings had of them}.
    """
    keys = ledger.keys_of(texts_of(task, examples))
    earlier = ledger.reads(keys)
    ledger.record(look, keys)
    return {"test_reads": len(earlier) + 1, "test_overlap": ledger.overlap(earlier)}


def examples_of(task: Any, data: str, columns: Sequence[str]) -> list[Example]:
    """Labelled examples of a file, a folder (its test file) or a hub id, with the groups of near-duplicates."""
    spec = DataSpec(path=str(Path(data).expanduser().resolve()) if Path(data).expanduser().exists() else data)
    source = read_source(spec, Path.cwd())
    rows = source.test or source.train
    matching = match(rows, task.columns, _given(columns))
    examples = to_examples(rows, task, matching, spec.max_characters)
    groups = group(examples, texts_of(task, examples), spec.near_duplicates).groups
    return [replace(example, group=name) for example, name in zip(examples, groups, strict=True)]


def _given(columns: Sequence[str]) -> dict[str, str]:
    made = {}
    for one in columns:
        key, equals, value = one.partition("=")
        if not equals:
            raise SpecError(
                f"{one!r} is no column", where="--column", allowed="TASK_COLUMN=FILE_COLUMN, such as label=category"
            )
        made[key] = value
    return made
