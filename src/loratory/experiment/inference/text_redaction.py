"""`loratory redact`: spans that a predictor finds, replaced."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from loratory.errors import DataError, UnsupportedTask, suggest_nearest
from loratory.experiment.inference.local_prediction import predict_batches
from loratory.protocols import Input, Predictor, Spanned
from loratory.redaction import (
    FakeReplacement,
    HmacReplacement,
    LabelReplacement,
    MaskReplacement,
    Replacement,
    redact_text,
    select_spans,
)

KEY_VARIABLE = "LORATORY_REDACT_KEY"
REDACTION_METHODS = ("type", "mask", "hash", "fake")


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
            f"{name!r} is no way to redact{suggest_nearest(name, REDACTION_METHODS)}",
            where="--how",
            allowed=", ".join(REDACTION_METHODS),
        )
    if name in ("type", "mask"):
        return (LabelReplacement() if name == "type" else MaskReplacement()), None
    given = os.environ.get(KEY_VARIABLE, "").encode("utf-8", "surrogateescape")
    said = (
        None
        if given
        else f"{KEY_VARIABLE} is not set: a key is drawn for this call, and another call gives other values"
    )
    key = given or secrets.token_bytes(32)
    return (HmacReplacement(key) if name == "hash" else FakeReplacement(key)), said


def redact_inputs(
    predictor: Predictor, inputs: Iterable[Input], replacement: Replacement, labels: Sequence[str]
) -> Iterator[RedactedText]:
    """Each input without the spans of these labels (none: of all), in order. Raises UnsupportedTask and DataError."""
    task = predictor.task
    if not isinstance(task, Spanned):
        raise UnsupportedTask(
            f"this predictor's task is {task.kind}: it finds no spans",
            where="redact",
            allowed="a run whose task is tag",
            remedy="loratory run pii makes one",
        )
    for label in labels:
        if label not in task.span_labels:
            raise DataError(
                f"{label!r} is no label of this run{suggest_nearest(label, task.span_labels)}",
                where="--label",
                allowed=", ".join(task.span_labels),
            )
    for asked, prediction in predict_batches(predictor, inputs):
        if prediction.answer is None:  # nothing goes out unread
            raise UnsupportedTask(f"a text was not read ({prediction.reason}), so it cannot be redacted")
        text, spans = task.text(asked), select_spans(task.spans_of(prediction.answer), labels)
        yield RedactedText(redact_text(text, spans, replacement), spans)
