"""`loratory train`: fit contenders without reading the test set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from loratory.errors import LoratoryError
from loratory.flows import fitting, preflight
from loratory.flows.bench import Bench, Fitted, listed_rows
from loratory.flows.listening import Listener, interruptible
from loratory.flows.run import Place, chosen, open_bench
from loratory.specs.frame import Spec


def train(spec: Spec, place: Place, names: Sequence[str], listen: Listener) -> list[dict[str, Any]]:
    """Fit the named contenders (all when none is named); a row each: contender, score on validation, folder.

    One that cannot be fitted does not keep the others from it; raises LoratoryError when none could be, and Stopped.
    """
    contenders = chosen(spec, names)
    rows = []
    failures: dict[str, LoratoryError] = {}
    with place.held(), interruptible() as stopping:
        bench = open_bench(spec, place, listen, stopping)
        for number, contender in enumerate(contenders, 1):
            listen("contender", {"contender": contender.name, "number": number, "of": len(contenders)})
            with fitting.alone(listen, contender.name, failures):
                rows.append(_row(bench, fitting.fit_contender(bench, contender)))
    if not rows:
        preflight.refuse(failures)
    return rows


def _row(bench: Bench, fitted: Fitted) -> dict[str, Any]:
    task, folder = bench.split.task, fitted.folders[fitted.shipped]
    scores = task.summarise(listed_rows(folder, "validation.parquet").totals())
    return {
        "contender": fitted.contender.name,
        "headline": task.headline,
        "score": scores[task.headline],
        "scores": {k: v for k, v in scores.items() if "/" not in k},
        "folder": str(folder),
    }
