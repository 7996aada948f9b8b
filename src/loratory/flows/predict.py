"""`loratory predict`: inputs from the command line, a file or stdin, to answers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from loratory.data.columns import match, pick
from loratory.data.readers import read_source
from loratory.errors import DataError
from loratory.models.execution import run_here
from loratory.protocols import Column, Prediction, Predictor
from loratory.specs.data import DataSpec

AT_ONCE = 256


def texts_of_file(predictor: Predictor, file: Path, column: str | None) -> list[str]:
    """The texts of a data file's text column, or the lines of a plain .txt file."""
    if file.suffix == ".txt":
        return [line for line in file.read_text(encoding="utf-8").split("\n") if line.strip()]
    rows = read_source(DataSpec(path=str(file.resolve())), Path.cwd()).train
    columns: dict[str, Column] = {name: c for name, c in predictor.task.columns.items() if name == "text"}
    path = match(rows, columns, {"text": column} if column else {}).columns["text"]
    texts = [pick(row, path) for row in rows]
    for row, text in zip(rows, texts, strict=True):
        if not isinstance(text, str):
            raise DataError(f"the text is {text!r}", where=f"{row.file}:{row.line}: {path}", allowed="a string")
    return texts


def lines_of(stream: Iterable[str]) -> Iterator[str]:
    """Texts from a stream, one a line: plain, or JSON strings and {"text": ...} objects."""
    for number, line in enumerate(stream, 1):
        text: Any = line.rstrip("\r\n")
        if not text.strip():
            continue
        if text.startswith(('"', '{"')):
            try:
                value = json.loads(text)
            except ValueError:
                value = text
            text = value.get("text") if isinstance(value, dict) else value
        if not isinstance(text, str):
            raise DataError(
                'no "text" in this line', where=f"stdin:{number}", allowed='a line of text, or {"text": "..."}'
            )
        yield text


def predict(predictor: Predictor, texts: Iterable[str]) -> Iterator[tuple[str, Prediction]]:
    """Answers in order, batch by batch, so that a long stream starts to answer at once."""
    batch: list[str] = []
    for text in texts:
        batch.append(text)
        if len(batch) == AT_ONCE:
            yield from _answer(predictor, batch)
            batch = []
    yield from _answer(predictor, batch)


def _answer(predictor: Predictor, texts: Sequence[str]) -> Iterator[tuple[str, Prediction]]:
    predictions = predictor.predict([{"text": text} for text in texts], run_here)
    yield from zip(texts, predictions, strict=True)


def as_json(text: str | None, prediction: Prediction) -> dict[str, Any]:
    """One answer as plain data."""
    odds = {pointer: dict(each) for pointer, each in prediction.probabilities.items()}
    made: dict[str, Any] = {"answer": prediction.answer, "confidence": prediction.confidence, "probabilities": odds}
    if prediction.why:
        made["why"] = prediction.why
    return made if text is None else {"text": text, **made}
