"""Per-example rows on disk: every figure of a report can be traced to them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from loratory.artifacts.durable_files import write_bytes
from loratory.errors import ArtifactError, make_missing_extra
from loratory.protocols import Example, Prediction, ScoredPredictions
from loratory.protocols.probabilities import keep_likeliest
from loratory.schemas import to_compact_json

TEXT_COLUMNS = (
    "id",
    "group",
    "input",
    "expected",
    "rejected",
    "extras",
    "answer",
    "reason",
    "probabilities",
    "raw",
    "answered_by",
    "counts",
)
MAX_WRITTEN_LABELS = 100  # of more than 256 labels, the likeliest of each text: 20,000 texts would fill gigabytes
NUMBER_COLUMNS = ("confidence", "weight")  # confidence is written for whoever reads the file; it follows from the rest


def write_predictions(file: Path, outcome: ScoredPredictions) -> None:
    """One Parquet row per example, the file whole or not at all.

    JSON columns hold floats by `repr`, so that what is read back is equal to the last bit. Of tasks
    with more than 256 labels each row has the probabilities of the likeliest 100. Raises StorageError.
    """
    arrow, parquet = _import_pyarrow()
    rows = [_build_row(*triple) for triple in zip(outcome.examples, outcome.predictions, outcome.counts, strict=True)]
    schema = arrow.schema(
        [*((name, arrow.string()) for name in TEXT_COLUMNS), *((name, arrow.float64()) for name in NUMBER_COLUMNS)]
    )
    buffer = io.BytesIO()
    parquet.write_table(arrow.Table.from_pylist(rows, schema=schema), buffer, compression="zstd")
    write_bytes(file, buffer.getvalue())


def read_predictions(file: Path, data: bytes | None = None) -> ScoredPredictions:
    """What `write_predictions` wrote, or the bytes of it that a manifest's digest was checked on.

    Raises ArtifactError for a file that is missing or is no such file.
    """
    arrow, parquet = _import_pyarrow()
    try:
        rows = parquet.read_table(io.BytesIO(file.read_bytes() if data is None else data)).to_pylist()
        examples, predictions = [_parse_example(row) for row in rows], [_parse_prediction(row) for row in rows]
        return ScoredPredictions(examples, predictions, [json.loads(row["counts"]) for row in rows])
    except (OSError, arrow.ArrowException, KeyError, TypeError, ValueError) as problem:
        raise ArtifactError(
            f"the rows of an evaluation cannot be read ({problem})",
            where=str(file),
            remedy="run the command that made them again",
        ) from problem


def _build_row(example: Example, prediction: Prediction, counts: Mapping[str, float]) -> dict[str, Any]:
    return {
        "id": example.origin,
        "group": example.group,
        "weight": example.weight,
        "input": to_compact_json(example.input),
        "expected": _apply_if_given(to_compact_json, example.answer),
        "rejected": _apply_if_given(to_compact_json, example.rejected),
        "extras": to_compact_json(dict(example.extras)) if example.extras else None,
        "answer": _apply_if_given(to_compact_json, prediction.answer),
        "reason": prediction.reason,
        "confidence": prediction.confidence,
        "probabilities": to_compact_json(
            {pointer: keep_likeliest(odds, MAX_WRITTEN_LABELS) for pointer, odds in prediction.probabilities.items()}
        ),
        "raw": prediction.raw,
        "answered_by": prediction.answered_by,
        "counts": to_compact_json(counts),
    }


def _parse_example(row: Mapping[str, Any]) -> Example:
    expected = _apply_if_given(json.loads, row["expected"])
    return Example(
        json.loads(row["input"]),
        expected,
        row["group"],
        row["weight"],
        row["id"],
        _apply_if_given(json.loads, row["rejected"]),
        _apply_if_given(json.loads, row["extras"]) or {},
    )


def _parse_prediction(row: Mapping[str, Any]) -> Prediction:
    return Prediction(
        _apply_if_given(json.loads, row["answer"]),
        json.loads(row["probabilities"]),
        row["reason"],
        row["raw"],
        row["answered_by"],
    )


def _apply_if_given(convert: Callable[[Any], Any], value: object) -> Any:
    return None if value is None else convert(value)


def _import_pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as problem:
        raise make_missing_extra("pyarrow", "evaluation") from problem
    return pyarrow, pyarrow.parquet
