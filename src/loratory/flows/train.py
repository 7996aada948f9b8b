"""`loratory train`: fit contenders without reading the test set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from loratory.evaluation.rows import read_rows
from loratory.flows import fitting
from loratory.flows.listening import Listener, interruptible
from loratory.flows.run import Place, chosen, open_bench
from loratory.specs.frame import Spec


def train(spec: Spec, place: Place, names: Sequence[str], listen: Listener) -> list[dict[str, Any]]:
    """Fit the named contenders (all when none is named); one row each: contender, score on validation, folder."""
    contenders = chosen(spec, names)
    rows = []
    with interruptible() as stopping:
        bench = open_bench(spec, place, listen, stopping)
        for number, contender in enumerate(contenders, 1):
            listen("contender", {"contender": contender.name, "number": number, "of": len(contenders)})
            fitted = fitting.fit_contender(bench, contender)
            folder = fitted.folders[fitted.shipped]
            scores = bench.split.task.summarise(read_rows(folder / "validation.parquet").totals())
            headline = bench.split.task.headline
            rows.append(
                {
                    "contender": contender.name,
                    "headline": headline,
                    "score": scores[headline],
                    "scores": {k: v for k, v in scores.items() if "/" not in k},
                    "folder": str(folder),
                }
            )
    return rows
