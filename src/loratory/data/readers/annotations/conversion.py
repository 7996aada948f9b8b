"""What the tools share: rows that are kept or left out with a reason, and one answer from several annotators."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias, TypeGuard

from loratory.data.rows import Row
from loratory.errors import DataError, format_value
from loratory.protocols import JSON

Values: TypeAlias = dict[str, JSON]
RowOrReason: TypeAlias = tuple[Row, Values | str]  # a row, and its plain values or why it is left out

DISAGREEMENT_REASON = "have annotators that disagree without a majority"
UNANSWERED_REASON = "have no answer"


class ConvertedExport(NamedTuple):
    """The plain rows of an export, what was read or left out, and the columns that hold the answers."""

    rows: list[Row]
    messages: list[str]
    answer_columns: tuple[str, ...]


@dataclass(frozen=True)
class ExportFormat:
    """A form of a tool that was recognised."""

    name: str  # as in "an export of Prodigy"
    answer_columns: Sequence[str]  # what holds the answers
    unread_columns: Sequence[str] = ()  # fields of the tool that are not read
    notes: Sequence[str] = ()  # more to say


def collect_rows(rows: Sequence[Row], readings: Sequence[RowOrReason], export_format: ExportFormat) -> ConvertedExport:
    """The rows that are kept, and a line for each thing that was read or left out, with count and first place."""
    kept = [replace(row, values=values) for row, values in readings if not isinstance(values, str)]
    out: dict[str, list[Row]] = {}
    for row, values in readings:
        if isinstance(values, str):
            out.setdefault(values, []).append(row)
    file, total = rows[0].file, len(readings)
    answers = (
        f"; the answers are in {_format_columns(export_format.answer_columns)}" if export_format.answer_columns else ""
    )
    said = [f"{file}: read as {export_format.name}{answers}"]
    if export_format.unread_columns:
        said.append(
            f"{file}: fields that hold no text and no answer are not read: {', '.join(export_format.unread_columns)}"
        )
    said += [f"{file}: {note}" for note in export_format.notes]
    for reason, left in out.items():
        said.append(f"{file}: {len(left)} of {total} rows {reason} and are left out, first {left[0].origin}")
    return ConvertedExport(kept, said, tuple(export_format.answer_columns))


def find_majority_answer(answers: Sequence[JSON]) -> tuple[bool, JSON]:
    """Whether one answer stands out, and it: all are equal, or more than half of the annotators give it."""
    counts = Counter(map(_make_answer_key, answers))
    best, count = counts.most_common(1)[0]
    if len(counts) > 1 and 2 * count <= len(answers):
        return False, None
    return True, next(answer for answer in answers if _make_answer_key(answer) == best)


def unwrap_single(values: Sequence[JSON]) -> JSON:
    """The only value of a choice, or the list of several; None where there is none."""
    return None if not values else values[0] if len(values) == 1 else list(values)


def make_span(start: JSON, end: JSON, label: JSON, text: JSON = None) -> dict[str, JSON]:
    """A span as the task reads it."""
    made: dict[str, JSON] = {"start": start, "end": end, "label": label}
    return {**made, "text": text} if isinstance(text, str) else made


def parse_spans(value: JSON, row: Row, name: str) -> list[JSON]:
    """The spans of a list of {start, end, label}, or of one of them; raises DataError for anything else."""
    made: list[JSON] = []
    for one in value if isinstance(value, list) else [value]:
        if not isinstance(one, Mapping) or not {"start", "end", "label"} <= set(one):
            raise DataError(
                f"a span is {format_value(one)}",
                where=f"{row.origin}: {name}",
                allowed="a list of {start, end, label}",
                remedy="mend the row or remove it",
            )
        made.append(make_span(one["start"], one["end"], one["label"], one.get("text")))
    return made


def parse_triple(value: JSON) -> dict[str, JSON] | None:
    """A span from [start, end, label]; None where it is none."""
    whole = isinstance(value, (list, tuple)) and len(value) == 3 and isinstance(value[2], str)
    return make_span(*value) if whole and all(is_offset(place) for place in value[:2]) else None


def is_offset(value: object) -> TypeGuard[int]:
    """Whether a value is a whole number."""
    return isinstance(value, int) and not isinstance(value, bool)


def are_triples(value: JSON) -> bool:
    """Whether a value is a list of [start, end, label]."""
    return isinstance(value, list) and all(parse_triple(one) is not None for one in value)


def find_present_columns(rows: Iterable[Row], names: Iterable[str]) -> list[str]:
    """Those of the names that a row has, in order."""
    wanted = set(names)
    return [key for key in dict.fromkeys(key for row in rows for key in row.values) if key in wanted]


def drop_columns(values: Mapping[str, JSON], names: Iterable[str]) -> Values:
    """The values but those of the names."""
    dropped = set(names)
    return {key: value for key, value in values.items() if key not in dropped}


def _make_answer_key(value: JSON) -> str:
    """Equal for equal answers, whatever the order of a list's members."""
    if isinstance(value, list):
        return "[" + ",".join(sorted(map(_make_answer_key, value))) + "]"
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)


def _format_columns(columns: Sequence[str]) -> str:
    return ("the column " if len(columns) == 1 else "the columns ") + ", ".join(map(repr, columns))
