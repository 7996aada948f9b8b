"""An answer as the page shows it: bars, marked spans, JSON, and who answered how fast."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from loratory.protocols import Input, Labelled, Prediction, Spanned
from loratory.serving.engine.fallback_chain import StagedAnswer
from loratory.serving.engine.service_registry import Service

MAX_BARS = 5  # bars that are not folded
SPAN_COLOURS = 8
RELEASE_CHARACTERS = 12  # characters of a release
STATUS_EXPLANATIONS: Mapping[str, str] = {
    "abstained": "The model is not sure enough about this text.",
    "invalid": "The model wrote something that is not a valid answer of this task.",
    "long": "The text is too long for this model.",
    "late": "The answer took longer than the time limit.",
    "failed": "The model failed. The server's log has the reason.",
}

FALLBACK_EXPLANATIONS: Mapping[str, str] = {
    "late": "was too slow",
    "full": "was overloaded",
    "failed": "failed",
    "invalid": "gave no valid answer",
    "long": "cannot read a text of this length",
}


def format_probability(share: float) -> str:
    """`92.3%`; what is not quite nothing or everything does not look like it."""
    if 0 < share < 0.0005:
        return "<0.1%"
    return ">99.9%" if 0.9995 <= share < 1 else f"{100 * share:.1f}%"


@dataclass(frozen=True)
class ProbabilityBar:
    """One probability."""

    name: str
    probability: float


@dataclass(frozen=True)
class FieldProbabilities:
    """Probabilities of one field, the surest first."""

    field: str
    top_bars: Sequence[ProbabilityBar]
    other_bars: Sequence[ProbabilityBar]


@dataclass(frozen=True)
class TextPiece:
    """A stretch of the text; `label` is empty between the spans."""

    text: str
    label: str = ""
    colour: int = 0


@dataclass(frozen=True)
class SpanView:
    """A span, for the list below the text."""

    piece: TextPiece
    start: int
    end: int
    probability: float | None


@dataclass(frozen=True)
class AnswerView:
    """All that is shown of one answer."""

    service: Service
    staged_answer: StagedAnswer
    milliseconds: float
    label: str | None
    field_probabilities: Sequence[FieldProbabilities]
    pieces: Sequence[TextPiece]
    spans: Sequence[SpanView]
    generated: str | None
    curl: str

    @property
    def status_explanation(self) -> str:
        """Why there is no answer, in words."""
        return STATUS_EXPLANATIONS.get(self.staged_answer.status, "")

    @property
    def fallback_explanation(self) -> str:
        """Which contender should have answered, and why it did not; empty where it did."""
        fallback = self.staged_answer.fallback
        return f"{fallback.contender} {FALLBACK_EXPLANATIONS.get(fallback.reason, fallback.reason)}" if fallback else ""

    @property
    def has_single_values(self) -> bool:
        """Whether only the values that were written have probabilities, one for each field."""
        return (
            self.label is None
            and bool(self.field_probabilities)
            and all(len(odds.top_bars) == 1 for odds in self.field_probabilities)
        )

    @property
    def release(self) -> str:
        """The beginning of the release."""
        return self.staged_answer.stage.release[:RELEASE_CHARACTERS]


def build_answer_view(service: Service, input: Input, one: StagedAnswer, milliseconds: float, curl: str) -> AnswerView:
    """The answer of any task, by what the task can do."""
    task, made = service.task, one.prediction
    label, written = None, None
    pieces: Sequence[TextPiece] = ()
    spans: Sequence[SpanView] = ()
    if isinstance(task, Spanned):
        pieces, spans = split_at_spans(task, input, made)
    elif made.answer is not None and isinstance(task, Labelled):
        label = task.label_of(made.answer)
    elif made.answer is not None:
        written = made.answer if isinstance(made.answer, str) else json.dumps(made.answer, indent=2, ensure_ascii=False)
    odds = [] if isinstance(task, Spanned) else [build_bars(*item) for item in made.probabilities.items()]
    return AnswerView(service, one, milliseconds, label, odds, pieces, spans, written, curl)


def build_bars(pointer: str, odds: Mapping[str, float]) -> FieldProbabilities:
    """Bars of one pointer, the surest first; equal ones in their own order."""
    bars = [ProbabilityBar(name, share) for name, share in sorted(odds.items(), key=lambda item: -item[1])]
    few = len(bars) <= MAX_BARS + 1  # one alone is not worth a fold
    return FieldProbabilities(
        pointer.removeprefix("/") or "answer", bars if few else bars[:MAX_BARS], () if few else bars[MAX_BARS:]
    )


def split_at_spans(task: Spanned, input: Input, made: Prediction) -> tuple[list[TextPiece], list[SpanView]]:
    """The text cut at its spans, and the spans."""
    text, labels = task.text(input), list(task.span_labels)
    found = [] if made.answer is None else list(task.spans_of(made.answer))
    rows = []
    for number, (start, end, label) in enumerate(found):
        colour = labels.index(label) % SPAN_COLOURS if label in labels else 0
        odds = made.probabilities.get(f"/spans/{number}/label", {})
        rows.append(SpanView(TextPiece(text[start:end], label, colour), start, end, odds.get(label)))
    return list(_iterate_pieces(text, rows)), rows


def _iterate_pieces(text: str, rows: Sequence[SpanView]) -> Iterator[TextPiece]:
    place = 0
    for row in rows:
        if row.start > place:
            yield TextPiece(text[place : row.start])
        yield row.piece
        place = row.end
    if place < len(text):
        yield TextPiece(text[place:])


def format_curl(base: str, service: Service, input: Input, needs_key: bool) -> str:
    """The same question from a terminal."""
    body = json.dumps({"inputs": [dict(input)]}, ensure_ascii=False)
    key = ' \\\n  -H "Authorization: Bearer $LORATORY_KEY"' if needs_key else ""
    return f"curl {shlex.quote(f'{base}/v1/tasks/{service.name}/predict')}{key} \\\n  -d {shlex.quote(body)}"
