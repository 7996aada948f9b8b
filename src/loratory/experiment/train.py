"""`loratory train`: fit contenders without reading the test set."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from loratory.errors import LoratoryError
from loratory.experiment.events import catch_interrupts
from loratory.experiment.run import open_run_context, select_contenders
from loratory.experiment.run_context import FittedContender, RunContext, read_outcome
from loratory.experiment.run_paths import RunPaths
from loratory.experiment.steps import fit, preflight
from loratory.experiment.trackers import open_event_bus
from loratory.protocols.events import ContenderStarted, EventListener
from loratory.specs.spec import Contender, Spec, list_starts, sort_by_start


def train_contenders(
    spec: Spec, paths: RunPaths, names: Sequence[str], on_event: EventListener
) -> list[dict[str, Any]]:
    """Fit the named contenders (all when none is named) and what they start from; a row for each that is named:
    contender, score on validation, folder.

    One that cannot be fitted does not keep the others from it; raises LoratoryError when none could be, and Stopped.
    """
    wanted = {one.name for one in select_contenders(spec, names)}
    contenders = list_needed(spec, wanted)
    rows = []
    failures: dict[str, LoratoryError] = {}
    with paths.lock(), catch_interrupts() as stopping, open_event_bus(spec.track, on_event) as bus:
        context = open_run_context(spec, paths, bus, stopping)
        for number, contender in enumerate(contenders, 1):
            bus(ContenderStarted(contender.name, number, len(contenders)))
            with fit.isolate_failure(bus, contender.name, failures):
                fitted = fit.fit_contender(context, contender)
                if contender.name in wanted:
                    rows.append(_result_row(context, fitted))
    if not rows:
        preflight.raise_problems(failures)
    return rows


def list_needed(spec: Spec, names: Collection[str]) -> list[Contender]:
    """These contenders and those that they start from, in an order in which they can be fitted."""
    known = {one.name: one for one in spec.ladder}
    needed = {each.name for name in names for each in (known[name], *list_starts(known, name))}
    return sort_by_start([one for one in spec.ladder if one.name in needed])


def _result_row(context: RunContext, fitted: FittedContender) -> dict[str, Any]:
    task, folder = context.split.task, fitted.folders[fitted.shipped_seed]
    scores = task.summarise(read_outcome(folder, "validation.parquet").sum_counts())
    return {
        "contender": fitted.contender.name,
        "headline": task.headline,
        "score": scores[task.headline],
        "scores": {k: v for k, v in scores.items() if "/" not in k},
        "folder": str(folder),
    }
