"""The ladder's headline without the test examples that are known from train or validation."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from loratory.evaluation.contender_metrics import compute_seed_interval
from loratory.evaluation.contender_result import ContenderResult, Fit
from loratory.evaluation.statistics.comparison_set import build_comparison_set
from loratory.protocols import ScoredPredictions, Task
from loratory.specs.evidence import EvidenceSpec


def measure_without_leaks(
    task: Task, results: Sequence[ContenderResult], evidence: EvidenceSpec, leaked: Collection[str]
) -> dict[str, Any] | None:
    """{examples, leaked, without: contender -> {value, low, high, with}} of the shipped fits; None where none leaks.

    leaked: origins of test examples. `with` is the figure on the whole test set; `without` is empty where every test
    example leaks.
    """
    fitted = [one for one in results if one.fits]
    origins = {example.origin for example in fitted[0].shipped_fit.test.examples} if fitted else set()
    known = origins & set(leaked)
    if not known:
        return None
    everything = len(fitted[0].shipped_fit.test.examples)
    without: dict[str, dict[str, float]] = {}
    kept = [replace(one, fits=tuple(_drop_examples(fit, known) for fit in one.fits)) for one in fitted]
    left = len(kept[0].shipped_fit.test.examples)
    if left:
        field = build_comparison_set(task, kept, evidence)
        for standing, one in zip(field.ranks, fitted, strict=True):
            bounds = compute_seed_interval(field, standing, task.headline, [one.shipped_seed])
            value = float(standing.scores[one.shipped_seed][task.headline])
            whole = float(task.summarise(one.shipped_fit.test.sum_counts())[task.headline])
            without[one.name] = {"value": value, "low": bounds["low"], "high": bounds["high"], "with": whole}
    return {"examples": everything, "leaked": everything - left, "without": without}


def _drop_examples(fit: Fit, origins: Collection[str]) -> Fit:
    rows = [row for row, example in enumerate(fit.test.examples) if example.origin not in origins]
    test = fit.test
    return replace(
        fit,
        test=ScoredPredictions(
            [test.examples[i] for i in rows], [test.predictions[i] for i in rows], [test.counts[i] for i in rows]
        ),
    )
