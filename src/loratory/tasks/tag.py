"""`tag`: labelled spans of a text. Character offsets are the truth, whatever the tokenizer."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator

from loratory.errors import DataError, FieldError, nearest, shown
from loratory.measures import spans as measures
from loratory.measures.labels import ratio
from loratory.measures.ratios import Ratio, share
from loratory.measures.spans import Span, inside_word
from loratory.protocols import JSON, Answer, Column, Counts, Example, Input, Prediction, Schema, Scores
from loratory.tasks.fields import group_of

STARTS = ("start", "start_position", "start_offset", "begin", "from")
ENDS = ("end", "end_position", "end_offset", "stop", "to")
LABELS = ("label", "entity_type", "type", "tag", "entity_group", "entity")
TEXTS = ("text", "entity_value", "value", "word", "surface")
CUT = 0.01  # share of ends of spans that may lie inside a word, where spans are of whole words
TAG = re.compile(r"O|[BI]-.+")
ALLOWED = "a list of {start, end, label}, characters counted from 0 and end left out; or of [start, end, label]"


class Tag(BaseModel):
    """The answer is `{"spans": [{start, end, label, text}]}`, in order and without overlap."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: ClassVar[Mapping[str, Column]] = {
        "text": Column(
            "the text",
            required=False,
            guesses=("text", "full_text", "sentence", "content", "document", "input"),
        ),
        "spans": Column(
            "its labelled spans",
            required=False,
            guesses=("spans", "entities", "labels", "label", "annotations", "privacy_mask"),
        ),
        "tokens": Column("its words, where there is no text", required=False, guesses=("tokens", "words")),
        "tags": Column("a BIO tag for each word", required=False, guesses=("ner_tags", "tags", "bio_labels", "labels")),
        "group": Column(
            "examples of one group never cross a split",
            required=False,
            guesses=("group", "template_id", "family", "group_id", "template"),
        ),
    }
    lower_is_better: ClassVar[frozenset[str]] = frozenset({"leak_rate"})

    kind: Literal["tag"] = "tag"
    labels: tuple[str, ...] | None = Field(None, description="the labels in their order; read from train when left out")
    headline: Literal["strict_f1", "exact_f1", "partial_f1", "type_f1", "token_f1", "f2"] = Field(
        "strict_f1", description="score that early stopping and the verdict go by"
    )

    whole_words: bool | None = Field(
        None, description="whether spans begin and end where words do; read from train when left out"
    )

    @field_validator("labels")
    @classmethod
    def _distinct(cls, labels: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if labels is not None and (not labels or len(set(labels)) < len(labels) or not all(labels)):
            raise ValueError("give at least one label; they have to be distinct and not empty")
        return labels

    # -- Task
    def question(self) -> Schema:
        return {
            "type": "object",
            "properties": {"text": {"type": "string"}},
            "required": ["text"],
            "additionalProperties": False,
        }

    def contract(self, input: Input | None = None) -> Schema:
        place: Schema = {"type": "integer", "minimum": 0}
        if input is not None:
            place = {**place, "maximum": len(str(input["text"]))}
        label: Schema = {"type": "string"} if self.labels is None else {"enum": list(self.labels)}
        fields = {"start": place, "end": place, "label": label, "text": {"type": "string"}}
        span = {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}
        return {
            "type": "object",
            "properties": {"spans": {"type": "array", "items": span}},
            "required": ["spans"],
            "additionalProperties": False,
        }

    def check(self, input: Input, answer: Answer) -> list[str]:
        """Spans whose text differs, that are empty, out of the text, or overlap."""
        text, last, problems = self.text(input), 0, []
        for span in answer["spans"]:
            start, end = span["start"], span["end"]
            if not 0 <= start < end <= len(text):
                problems.append(f"span {start} to {end} does not lie in the text, which has {len(text)} characters")
            elif span["text"] != text[start:end]:
                problems.append(f"span {start} to {end} is {text[start:end]!r} in the text, not {span['text']!r}")
            elif start < last:
                problems.append(f"span {start} to {end} overlaps the one before it")
            last = max(last, end)
        return problems

    def read(self, row: Mapping[str, JSON]) -> Example:
        """An example; raises FieldError for spans that are none, overlap, or say another text."""
        if row.get("text") is None and row.get("tokens") is not None:
            text, spans = from_bio(row["tokens"], row.get("tags"))
        else:
            text, spans = self._plain(row)
        for start, end, label in spans:
            if self.labels is not None and label not in self.labels:
                raise FieldError(
                    "spans",
                    f"{label!r} (at {start} to {end}) is no label of this task{nearest(label, self.labels)}",
                    allowed=", ".join(self.labels),
                    remedy="correct the row, or add the label under task: labels:",
                )
        return Example({"text": text}, self.from_spans(text, spans), group=group_of(row.get("group")))

    def _plain(self, row: Mapping[str, JSON]) -> tuple[str, list[Span]]:
        text, given = row.get("text"), row.get("spans")
        if not isinstance(text, str):
            raise FieldError("text", f"the text is {shown(text)}", allowed="a string")
        if isinstance(given, str):
            try:
                given = json.loads(given)
            except (ValueError, RecursionError):
                raise FieldError("spans", f"the spans are no JSON: {shown(given)}", allowed=ALLOWED) from None
        if given is None or isinstance(given, (str, Mapping)) or not isinstance(given, Sequence):
            raise FieldError("spans", f"the spans are {shown(given)}", allowed=f"{ALLOWED}; [] where there are none")
        spans = sorted(_span(one, text, number) for number, one in enumerate(given, 1))
        for (start, end, label), (other, stop, name) in pairwise(spans):
            if other < end:
                raise FieldError(
                    "spans",
                    f"{label} at {start} to {end} and {name} at {other} to {stop} overlap",
                    allowed="spans that do not share a character",
                    remedy="keep one of them, or shorten one",
                )
        return text, spans

    def settle(self, examples: Iterable[Example]) -> Self:
        """Labels from train when the spec gives none; raises DataError where no example has a span."""
        marked = [(self.text(e.input), self.spans_of(e.answer or {"spans": ()})) for e in examples]
        found = sorted({label for _, spans in marked for _, _, label in spans})
        if not found:
            raise DataError(
                "train holds no span",
                allowed="at least one labelled span",
                remedy="check the column of spans (data: spans: COLUMN)",
            )
        return self.model_copy(
            update={
                "labels": self.labels or tuple(found),
                "whole_words": _whole(marked) if self.whole_words is None else self.whole_words,
            }
        )

    def mark(self, example: Example, prediction: Prediction) -> Counts:
        said = [] if prediction.answer is None else self.spans_of(prediction.answer)
        marks = measures.counts(self.text(example.input), self.spans_of(example.answer), said)
        if prediction.answer is None:
            return {**marks, "reward": 0.0, "answered": 0.0}
        return {**marks, "answered": 1.0}

    def summarise(self, totals: Counts) -> Scores:
        coverage = ratio(totals.get("answered", 0.0), totals.get("n", 0.0))
        return {**measures.scores(totals, self.labels or ()), "coverage": coverage}

    # -- Decomposable
    def ratios(self, score: str) -> tuple[Ratio, ...]:
        return (share("answered", "n"),) if score == "coverage" else measures.ratios(score)

    # -- Spanned
    @property
    def span_labels(self) -> tuple[str, ...]:
        return self.labels or ()

    @property
    def in_words(self) -> bool:
        return bool(self.whole_words)

    def text(self, input: Input) -> str:
        return str(input["text"])

    def spans_of(self, answer: Answer) -> list[Span]:
        return [(span["start"], span["end"], span["label"]) for span in answer["spans"]]

    def from_spans(self, text: str, spans: Iterable[Span]) -> Answer:
        return {
            "spans": [
                {"start": start, "end": end, "label": label, "text": text[start:end]}
                for start, end, label in sorted(spans)
            ]
        }


def holds_spans(values: Mapping[str, JSON]) -> bool:
    """Whether a row carries spans: a list of mappings with a start and an end, or words with BIO tags."""
    lists = [value for value in values.values() if isinstance(value, list) and value]
    marked = any(isinstance(v[0], Mapping) and _first(v[0], STARTS) is not None for v in lists)
    tags = any(all(isinstance(t, str) and TAG.fullmatch(t) for t in v) and set(v) != {"O"} for v in lists)
    return marked or (tags and len({len(v) for v in lists}) < len(lists))


def _span(value: Any, text: str, number: int) -> Span:
    """A span in any of the forms that tools write; raises FieldError."""
    said = None
    if isinstance(value, Mapping):
        start, end, label, said = (_first(value, names) for names in (STARTS, ENDS, LABELS, TEXTS))
    elif isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 3:
        start, end, label = value
    else:
        raise FieldError("spans", f"span {number} is {shown(value)}", allowed=ALLOWED)
    if isinstance(label, Sequence) and not isinstance(label, str) and len(label) == 1:
        label = label[0]  # Label Studio
    if not isinstance(label, str) or not label.strip():
        raise FieldError("spans", f"the label of span {number} is {shown(label)}", allowed="a non-empty string")
    whole = all(isinstance(place, int) and not isinstance(place, bool) for place in (start, end))
    if not whole or not 0 <= start < end <= len(text):
        raise FieldError(
            "spans",
            f"span {number} ({label}) goes from {shown(start)} to {shown(end)}",
            allowed=f"0 <= start < end <= {len(text)}, the length of the text in characters (not bytes)",
        )
    if isinstance(said, str) and said != text[start:end]:
        raise FieldError(
            "spans",
            f"span {number} ({label}) says {said!r}, and the text has {text[start:end]!r} from {start} to {end}",
            allowed="the same text",
            remedy="check whether offsets count characters, and whether the text was changed after it was labelled",
        )
    return int(start), int(end), label.strip()


def _whole(marked: Sequence[tuple[str, Sequence[Span]]]) -> bool:
    """Whether nearly all spans begin and end where words do."""
    cut = [inside_word(text, place) for text, spans in marked for start, end, _ in spans for place in (start, end)]
    return sum(cut) <= CUT * len(cut)


def _first(value: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((value[name] for name in names if name in value), None)


def from_bio(tokens: Any, tags: Any) -> tuple[str, list[Span]]:
    """Text and spans from words and their BIO tags; words stand one space apart. Raises FieldError."""
    for field, given in (("tokens", tokens), ("tags", tags)):
        listed = isinstance(given, Sequence) and not isinstance(given, str)
        if not listed or not all(isinstance(one, str) for one in given):
            raise FieldError(field, f"the {field} are {shown(given)}", allowed="a list of strings")
    if len(tokens) != len(tags):
        raise FieldError("tags", f"there are {len(tokens)} words and {len(tags)} tags", allowed="one tag for each word")
    spans: list[Span] = []
    place, before = 0, "O"
    for number, (token, tag) in enumerate(zip(tokens, tags, strict=True), 1):
        kind, dash, label = tag.partition("-")
        if tag != "O" and (kind not in ("B", "I") or not dash or not label):
            raise FieldError("tags", f"tag {number} is {tag!r}", allowed="O, B-LABEL or I-LABEL")
        if kind == "I" and before not in (f"B-{label}", f"I-{label}"):
            raise FieldError(
                "tags",
                f"tag {number} is {tag!r} behind {before!r}",
                allowed=f"I-{label} behind B-{label} or I-{label} only",
                remedy=f"write B-{label} where a span begins",
            )
        if kind == "B":
            spans.append((place, place + len(token), label))
        elif kind == "I":
            spans[-1] = (spans[-1][0], place + len(token), label)
        place, before = place + len(token) + 1, tag
    return " ".join(tokens), spans
