"""Per-example rows on disk: every figure of a report can be traced to them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from loratory.artifacts.files import write_bytes
from loratory.errors import ArtifactError, missing_extra
from loratory.protocols import Example, Outcome, Prediction
from loratory.schemas import written

TEXTS = ("id", "group", "input", "expected", "answer", "why", "probabilities", "raw", "by", "marks")
NUMBERS = ("confidence", "weight")  # confidence is written for whoever reads the file; it follows from the rest


def write_rows(file: Path, outcome: Outcome) -> None:
    """One Parquet row per example, the file whole or not at all.

    JSON columns hold floats by `repr`, so that what is read back is equal to the last bit. Raises StorageError.
    """
    arrow, parquet = _pyarrow()
    rows = [_row(*triple) for triple in zip(outcome.examples, outcome.predictions, outcome.marks, strict=True)]
    schema = arrow.schema([*((name, arrow.string()) for name in TEXTS), *((name, arrow.float64()) for name in NUMBERS)])
    buffer = io.BytesIO()
    parquet.write_table(arrow.Table.from_pylist(rows, schema=schema), buffer, compression="zstd")
    write_bytes(file, buffer.getvalue())


def read_rows(file: Path, data: bytes | None = None) -> Outcome:
    """What `write_rows` wrote, or the bytes of it that a manifest's digest was checked on.

    Raises ArtifactError for a file that is missing or is no such file.
    """
    arrow, parquet = _pyarrow()
    try:
        rows = parquet.read_table(io.BytesIO(file.read_bytes() if data is None else data)).to_pylist()
        examples, predictions = [_example(row) for row in rows], [_prediction(row) for row in rows]
        return Outcome(examples, predictions, [json.loads(row["marks"]) for row in rows])
    except (OSError, arrow.ArrowException, KeyError, TypeError, ValueError) as problem:
        raise ArtifactError(
            f"the rows of an evaluation cannot be read ({problem})",
            where=str(file),
            remedy="run the command that made them again",
        ) from problem


def _row(example: Example, prediction: Prediction, marks: Mapping[str, float]) -> dict[str, Any]:
    return {
        "id": example.origin,
        "group": example.group,
        "weight": example.weight,
        "input": written(example.input),
        "expected": _optional(written, example.answer),
        "answer": _optional(written, prediction.answer),
        "why": prediction.why,
        "confidence": prediction.confidence,
        "probabilities": written(prediction.probabilities),
        "raw": prediction.raw,
        "by": prediction.by,
        "marks": written(marks),
    }


def _example(row: Mapping[str, Any]) -> Example:
    expected = _optional(json.loads, row["expected"])
    return Example(json.loads(row["input"]), expected, row["group"], row["weight"], row["id"])


def _prediction(row: Mapping[str, Any]) -> Prediction:
    return Prediction(
        _optional(json.loads, row["answer"]), json.loads(row["probabilities"]), row["why"], row["raw"], row["by"]
    )


def _optional(turn: Callable[[Any], Any], value: Any) -> Any:
    return None if value is None else turn(value)


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as problem:
        raise missing_extra("pyarrow", "evaluation") from problem
    return pyarrow, pyarrow.parquet
