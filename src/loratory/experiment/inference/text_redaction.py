"""`loratory redact`: spans that a predictor finds, replaced."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from loratory.errors import DataError, UnsupportedTask, suggest_nearest
from loratory.experiment.inference.local_prediction import InputRow, answer_rows, predict_batches
from loratory.protocols import Input, Predictor, Spanned
from loratory.redaction import (
    REDACTION_METHODS,
    FakeReplacement,
    HmacReplacement,
    LabelReplacement,
    MaskReplacement,
    Replacement,
    redact_text,
    select_spans,
)

KEY_VARIABLE = "LORATORY_REDACT_KEY"


@dataclass(frozen=True)
class RedactedText:
    """A text without its spans, and where they were in the text before; never what they were."""

    text: str
    spans: Sequence[tuple[int, int, str]]

    def as_json(self) -> dict[str, Any]:
        """As plain data."""
        return {"text": self.text, "spans": [{"start": s, "end": e, "label": label} for s, e, label in self.spans]}


def make_replacement(name: str) -> tuple[Replacement, str | None]:
    """A way by its name, and what to say of its key. Raises DataError."""
    if name not in REDACTION_METHODS:
        raise DataError(
            f"{name!r} is not a redaction method{suggest_nearest(name, REDACTION_METHODS)}",
            where="--how",
            allowed=", ".join(REDACTION_METHODS),
        )
    if name in ("type", "mask"):
        return (LabelReplacement() if name == "type" else MaskReplacement()), None
    given = os.environ.get(KEY_VARIABLE, "").encode("utf-8", "surrogateescape")
    said = (
        None
        if given
        else f"{KEY_VARIABLE} is not set: this call uses a random key, so the next call gives other values"
    )
    key = given or secrets.token_bytes(32)
    return (HmacReplacement(key) if name == "hash" else FakeReplacement(key)), said


def redact_inputs(
    predictor: Predictor, inputs: Iterable[Input], replacement: Replacement, labels: Sequence[str]
) -> Iterator[RedactedText]:
    """Each input without the spans of these labels (none: of all), in order. Raises UnsupportedTask and DataError."""
    task = check_redaction(predictor, labels)
    for asked, prediction in predict_batches(predictor, inputs):
        if prediction.answer is None:  # nothing goes out unread
            raise UnsupportedTask(f"a text got no answer ({prediction.reason}), so it cannot be redacted")
        text, spans = task.text(asked), select_spans(task.spans_of(prediction.answer), labels)
        yield RedactedText(redact_text(text, spans, replacement), spans)


def check_redaction(predictor: Predictor, labels: Sequence[str]) -> Spanned:
    """The predictor's task. Raises UnsupportedTask where it finds no spans, DataError for an unknown label."""
    task = predictor.task
    if not isinstance(task, Spanned):
        raise UnsupportedTask(
            f"the task of this predictor is {task.kind}, which finds no spans",
            where="redact",
            allowed="a run whose task is tag",
            remedy="loratory run pii trains one",
        )
    for label in labels:
        if label not in task.span_labels:
            raise DataError(
                f"{label!r} is not a label of this run{suggest_nearest(label, task.span_labels)}",
                where="--label",
                allowed=", ".join(task.span_labels),
            )
    return task


def redact_rows(
    predictor: Predictor, rows: Iterable[InputRow], replacement: Replacement, labels: Sequence[str]
) -> Iterator[RedactedText]:
    """As `redact_inputs`; a blank text keeps its place. Raises at once what is wrong with the labels or the task."""
    check_redaction(predictor, labels)

    def redact(inputs: Iterable[Input]) -> Iterator[RedactedText]:
        return redact_inputs(predictor, inputs, replacement, labels)

    return (made for _, made in answer_rows(rows, redact, lambda _: RedactedText("", ())))
