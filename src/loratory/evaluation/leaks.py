"""The ladder's headline without the test examples that are known from train or validation."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from loratory.evaluation.contest import contest
from loratory.evaluation.measured import Fit, Measured
from loratory.evaluation.metrics import interval
from loratory.protocols import Outcome, Task
from loratory.specs.evidence import EvidenceSpec


def measure_without(
    task: Task, measured: Sequence[Measured], evidence: EvidenceSpec, leaked: Collection[str]
) -> dict[str, Any] | None:
    """{examples, leaked, without: contender -> {value, low, high, with}} of the shipped fits; None where none leaks.

    leaked: origins of test examples. `with` is the figure on the whole test set; `without` is empty where every test
    example leaks.
    """
    fitted = [one for one in measured if one.fits]
    origins = {example.origin for example in fitted[0].ship.test.examples} if fitted else set()
    known = origins & set(leaked)
    if not known:
        return None
    everything = len(fitted[0].ship.test.examples)
    without: dict[str, dict[str, float]] = {}
    kept = [replace(one, fits=tuple(_drop(fit, known) for fit in one.fits)) for one in fitted]
    left = len(kept[0].ship.test.examples)
    if left:
        field = contest(task, kept, evidence)
        for standing, one in zip(field.standings, fitted, strict=True):
            bounds = interval(field, standing, task.headline, [one.shipped])
            value = float(standing.scores[one.shipped][task.headline])
            whole = float(task.summarise(one.ship.test.totals())[task.headline])
            without[one.name] = {"value": value, "low": bounds["low"], "high": bounds["high"], "with": whole}
    return {"examples": everything, "leaked": everything - left, "without": without}


def _drop(fit: Fit, origins: Collection[str]) -> Fit:
    rows = [row for row, example in enumerate(fit.test.examples) if example.origin not in origins]
    test = fit.test
    return replace(
        fit,
        test=Outcome(
            [test.examples[i] for i in rows], [test.predictions[i] for i in rows], [test.marks[i] for i in rows]
        ),
    )
