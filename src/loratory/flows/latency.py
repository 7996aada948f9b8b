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

from loratory.artifacts.files import write_json
from loratory.artifacts.manifests import read_manifest
from loratory.data.store import digest
from loratory.flows.bench import Bench, Fitted
from loratory.models.execution import run_here
from loratory.predictors import store
from loratory.protocols import Input, Predictor

FILE = "latency.json"
WARM = 5  # texts that each contender answers before the clock starts


def waiting(bench: Bench, fitted: Mapping[str, Fitted], file: Path) -> bool:
    """Whether a fit that ships was not timed beside the others, on these texts."""
    kept = _read(file)
    timed = kept.get("contenders", {})
    same = kept.get("texts") == _texts(bench)
    return any(not same or timed.get(name, {}).get("fit") != _fit(one) for name, one in fitted.items())


def measure(bench: Bench, fitted: Mapping[str, Fitted], file: Path, go_on: Callable[[], None]) -> None:
    """Time every contender's fit that ships, all of them together; `go_on` may raise between two texts.

    Whatever was timed before is timed again: figures of two occasions cannot be compared. Labels are not looked at.
    """
    texts = [example.input for example in bench.split.parts.test[: bench.spec.evidence.latency_texts]]
    predictors = {name: store.read(one.folders[one.shipped], bench.pool) for name, one in fitted.items()}
    found = side_by_side(predictors, texts, go_on)
    rows = {name: {"fit": _fit(one), **found[name]} for name, one in fitted.items()}
    write_json(file, {"format": 1, "unit": "ms", "texts": _texts(bench), "contenders": rows})


def known(fitted: Fitted, file: Path) -> dict[str, float]:
    """p50 and p95 in milliseconds of the fit that ships; nothing where it was not timed."""
    row = _read(file).get("contenders", {}).get(fitted.contender.name, {})
    return {key: row[key] for key in ("p50", "p95")} if row and row.get("fit") == _fit(fitted) else {}


def side_by_side(
    predictors: Mapping[str, Predictor],
    texts: Sequence[Input],
    go_on: Callable[[], None] = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, dict[str, float]]:
    """p50 and p95 in milliseconds from one text to its answer, in process: {name: {"p50", "p95"}}.

    Each text is answered by every predictor before the next one; who is first changes from text to text.
    """
    names = list(predictors)
    times: dict[str, list[float]] = {name: [] for name in names}
    for turn, text in enumerate([*texts[:WARM], *texts]):
        go_on()
        first = turn % len(names) if names else 0
        for name in names[first:] + names[:first]:
            started = clock()
            predictors[name].predict([text], run_here)
            times[name].append(1000 * (clock() - started))
    cold = min(WARM, len(texts))
    return {name: _percentiles(each[cold:]) for name, each in times.items()}


def _percentiles(times: Sequence[float]) -> dict[str, float]:
    p50, p95 = np.percentile(times, [50, 95])
    return {"p50": float(p50), "p95": float(p95)}


def _texts(bench: Bench) -> list[Any]:
    """Which texts, and how many of them."""
    examples = bench.split.parts.test
    return [digest(examples), min(bench.spec.evidence.latency_texts, len(examples))]


def _fit(fitted: Fitted) -> str | None:
    """Digest of the fit that ships."""
    manifest = read_manifest(fitted.folders[fitted.shipped]) or {"files": {}}
    found: str | None = manifest["files"].get("fit.json")
    return found


def _read(file: Path) -> dict[str, Any]:
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) and isinstance(kept.get("contenders"), dict) else {}
