"""The layouts of stock libraries beside the fit that ships, once it is measured."""

from __future__ import annotations

from pathlib import Path

from loratory.artifacts.manifests import extend_artifact, read_manifest
from loratory.experiment.events import reference_artifact
from loratory.experiment.run_context import FittedContender, RunContext, read_outcome
from loratory.exporting import stock_layouts
from loratory.predictors import predictor_files
from loratory.protocols.events import ArtifactWritten

CARD_FILE = "README.md"  # of every fit that ships: written with the layouts


def write_shipped_layouts(context: RunContext, fitted: FittedContender) -> None:
    """The model card of a contender's shipped fit, and the layouts that its predictor has; once for each fit."""
    folder = fitted.folders[fitted.shipped_seed]
    if CARD_FILE in (read_manifest(folder) or {"files": {}})["files"]:
        return
    contender = fitted.contender
    scores = context.split.task.summarise(read_outcome(folder, "validation.parquet").sum_counts())
    facts = {
        "run": context.spec.name,
        "contender": contender.name,
        "regime": contender.regime,
        "base": contender.base,
        "data": Path(context.spec.data.path).name,
        "scores": {name: value for name, value in scores.items() if "/" not in name},
    }
    with extend_artifact(folder) as part:
        stock_layouts.write_stock_layouts(part, predictor_files.load_uncalibrated(folder, context.pool), facts)
    context.on_event(ArtifactWritten("stock", reference_artifact(folder)))
