"""An answer as the page shows it: bars, marked spans, JSON, and who answered how fast."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loratory.protocols import Input, Labelled, Prediction, Spanned
from loratory.serving.cascade import Answered
from loratory.serving.services import Service

TOP = 5  # bars that are not folded
COLOURS = 8
SHORT = 12  # characters of a release
WHY: Mapping[str, str] = {
    "abstained": "The operating point of this task leaves such an input unanswered.",
    "invalid": "What was written is no answer of this task.",
    "long": "The input does not fit the model.",
    "late": "The deadline passed.",
    "failed": "The contender failed; the server's log says how.",
}

FELL: Mapping[str, str] = {
    "late": "was late",
    "full": "was full",
    "failed": "failed",
    "invalid": "wrote no valid answer",
    "long": "cannot read so much",
}


def chance(share: float) -> str:
    """`92.3%`; what is not quite nothing or everything does not look like it."""
    if 0 < share < 0.0005:
        return "<0.1%"
    return ">99.9%" if 0.9995 <= share < 1 else f"{100 * share:.1f}%"


@dataclass(frozen=True)
class Bar:
    """One probability."""

    name: str
    share: float


@dataclass(frozen=True)
class Odds:
    """Probabilities of one field, the surest first."""

    field: str
    top: Sequence[Bar]
    rest: Sequence[Bar]


@dataclass(frozen=True)
class Piece:
    """A stretch of the text; `label` is empty between the spans."""

    text: str
    label: str = ""
    colour: int = 0


@dataclass(frozen=True)
class Marked:
    """A span, for the list below the text."""

    piece: Piece
    start: int
    end: int
    share: float | None


@dataclass(frozen=True)
class Shown:
    """All that is shown of one answer."""

    service: Service
    one: Answered
    milliseconds: float
    label: str | None
    odds: Sequence[Odds]
    pieces: Sequence[Piece]
    spans: Sequence[Marked]
    written: str | None
    curl: str

    @property
    def why(self) -> str:
        """Why there is no answer, in words."""
        return WHY.get(self.one.status, "")

    @property
    def fallen(self) -> str:
        """Who should have answered, and what came between; empty where that one did."""
        fallback = self.one.fallback
        return f"{fallback.contender} {FELL.get(fallback.why, fallback.why)}" if fallback else ""

    @property
    def single(self) -> bool:
        """Whether only the values that were written have probabilities, one for each field."""
        return self.label is None and bool(self.odds) and all(len(odds.top) == 1 for odds in self.odds)

    @property
    def release(self) -> str:
        """The beginning of the release."""
        return self.one.stage.release[:SHORT]


def shown_of(service: Service, input: Input, one: Answered, milliseconds: float, curl: str) -> Shown:
    """The answer of any task, by what the task can do."""
    task, made = service.task, one.prediction
    label, written = None, None
    pieces: Sequence[Piece] = ()
    spans: Sequence[Marked] = ()
    if isinstance(task, Spanned):
        pieces, spans = marked(task, input, made)
    elif made.answer is not None and isinstance(task, Labelled):
        label = task.label_of(made.answer)
    elif made.answer is not None:
        written = made.answer if isinstance(made.answer, str) else json.dumps(made.answer, indent=2, ensure_ascii=False)
    odds = [] if isinstance(task, Spanned) else [odds_of(*item) for item in made.probabilities.items()]
    return Shown(service, one, milliseconds, label, odds, pieces, spans, written, curl)


def odds_of(pointer: str, odds: Mapping[str, float]) -> Odds:
    """Bars of one pointer, the surest first; equal ones in their own order."""
    bars = [Bar(name, share) for name, share in sorted(odds.items(), key=lambda item: -item[1])]
    few = len(bars) <= TOP + 1  # one alone is not worth a fold
    return Odds(pointer.removeprefix("/") or "answer", bars if few else bars[:TOP], () if few else bars[TOP:])


def marked(task: Any, input: Input, made: Prediction) -> tuple[list[Piece], list[Marked]]:
    """The text cut at its spans, and the spans."""
    text, labels = task.text(input), list(task.span_labels)
    found = [] if made.answer is None else list(task.spans_of(made.answer))
    rows = []
    for number, (start, end, label) in enumerate(found):
        colour = labels.index(label) % COLOURS if label in labels else 0
        odds = made.probabilities.get(f"/spans/{number}/label", {})
        rows.append(Marked(Piece(text[start:end], label, colour), start, end, odds.get(label)))
    return list(_pieces(text, rows)), rows


def _pieces(text: str, rows: Sequence[Marked]) -> Iterator[Piece]:
    place = 0
    for row in rows:
        if row.start > place:
            yield Piece(text[place : row.start])
        yield row.piece
        place = row.end
    if place < len(text):
        yield Piece(text[place:])


def curl_of(base: str, service: Service, input: Input, keyed: bool) -> str:
    """The same question from a terminal."""
    body = json.dumps({"inputs": [dict(input)]}, ensure_ascii=False)
    key = ' \\\n  -H "Authorization: Bearer $LORATORY_KEY"' if keyed else ""
    return f"curl {base}/v1/tasks/{service.name}/predict{key} \\\n  -d {shlex.quote(body)}"
