"""`tag`: labelled spans of a text. Character offsets are the truth, whatever the tokenizer."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator

from loratory.errors import DataError, FieldError, format_value, suggest_nearest
from loratory.measures import span_metrics as measures
from loratory.measures.classification_metrics import ratio
from loratory.measures.offset_formats import (
    EndConvention,
    OffsetFormat,
    OffsetUnit,
    check_span_end,
    check_span_start,
    to_characters,
)
from loratory.measures.ratios import Ratio, build_ratio
from loratory.measures.span_metrics import Span, is_inside_word
from loratory.protocols import JSON, Answer, Column, Counts, Example, Input, Prediction, Schema, Scores
from loratory.tasks.row_values import parse_group
from loratory.tasks.tag_notations import TagNotation, detect_notation, to_bio
from loratory.tasks.tag_schemes import OUTSIDE

START_KEYS = ("start", "start_position", "start_offset", "begin", "from")
END_KEYS = ("end", "end_position", "end_offset", "stop", "to")
LABEL_KEYS = ("label", "entity_type", "type", "tag", "entity_group", "entity")
TEXT_KEYS = ("text", "entity_value", "value", "word", "surface")
MAX_CUT_SHARE = 0.01  # share of ends of spans that may lie inside a word, where spans are of whole words
BIO_TAG = re.compile(r"O|[BI]-.+")
OFFSET_FORMATS = (  # other readings of offsets, the commonest first
    OffsetFormat("utf-16"),
    OffsetFormat("utf-8"),
    OffsetFormat(end="inclusive"),
    OffsetFormat("utf-16", "inclusive"),
    OffsetFormat("utf-8", "inclusive"),
    OffsetFormat(end="inclusive", first=1),
    OffsetFormat(first=1),
)
ALLOWED_SPANS = "a list of {start, end, label}, characters counted from 0 and end left out; or of [start, end, label]"


class Tag(BaseModel):
    """Marks spans of a text, for example names. The answer is `{"spans": [{start, end, label, text}]}`, in order and
    without overlap.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: ClassVar[Mapping[str, Column]] = {
        "text": Column(
            "the text",
            required=False,
            aliases=("text", "full_text", "sentence", "content", "document", "input", "data"),
        ),
        "spans": Column(
            "the labelled spans of the text",
            required=False,
            aliases=("spans", "entities", "labels", "label", "annotations", "annotation", "ner", "privacy_mask"),
        ),
        "tokens": Column(
            "the words of the text, for files without a text column", required=False, aliases=("tokens", "words")
        ),
        "tags": Column(
            "one tag for each word (BIO; other schemes are converted to it)",
            required=False,
            aliases=(
                "ner_tags",
                "tags",
                "bio_labels",
                "iob_tags",
                "ner_labels",
                "ner",
                "bio",
                "iob",
                "slots",
                "labels",
            ),
        ),
        "group": Column(
            "examples with the same value stay in the same split",
            required=False,
            aliases=("group", "template_id", "family", "group_id", "template"),
        ),
    }
    lower_is_better: ClassVar[frozenset[str]] = frozenset({"leak_rate"})

    kind: Literal["tag"] = "tag"
    labels: tuple[str, ...] | None = Field(
        None, description="Labels in a fixed order. Default: the labels of the training split."
    )
    headline: Literal["strict_f1", "exact_f1", "partial_f1", "type_f1", "token_f1", "f2"] = Field(
        "strict_f1",
        description="Score that early stopping and the verdict use. Choose f2 when a missed span costs more than a "
        "false one.",
    )

    whole_words: bool | None = Field(
        None,
        description="Whether every span starts and ends at a word boundary. Default: detected from the training split.",
    )
    offsets: OffsetUnit = Field(
        "characters",
        description="Unit of start and end in the files: characters (code points, as in Python), utf-16 (code units, "
        "as in JavaScript and Java) or utf-8 (bytes). Answers always count characters.",
    )
    end: EndConvention = Field(
        "exclusive",
        description="inclusive: the end in the files is the position of the last character of the span; exclusive: "
        "one position after it.",
    )
    first: Literal[0, 1] = Field(0, description="Number of the first character in the files: 0 or 1.")
    trim: bool = Field(False, description="Remove white space at the ends of spans in the files.")

    tag_names: tuple[str, ...] | None = Field(
        None,
        description="Names of tags that the files store as whole numbers, in the order of the numbers: [O, B-PER, "
        "I-PER].",
    )

    @field_validator("tag_names")
    @classmethod
    def _check_tag_names(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if names is not None and (len(set(names)) < len(names) or detect_notation(Counter(names)) is None):
            raise ValueError(
                "give distinct tags of one scheme in the order of their numbers, such as [O, B-PER, I-PER]"
            )
        return names

    @field_validator("labels")
    @classmethod
    def _check_labels(cls, labels: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if labels is not None and (not labels or len(set(labels)) < len(labels) or not all(labels)):
            raise ValueError("give at least one label; they have to be distinct and not empty")
        return labels

    # -- Task
    def input_schema(self) -> Schema:
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

    def check_answer(self, input: Input, answer: Answer) -> list[str]:
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
        tags = _get_tags(row)
        if row.get("tokens") is not None and (
            row.get("text") is None or (tags is not None and not _has_explicit_spans(row))
        ):
            text, spans = from_bio(row["tokens"], self._name_tags(tags))
            text, spans = _align_tokens(row.get("text"), row["tokens"], text, spans)
        else:
            text, spans = self._read_spans(row)
        for start, end, label in spans:
            if self.labels is not None and label not in self.labels:
                raise FieldError(
                    "spans",
                    f"{format_value(label)} (at {start} to {end}) is no label of this "
                    f"task{suggest_nearest(label, self.labels)}",
                    allowed=", ".join(self.labels),
                    remedy="correct the row, or add the label under task: labels:",
                )
        return Example({"text": text}, self.from_spans(text, spans), group=parse_group(row.get("group")))

    def _name_tags(self, tags: JSON) -> JSON:
        """Tags with names for numbers, as BIO where the names are of another scheme. Raises FieldError."""
        if self.tag_names is None or not _are_numbers(tags):
            return tags
        wrong = next((tag for tag in tags if not 0 <= tag < len(self.tag_names)), None)
        if wrong is not None:
            raise FieldError(
                "tags",
                f"a tag is {wrong}, and tag_names has {len(self.tag_names)} names",
                allowed=f"0 to {len(self.tag_names) - 1}",
                remedy="give the names of all tags in the order of their numbers: task: tag_names: [...]",
            )
        named, scheme = [self.tag_names[tag] for tag in tags], detect_notation(Counter(self.tag_names))
        return named if scheme is None or scheme == TagNotation("bio", "-") else to_bio(named, scheme).tags

    def _read_spans(self, row: Mapping[str, JSON]) -> tuple[str, list[Span]]:
        text, given = row.get("text"), row.get("spans")
        if not isinstance(text, str):
            raise FieldError("text", f"the text is {format_value(text)}", allowed="a string")
        if isinstance(given, str):
            try:
                given = json.loads(given)
            except (ValueError, RecursionError):
                raise FieldError(
                    "spans", f"the spans are no JSON: {format_value(given)}", allowed=ALLOWED_SPANS
                ) from None
        if given is None or isinstance(given, (str, Mapping)) or not isinstance(given, Sequence):
            raise FieldError(
                "spans", f"the spans are {format_value(given)}", allowed=f"{ALLOWED_SPANS}; [] where there are none"
            )
        raw = [_parse_raw_span(one, number) for number, one in enumerate(given, 1)]
        try:
            spans = sorted(_convert_span(one, text, self.offset_format, number) for number, one in enumerate(raw, 1))
        except FieldError as problem:
            raise _suggest_offset_format(problem, text, raw, self.offset_format) from None
        if self.trim:
            spans = [_trim(text, span) for span in spans]
        for (start, end, label), (other, stop, name) in pairwise(spans):
            if other < end:
                raise FieldError(
                    "spans",
                    f"{label} at {start} to {end} and {name} at {other} to {stop} overlap",
                    allowed="spans that do not share a character",
                    remedy="keep one of them, or shorten one",
                )
        return text, spans

    def resolve_options(self, examples: Iterable[Example], others: Iterable[Example] = ()) -> Self:
        """Labels from the examples when the spec gives none; raises DataError where no example of train has a span."""
        marked = [(self.text(e.input), self.spans_of(e.answer or {"spans": ()})) for e in examples]
        found = sorted({label for _, spans in marked for _, _, label in spans})
        if not found:
            raise DataError(
                "train holds no span",
                allowed="at least one labelled span",
                remedy="check the column of spans (data: spans: COLUMN)",
            )
        more = {label for example in others for _, _, label in self.spans_of(example.answer or {"spans": ()})}
        return self.model_copy(
            update={
                "labels": self.labels or tuple(sorted({*found, *more})),
                "whole_words": _are_whole_words(marked) if self.whole_words is None else self.whole_words,
            }
        )

    def score_example(self, example: Example, prediction: Prediction) -> Counts:
        said = [] if prediction.answer is None else self.spans_of(prediction.answer)
        marks = measures.count_outcomes(self.text(example.input), self.spans_of(example.answer), said)
        if prediction.answer is None:
            return {**marks, "reward": 0.0, "answered": 0.0}
        return {**marks, "answered": 1.0}

    def summarise(self, totals: Counts) -> Scores:
        coverage = ratio(totals.get("answered", 0.0), totals.get("n", 0.0))
        return {**measures.compute_scores(totals, self.labels or ()), "coverage": coverage}

    # -- Decomposable
    def ratios(self, score: str) -> tuple[Ratio, ...]:
        return (build_ratio("answered", "n"),) if score == "coverage" else measures.get_score_ratios(score)

    @property
    def offset_format(self) -> OffsetFormat:
        """How the offsets in the files are read."""
        return OffsetFormat(self.offsets, self.end, self.first)

    # -- Spanned
    @property
    def span_labels(self) -> tuple[str, ...]:
        return self.labels or ()

    @property
    def word_aligned(self) -> bool:
        return bool(self.whole_words)

    def text(self, input: Input) -> str:
        return str(input["text"])

    def spans_of(self, answer: Answer) -> list[Span]:
        return [(span["start"], span["end"], span["label"]) for span in answer["spans"]]

    def describe_contract(self) -> str:
        return (
            'The answer is `{"spans": [{"start", "end", "label", "text"}]}`: characters counted from 0, `end` left '
            f"out, in order, without overlap. The labels are {', '.join(f'`{label}`' for label in self.span_labels)}. "
            "A span that is not in the list was not found, which is no proof that there is none."
        )

    def from_spans(self, text: str, spans: Iterable[Span]) -> Answer:
        return {
            "spans": [
                {"start": start, "end": end, "label": label, "text": text[start:end]}
                for start, end, label in sorted(spans)
            ]
        }


def has_spans(values: Mapping[str, JSON]) -> bool:
    """Whether a row carries spans: a list of {start, end, ...} or of [start, end, label], or words with tags.

    Tags that are whole numbers count where the column's name says that they are tags.
    """
    lists = {key: value for key, value in values.items() if isinstance(value, list) and value}
    if any(is_span(value[0]) for value in lists.values()):
        return True
    tagged = any(
        (_are_tags(value) and set(value) != {OUTSIDE}) or ("tag" in key.casefold() and _are_numbers(value))
        for key, value in lists.items()
    )
    return tagged and len({len(value) for value in lists.values()}) < len(lists)


def _has_explicit_spans(row: Mapping[str, JSON]) -> bool:
    """Whether the spans are given as spans, and not as tags."""
    given = row.get("spans")
    return given is not None and not (isinstance(given, list) and given and (_are_tags(given) or _are_numbers(given)))


def _get_tags(row: Mapping[str, JSON]) -> JSON:
    """The tags; those of a column that its name made the spans (labels), where there is no other."""
    tags = row.get("tags")
    return row.get("spans") if tags is None and (row.get("text") is None or not _has_explicit_spans(row)) else tags


def is_span(value: JSON) -> bool:
    """What a span looks like: an object with a start and an end, or [start, end, label]."""
    if isinstance(value, Mapping):
        names = {str(key).casefold() for key, one in value.items() if one is not None}
        starts = names & set(START_KEYS) or any(name.startswith(("start", "begin")) for name in names)
        return bool(starts and (names & set(END_KEYS) or any(name.startswith("end") for name in names)))
    return isinstance(value, list) and len(value) == 3 and _are_numbers(value[:2]) and isinstance(value[2], str)


def _are_tags(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(tag, str) and BIO_TAG.fullmatch(tag) for tag in value)


def _are_numbers(value: object) -> bool:
    return isinstance(value, Sequence) and all(isinstance(one, int) and not isinstance(one, bool) for one in value)


@dataclass(frozen=True)
class RawSpan:
    """A span as a file has it: places are not yet known to be numbers, or to lie in the text."""

    start: JSON
    end: JSON
    label: str
    text: str | None = None  # its text, where the file says it

    @property
    def has_integer_offsets(self) -> bool:
        return all(isinstance(place, int) and not isinstance(place, bool) for place in (self.start, self.end))


def parse_raw_spans(given: JSON) -> list[RawSpan]:
    """The spans of a row as they are written, those that are none left out: to look at, not to learn from."""
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except (ValueError, RecursionError):
            return []
    if not isinstance(given, Sequence):
        return []
    found = []
    for number, one in enumerate(given, 1):
        try:
            found.append(_parse_raw_span(one, number))
        except FieldError:
            continue
    return [span for span in found if span.has_integer_offsets]


def _parse_raw_span(value: JSON, number: int) -> RawSpan:
    """A span in any of the forms that tools write; raises FieldError."""
    said = None
    if isinstance(value, Mapping):
        start, end, label, said = (_get_first(value, names) for names in (START_KEYS, END_KEYS, LABEL_KEYS, TEXT_KEYS))
    elif isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 3:
        start, end, label = value
    else:
        raise FieldError("spans", f"span {number} is {format_value(value)}", allowed=ALLOWED_SPANS)
    if isinstance(label, Sequence) and not isinstance(label, str) and len(label) == 1:
        label = label[0]  # Label Studio
    if not isinstance(label, str) or not label.strip():
        raise FieldError("spans", f"the label of span {number} is {format_value(label)}", allowed="a non-empty string")
    return RawSpan(start, end, label.strip(), said if isinstance(said, str) else None)


def _convert_span(raw: RawSpan, text: str, offset_format: OffsetFormat, number: int) -> Span:
    """The span in characters; raises FieldError where it does not lie in the text, or says another one."""
    place = to_characters(text, offset_format)(raw.start, raw.end) if raw.has_integer_offsets else None
    if place is None:
        plain = offset_format == OffsetFormat()
        raise FieldError(
            "spans",
            f"span {number} ({raw.label}) goes from {format_value(raw.start)} to {format_value(raw.end)}",
            allowed=f"0 <= start < end <= {len(text)}, the length of the text in characters (not bytes)"
            if plain
            else f"places in the text in {offset_format.name} (task: {offset_format.spec_text}); the text has "
            f"{len(text)} characters",
        )
    start, end = place
    if raw.text is not None and raw.text != text[start:end]:
        raise FieldError(
            "spans",
            f"span {number} ({raw.label}) says {raw.text!r}, and the text has {text[start:end]!r} "
            f"from {raw.start} to {raw.end}",
            allowed="the same text",
            remedy="check whether offsets count characters, and whether the text was changed after it was labelled",
        )
    return start, end, raw.label


def _suggest_offset_format(
    problem: FieldError, text: str, raw: Sequence[RawSpan], offset_format: OffsetFormat
) -> FieldError:
    """The same problem; where another reading of the row's offsets mends all its spans, it is named."""
    mends = next(
        (one for one in (OffsetFormat(), *OFFSET_FORMATS) if one != offset_format and spans_fit(text, raw, one)), None
    )
    if mends is None:
        return problem
    return FieldError(
        problem.field,
        f"{problem.problem}; counted in {mends.name}, the spans of this row begin and end where words do",
        allowed=problem.allowed,
        remedy=f"{mends.build_remedy(offset_format)} (how offsets are read, for all rows), or correct the row",
    )


def spans_fit(text: str, raw: Sequence[RawSpan], offset_format: OffsetFormat) -> bool:
    """Whether all spans so lie in the text, between words, and are the text that they say."""
    convert = to_characters(text, offset_format)
    places = [convert(span.start, span.end) if span.has_integer_offsets else None for span in raw]
    for span, place in zip(raw, places, strict=True):
        if place is None or (span.text is not None and span.text != text[place[0] : place[1]]):
            return False
        if span.text is None and (check_span_start(text, place[0]) or check_span_end(text, place[1])):
            return False
    return True


def _trim(text: str, span: Span) -> Span:
    """The span without white space at its ends; raises FieldError where it holds nothing else."""
    start, end, label = span
    inside = text[start:end]
    if not inside.strip():
        raise FieldError(
            "spans",
            f"{label} at {start} to {end} is nothing but white space",
            allowed="at least one other character",
            remedy="remove the span",
        )
    return start + len(inside) - len(inside.lstrip()), end - len(inside) + len(inside.rstrip()), label


def _are_whole_words(labelled_texts: Sequence[tuple[str, Sequence[Span]]]) -> bool:
    """Whether nearly all spans begin and end where words do."""
    cut = [
        is_inside_word(text, place)
        for text, spans in labelled_texts
        for start, end, _ in spans
        for place in (start, end)
    ]
    return sum(cut) <= MAX_CUT_SHARE * len(cut)


def _get_first(value: Mapping[str, JSON], names: Sequence[str]) -> JSON:
    return next((value[name] for name in names if name in value), None)


def _align_tokens(given: JSON, tokens: Sequence[str], joined: str, spans: list[Span]) -> tuple[str, list[Span]]:
    """The spans in the given text, where the words stand in it in their order; else in the words joined by spaces."""
    if not isinstance(given, str):
        return joined, spans
    moved, at, place = dict[int, int](), 0, 0
    for token in tokens:
        at = given.find(token, at)
        if at < 0:
            return joined, spans
        moved |= {place: at, place + len(token): at + len(token)}
        at, place = at + len(token), place + len(token) + 1
    return given, [(moved[start], moved[end], label) for start, end, label in spans]


def from_bio(tokens: JSON, tags: JSON) -> tuple[str, list[Span]]:
    """Text and spans from words and their BIO tags; words stand one space apart. Raises FieldError."""
    for field, given in (("tokens", tokens), ("tags", tags)):
        listed = isinstance(given, Sequence) and not isinstance(given, str)
        if not listed or not all(isinstance(one, str) for one in given):
            numbers = field == "tags" and listed and _are_numbers(given)
            raise FieldError(
                field,
                f"the {field} are {format_value(given)}",
                allowed="a list of strings",
                remedy="name the numbers in their order: task: {kind: tag, tag_names: [O, B-PER, I-PER, ...]} in the "
                "spec, --tag-names O,B-PER,I-PER,... for loratory init"
                if numbers
                else "",
            )
    if len(tokens) != len(tags):
        raise FieldError("tags", f"there are {len(tokens)} words and {len(tags)} tags", allowed="one tag for each word")
    spans: list[Span] = []
    place, before = 0, OUTSIDE
    for number, (token, tag) in enumerate(zip(tokens, tags, strict=True), 1):
        kind, dash, label = tag.partition("-")
        if tag != OUTSIDE and (kind not in ("B", "I") or not dash or not label):
            raise FieldError("tags", f"tag {number} is {format_value(tag)}", allowed="O, B-LABEL or I-LABEL")
        if kind == "I" and before not in (f"B-{label}", f"I-{label}"):
            raise FieldError(
                "tags",
                f"tag {number} is {format_value(tag)} behind {format_value(before)}",
                allowed=f"I-{label} behind B-{label} or I-{label} only",
                remedy=f"write B-{label} where a span begins",
            )
        if kind == "B":
            spans.append((place, place + len(token), label))
        elif kind == "I":
            spans[-1] = (spans[-1][0], place + len(token), label)
        place, before = place + len(token) + 1, tag
    return " ".join(tokens), spans
