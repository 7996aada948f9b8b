"""`loratory redact`: spans that a predictor finds, replaced."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from loratory.errors import DataError, Unfit, nearest
from loratory.flows.predict import predict
from loratory.protocols import Input, Predictor, Spanned
from loratory.redaction import Faked, Hashed, Masked, Typed, Way, kept, redacted

KEY = "LORATORY_REDACT_KEY"
WAYS = ("type", "mask", "hash", "fake")


@dataclass(frozen=True)
class Redacted:
    """A text without its spans, and where they were in the text before; never what they were."""

    text: str
    spans: Sequence[tuple[int, int, str]]

    def as_json(self) -> dict[str, Any]:
        """As plain data."""
        return {"text": self.text, "spans": [{"start": s, "end": e, "label": label} for s, e, label in self.spans]}


def way_of(name: str) -> tuple[Way, str | None]:
    """A way by its name, and what to say of its key. Raises DataError."""
    if name not in WAYS:
        raise DataError(f"{name!r} is no way to redact{nearest(name, WAYS)}", where="--how", allowed=", ".join(WAYS))
    if name in ("type", "mask"):
        return (Typed() if name == "type" else Masked()), None
    given = os.environ.get(KEY, "").encode("utf-8", "surrogateescape")
    said = None if given else f"{KEY} is not set: a key is drawn for this call, and another call gives other values"
    key = given or secrets.token_bytes(32)
    return (Hashed(key) if name == "hash" else Faked(key)), said


def redact(predictor: Predictor, inputs: Iterable[Input], way: Way, labels: Sequence[str]) -> Iterator[Redacted]:
    """Each input without the spans of these labels (none: of all), in order. Raises Unfit and DataError."""
    task = predictor.task
    if not isinstance(task, Spanned):
        raise Unfit(
            f"this predictor's task is {task.kind}: it finds no spans",
            where="redact",
            allowed="a run whose task is tag",
            remedy="loratory run pii makes one",
        )
    for label in labels:
        if label not in task.span_labels:
            raise DataError(
                f"{label!r} is no label of this run{nearest(label, task.span_labels)}",
                where="--label",
                allowed=", ".join(task.span_labels),
            )
    for asked, prediction in predict(predictor, inputs):
        if prediction.answer is None:  # nothing goes out unread
            raise Unfit(f"a text was not read ({prediction.why}), so it cannot be redacted")
        text, spans = task.text(asked), kept(task.spans_of(prediction.answer), labels)
        yield Redacted(redacted(text, spans, way), spans)
