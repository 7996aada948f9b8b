"""The evidence that a release keeps: answers and scores of every example, without its text.

An example is named by the SHA-256 of its input, so that two releases can be compared on the texts that both answered,
and nobody reads a text out of a registry.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from loratory.artifacts.manifests import digest_of
from loratory.evaluation.contender_result import ContenderResult, Fit
from loratory.evaluation.prediction_rows import read_predictions, write_predictions
from loratory.protocols import JSON, Example, ParameterCount, ScoredPredictions
from loratory.registry.object_store import ObjectStore

INPUT_KEY = "sha256"  # the only member of an input in evidence
PARTS = ("validation", "test")


def strip_texts(rows: ScoredPredictions) -> ScoredPredictions:
    """The same rows; inputs are digests, and what a model wrote besides its answer is left out."""
    examples = [
        replace(one, input={INPUT_KEY: digest_of(dict(one.input))}, rejected=None, extras={}) for one in rows.examples
    ]
    predictions = [replace(one, raw=None) for one in rows.predictions]
    return ScoredPredictions(examples, predictions, rows.counts)


def keep_rows(store: ObjectStore, rows: ScoredPredictions) -> str:
    """Put the rows of one part into the store without texts; returns the digest."""
    with tempfile.TemporaryDirectory(prefix="loratory-") as folder:
        file = Path(folder) / "rows.parquet"
        write_predictions(file, strip_texts(rows))
        return store.add(file)


def read_rows(store: ObjectStore, digest: str) -> ScoredPredictions:
    """Raises ArtifactError where the object is missing or was changed."""
    return read_predictions(store.locate(digest), store.read(digest))


def read_results(
    store: ObjectStore, evidence: Mapping[str, Mapping[str, str]], facts: Mapping[str, JSON]
) -> list[ContenderResult]:
    """The fitted contenders of a run as evaluation reads them, each with its shipped fit, in the ladder's order.

    `facts["ladder"]` is a list of {name, regime, base, fine_tuned, stress}. Raises ArtifactError.
    """
    ladder: Sequence[Mapping[str, JSON]] = facts["ladder"]
    made = []
    for row in ladder:
        name = str(row["name"])
        if name not in evidence:
            continue
        parts = {part: read_rows(store, evidence[name][part]) for part in PARTS}
        fit = Fit(0, parts["validation"], parts["test"], 0.0)
        stress: Sequence[Mapping[str, JSON]] = row.get("stress") or ()
        base = None if row["base"] is None else str(row["base"])
        size = ParameterCount(0, 0)
        made.append(
            ContenderResult(
                name, str(row["regime"]), base, bool(row["fine_tuned"]), (fit,), 0, size, 0, {}, stress_rows=stress
            )
        )
    return made


def pair_rows(one: ScoredPredictions, other: ScoredPredictions) -> tuple[ScoredPredictions, ScoredPredictions]:
    """The rows of the texts that both answered, in the same order; a text that stands twice in one is left out."""
    places = _index_inputs(other.examples)
    mine = _index_inputs(one.examples)
    common = [(place, places[key]) for key, place in mine.items() if key in places]
    first, second = [left for left, _ in common], [right for _, right in common]
    return _select(one, first), _select(other, second, like=[one.examples[place] for place in first])


def _index_inputs(examples: Sequence[Example]) -> dict[str, int]:
    found: dict[str, int] = {}
    twice = set()
    for place, example in enumerate(examples):
        key = str(example.input[INPUT_KEY])
        if key in found:
            twice.add(key)
        found[key] = place
    return {key: place for key, place in found.items() if key not in twice}


def _select(rows: ScoredPredictions, places: Sequence[int], like: Sequence[Example] | None = None) -> ScoredPredictions:
    examples = list(like) if like is not None else [rows.examples[place] for place in places]
    return ScoredPredictions(
        examples, [rows.predictions[place] for place in places], [rows.counts[place] for place in places]
    )
