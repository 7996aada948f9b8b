"""From the rows on disk to the ladder, the verdict and the report, and the manifest that covers them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from loratory.artifacts.durable_files import write_json, write_text
from loratory.data.splitting import ledger
from loratory.errors import ArtifactError, ContenderPruned, LoratoryError
from loratory.evaluation import ladder as ladders
from loratory.evaluation.contender_result import ContenderResult
from loratory.evaluation.report.html_report import render_report
from loratory.experiment.artifact_lookup import GOLDEN_FILE, seal_run, unseal_run
from loratory.experiment.events import reference_artifact
from loratory.experiment.golden_sources import choose_golden_texts, format_golden_texts, parse_golden_texts
from loratory.experiment.inference import stress_run
from loratory.experiment.ledger_entries import compute_test_row_keys, make_test_read
from loratory.experiment.run_context import FittedContender, RunContext
from loratory.experiment.run_paths import RunPaths
from loratory.experiment.steps import latency, measure
from loratory.protocols import ParameterCount
from loratory.protocols.events import RunConcluded, StageStarted
from loratory.specs.spec import Contender


def write_results(
    context: RunContext, paths: RunPaths, fitted: dict[str, FittedContender], failures: Mapping[str, LoratoryError]
) -> dict[str, Any]:
    """ladder.json, verdict.json and report.html from the rows on disk, and last the manifest that covers them.

    The test set is not read again.
    """
    context.on_event(StageStarted("comparing the contenders"))
    spec, task = context.spec, context.split.task
    rows = [
        _collect_results(context, paths, fitted[c.name]) if c.name in fitted else _failed_result(c, failures[c.name])
        for c in spec.ladder
    ]
    ladder = ladders.build_ladder(task, rows, spec.evidence, spec.gate, _run_facts(context, paths, fitted))
    unseal_run(paths.folder)
    write_json(paths.folder / "ladder.json", ladder)
    write_json(paths.folder / "verdict.json", ladder["verdict"])
    _write_golden_texts(context, paths, rows, ladder["verdict"]["recommended"])
    write_text(paths.folder / "report.html", render_report(ladder, rows, task, context.split.quality, paths.folder))
    seal_run(paths.folder)
    context.on_event(RunConcluded(ladder, reference_artifact(paths.folder)))
    return ladder


def _write_golden_texts(
    context: RunContext, paths: RunPaths, rows: Sequence[ContenderResult], recommended: str | None
) -> None:
    """golden.jsonl: the texts on which every form of a fit will be compared with it, chosen once."""
    file = paths.folder / GOLDEN_FILE
    if file.is_file() and _are_golden_texts_of(file, context):
        return
    best = next((row for row in rows if row.name == recommended and row.fits), None)
    predictions = None if best is None else best.shipped_fit.test.predictions
    write_text(file, format_golden_texts(choose_golden_texts(context.split.parts.test, predictions)))


def _are_golden_texts_of(file: Path, context: RunContext) -> bool:
    """Whether a file was chosen from this test split: a frozen choice stays."""
    try:
        chosen = parse_golden_texts(file.read_bytes(), file)
    except ArtifactError:
        return False
    texts = context.split.parts.test.texts
    places = [(one, int(one.id.removeprefix("test-"))) for one in chosen if one.kind == "test"]
    return all(place < len(texts) and texts[place] == one.text for one, place in places)


def _collect_results(context: RunContext, paths: RunPaths, fitted: FittedContender) -> ContenderResult:
    under_stress = stress_run.read_stress_results(context, fitted, paths.folder / stress_run.STRESS_FILE)
    timed = latency.read_latency(fitted, paths.folder / latency.LATENCY_FILE)
    return replace(measure.collect_results(context, fitted), stress_rows=under_stress, latency_ms=timed)


def _failed_result(contender: Contender, failure: LoratoryError) -> ContenderResult:
    return ContenderResult(
        contender.name,
        contender.regime,
        contender.base,
        contender.options.adapts,
        (),
        0,
        ParameterCount(0, 0),
        0,
        {},
        failure=failure.problem if isinstance(failure, ContenderPruned) else str(failure),
        is_pruned=isinstance(failure, ContenderPruned),
        start=contender.start,
    )


def _run_facts(context: RunContext, paths: RunPaths, fitted: Mapping[str, FittedContender]) -> dict[str, Any]:
    spec, parts = context.spec, context.split.parts
    tuned = {c.name: c.options.tunable for c in spec.ladder if c.options.tunable}
    split = {
        **{k: v for k, v in context.split.facts.items() if k != "messages"},
        "counts": {name: len(e) for name, e in parts.items()},
    }
    budget = {
        "seeds": spec.training.seeds,
        "trials": spec.training.trials,
        "epochs": spec.training.epochs,
        "says": f"{spec.training.trials} validation trial(s) for each tuned contender, {spec.training.seeds} seed(s) "
        f"for each seeded one",
        "tuned": tuned,
    }
    looks = [one for each in fitted.values() for one in measure.name_test_reads(each)]
    reads, overlap = ledger.count_reads(make_test_read(context, paths, "", looks), compute_test_row_keys(context))
    return {
        "name": spec.name,
        "split": split,
        "budget": budget,
        "test_reads": reads,
        "test_overlap": overlap,
        "leaked_test": context.split.quality.get("leaked_test", []),
        "quality_warnings": context.split.quality.get("warnings", []),
        "environment": json.loads((paths.folder / "environment.json").read_text(encoding="utf-8")),
    }
