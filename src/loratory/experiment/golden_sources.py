"""Where golden texts come from: frozen with the run when it concluded, or chosen now from what the run kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loratory.artifacts.manifests import Artifact, open_artifact
from loratory.data.dataset import Dataset
from loratory.data.split_files import read_split
from loratory.discovery import load_named
from loratory.errors import ArtifactError
from loratory.experiment.artifact_lookup import GOLDEN_FILE, LADDER_FILE, open_run
from loratory.exporting.certificates.golden_texts import BOUNDARY_ID, GoldenText, select_golden_texts
from loratory.protocols import Labelled, Prediction

MADE_NOW = "the run holds no golden.jsonl, as it was made before there were any: the golden texts are chosen now"
TESTS_LEFT_OUT = "the texts of the test split are left out: the certificate rests on the texts that we wrote"
WRITTEN_ALONE = "there is no run with test texts beside this fit: the certificate rests on the texts that we wrote"


@dataclass(frozen=True)
class GoldenSource:
    """Golden texts, and what a person should know of where they come from."""

    texts: tuple[GoldenText, ...]
    run: Path | None
    notes: tuple[str, ...] = ()


def leave_out_test_texts(source: GoldenSource) -> GoldenSource:
    """The texts that we wrote alone, without the halves of test texts."""
    kept = tuple(one for one in source.texts if one.kind != "test" and not one.id.startswith(BOUNDARY_ID))
    return GoldenSource(kept, source.run, (*source.notes, TESTS_LEFT_OUT))


def find_run_folder(source: Path, fit: Path) -> Path | None:
    """The run that a fit lies in; None for an artifact of its own."""
    candidates = [source, *list(fit.resolve().parents)[1:3]]
    return next((one for one in candidates if (one / LADDER_FILE).is_file()), None)


def load_golden_texts(source: Path, fit: Path) -> GoldenSource:
    """The texts that this fit's forms are compared on; raises ArtifactError where the run's files were changed."""
    run = find_run_folder(source, fit)
    if run is None or not (run / "data").is_dir():
        return GoldenSource(tuple(select_golden_texts([], [])), None, (WRITTEN_ALONE,))
    opened = open_run(run)
    if opened.has(GOLDEN_FILE):
        return GoldenSource(tuple(parse_golden_texts(opened.read(GOLDEN_FILE), run / GOLDEN_FILE)), run)
    return GoldenSource(tuple(choose_golden_texts(read_test_part(run))), run, (MADE_NOW,))


def read_test_part(run: Path) -> Dataset:
    """The test split of a run; raises ArtifactError."""
    data = open_artifact(run / "data")
    facts = data.read_json("task.json")
    task = load_named("tasks", facts["kind"]).model_validate(facts)
    return read_split(data, task).test


def choose_golden_texts(test: Dataset, predictions: Sequence[Prediction] | None = None) -> list[GoldenText]:
    """From a test split; `predictions` of its rows say which texts are near a boundary."""
    task: Any = test.task
    margins = None if predictions is None else [compute_margin(one) for one in predictions]
    labels = test.labels if isinstance(task, Labelled) else ("",) * len(test)
    chosen = select_golden_texts(test.texts, labels, margins)
    return [_attach_input(one, test) for one in chosen]


def _attach_input(one: GoldenText, test: Dataset) -> GoldenText:
    """With the whole input where that is more than a text."""
    if one.kind != "test":
        return one
    given = test.examples[int(one.id.removeprefix("test-"))].input
    if set(given) == {"text"}:
        return one
    return GoldenText(one.id, one.kind, one.text, one.label, given)


def compute_margin(prediction: Prediction) -> float:
    """How far the likeliest label is above the next one; 1 where there are no probabilities."""
    found = [sorted(odds.values(), reverse=True) for odds in prediction.probabilities.values()]
    return min((one[0] - one[1] for one in found if len(one) > 1), default=1.0)


def format_golden_texts(texts: Sequence[GoldenText]) -> str:
    """The text of a run's golden.jsonl."""
    return "".join(json.dumps(one.to_dict(), ensure_ascii=True) + "\n" for one in texts)


def parse_golden_texts(data: bytes, where: Path) -> list[GoldenText]:
    """What `format_golden_texts` wrote; raises ArtifactError."""
    try:
        return [GoldenText.from_dict(json.loads(line)) for line in data.decode().split("\n") if line]
    except (ValueError, KeyError, TypeError) as problem:
        raise ArtifactError(
            f"the golden texts cannot be read ({type(problem).__name__}: {problem})",
            where=str(where),
            remedy="loratory report RUN writes them again",
        ) from problem


def describe_fit(artifact: Artifact) -> dict[str, Any]:
    """`fit` of a certificate."""
    return {key: artifact.manifest.get(key) for key in ("contender", "regime", "seed", "identity", "base")}
