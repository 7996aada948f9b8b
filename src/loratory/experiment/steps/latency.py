"""Latency of single texts: the fits that ship answer the same texts in turns, so that a machine's moods hit all alike.

Timed one after another, the same weights showed 144 to 28 ms: a clock that speeds up, or a neighbour that stops, is
then taken for a difference between contenders.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from loratory.artifacts.durable_files import write_json
from loratory.artifacts.manifests import read_manifest
from loratory.backbones.forward.execution import run_locally
from loratory.data.split_files import digest_examples
from loratory.experiment.run_context import FittedContender, RunContext
from loratory.predictors import predictor_files
from loratory.protocols import Input, Predictor

LATENCY_FILE = "latency.json"
WARM_UP_TEXTS = 5  # texts that each contender answers before the clock starts


def needs_timing(context: RunContext, fitted: Mapping[str, FittedContender], file: Path) -> bool:
    """Whether a fit that ships was not timed beside the others, on these texts."""
    kept = _read_file(file)
    timed = kept.get("contenders", {})
    same = kept.get("texts") == _identify_texts(context)
    return any(
        not same or timed.get(name, {}).get("fit") != _digest_of_shipped_fit(one) for name, one in fitted.items()
    )


def time_contenders(
    context: RunContext, fitted: Mapping[str, FittedContender], file: Path, check_stop: Callable[[], None]
) -> None:
    """Time every contender's fit that ships, all of them together; `go_on` may raise between two texts.

    Whatever was timed before is timed again: figures of two occasions cannot be compared. Labels are not looked at.
    """
    texts = [example.input for example in context.split.parts.test[: context.spec.evidence.latency_texts]]
    predictors = {
        name: predictor_files.load_predictor(one.folders[one.shipped_seed], context.pool)
        for name, one in fitted.items()
    }
    found = time_side_by_side(predictors, texts, check_stop)
    rows = {name: {"fit": _digest_of_shipped_fit(one), **found[name]} for name, one in fitted.items()}
    write_json(file, {"format": 1, "unit": "ms", "texts": _identify_texts(context), "contenders": rows})


def read_latency(fitted: FittedContender, file: Path) -> dict[str, float]:
    """p50 and p95 in milliseconds of the fit that ships; nothing where it was not timed."""
    row = _read_file(file).get("contenders", {}).get(fitted.contender.name, {})
    return {key: row[key] for key in ("p50", "p95")} if row and row.get("fit") == _digest_of_shipped_fit(fitted) else {}


def time_side_by_side(
    predictors: Mapping[str, Predictor],
    texts: Sequence[Input],
    check_stop: Callable[[], None] = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, dict[str, float]]:
    """p50 and p95 in milliseconds from one text to its answer, in process: {name: {"p50", "p95"}}.

    Each text is answered by every predictor before the next one; who is first changes from text to text.
    """
    names = list(predictors)
    times: dict[str, list[float]] = {name: [] for name in names}
    for turn, text in enumerate([*texts[:WARM_UP_TEXTS], *texts]):
        check_stop()
        first = turn % len(names) if names else 0
        for name in names[first:] + names[:first]:
            started = clock()
            predictors[name].predict([text], run_locally)
            times[name].append(1000 * (clock() - started))
    cold = min(WARM_UP_TEXTS, len(texts))
    return {name: _compute_percentiles(each[cold:]) for name, each in times.items()}


def _compute_percentiles(times: Sequence[float]) -> dict[str, float]:
    p50, p95 = np.percentile(times, [50, 95])
    return {"p50": float(p50), "p95": float(p95)}


def _identify_texts(context: RunContext) -> list[Any]:
    """Which texts, and how many of them."""
    examples = context.split.parts.test
    return [digest_examples(examples), min(context.spec.evidence.latency_texts, len(examples))]


def _digest_of_shipped_fit(fitted: FittedContender) -> str | None:
    """Digest of the fit that ships."""
    manifest = read_manifest(fitted.folders[fitted.shipped_seed]) or {"files": {}}
    found: str | None = manifest["files"].get("fit.json")
    return found


def _read_file(file: Path) -> dict[str, Any]:
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) and isinstance(kept.get("contenders"), dict) else {}
