"""What offsets of spans count: found by where the ends of spans lie under each reading of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loratory.data.columns import ColumnMapping, get_value_at
from loratory.data.rows import Row
from loratory.errors import DataError
from loratory.measures.offset_formats import (
    OffsetFormat,
    check_span_end,
    check_span_start,
    find_first_difference,
    from_characters,
    to_characters,
)
from loratory.protocols import Example, OffsetSpanned, Task
from loratory.tasks.tag import OFFSET_FORMATS, RawSpan, parse_raw_spans

MAX_SHOWN_SPANS = 5
MAX_SAMPLE_SPANS = 20_000  # spans that decide
MIN_FIXED_SHARE = 0.5  # share of the ends that another reading moves, which it has to mend
MAX_SPOILED_RATIO = 0.1  # ends that it spoils for each one that it mends, at most
MAX_REMAINING_SHARE = 0.1  # share of spans that may then still lie outside, say another text or start with white space
MIN_AGREEING_ROWS = 2  # rows that agree: one alone may be a slip
MIN_MISFIT_SHARE = 0.2  # share of ends inside words from which, with white space too, offsets are of another text
MAX_STRAY_SHARE = 0.02  # up to this share they are slips; beyond it spans are meant to end there (sub-word annotations)
FAULT_KINDS = ("inside", "white", "outside", "differs")
BoundaryFaults = list[tuple[str, int | None]]  # of each end, starts and ends in turn: what is wrong, and its character


@dataclass(frozen=True)
class AnnotatedText:
    """A text and the spans as the file has them; `origin` is file:line."""

    text: str
    spans: Sequence[RawSpan]
    origin: str = ""


@dataclass(frozen=True)
class OffsetFix:
    """Another reading, how many ends were bad (inside words, on white space, outside) before, and how many are then."""

    reading: OffsetFormat
    faults_before: int
    faults_after: int
    ends: int


def detect_offset_unit(rows: Sequence[Row], text_path: str, spans_path: str) -> OffsetFormat:
    """How the offsets of raw rows are to be read; `OffsetFormat()`, characters, where nothing speaks for another one.

    `reading.options` are the keys under `task:` ({"offsets": "utf-16"}), and `reading.name` says it in words.
    """
    found = find_better_reading(_annotate_rows(rows, text_path, spans_path), OffsetFormat())
    return found.reading if found else OffsetFormat()


def find_better_reading(annotated: Iterable[AnnotatedText], current: OffsetFormat) -> OffsetFix | None:
    """The reading that mends offsets which are read as `now`, if one does.

    Only ends that a reading moves can tell, and not those in scripts without spaces. It has to mend half of them, in 2
    rows at least, and to spoil at most one for ten that it mends. Sub-word spans, a suffix behind a name and single
    slips do not meet this: what is right under `now` another reading spoils.
    """
    looked_at = _sample_annotated_texts(annotated)
    before = [_find_boundary_faults(one, current) for one in looked_at]
    if not any(verdict in FAULT_KINDS for row in before for verdict, _ in row):
        return None
    found = []
    for reading in (OffsetFormat(), *OFFSET_FORMATS):
        if reading != current and _can_differ(looked_at, reading, current):
            after = [_find_boundary_faults(one, reading) for one in looked_at]
            if _is_improvement(before, after):
                found.append(OffsetFix(reading, _count_faults(before), _count_faults(after), sum(map(len, before))))
    return min(found, key=lambda one: one.faults_after, default=None)


def inspect_offsets(task: Task, examples: Iterable[Example]) -> dict[str, Any] | None:
    """Where the ends of spans lie, as the quality report has it; None for tasks without offsets, or without spans.

    {"reading", "spans", "ends", "inside": {"count", "share", "first"}, "white": {"count", "share", "first"} (spans that
    start or end with it), "mended_by": {"options", "name", "remedy", "bad"} or None, "examples"}.
    """
    if not isinstance(task, OffsetSpanned):
        return None
    marked = sorted((_annotate_example(task, one) for one in examples), key=_parse_origin)
    spans = sum(len(one.spans) for one in marked)
    if not spans:
        return None
    found = [
        {
            "origin": one.origin,
            "kind": kind,
            "start": span.start,
            "end": span.end,
            "text": _cut_excerpt(one.text, place),
        }
        for one in marked
        for span, place, kind in _list_faulty_spans(one, task.offset_format)
    ]
    inside = [one for one in found if one["kind"] != "white"]
    ends = sum(2 if one["kind"] == "inside words" else 1 for one in inside)
    white = [one for one in found if one["kind"] == "white"]
    mended = find_better_reading(marked, task.offset_format) if found else None
    return {
        "reading": task.offset_format.name,
        "spans": spans,
        "ends": 2 * spans,
        "inside": {"count": ends, "share": ends / (2 * spans), "first": inside[0]["origin"] if inside else None},
        "white": {"count": len(white), "share": len(white) / spans, "first": white[0]["origin"] if white else None},
        "mended_by": _describe_fix(mended, task.offset_format),
        "examples": [*inside[:MAX_SHOWN_SPANS], *white[:MAX_SHOWN_SPANS]],
    }


def explain_unread_rows(
    problems: Sequence[DataError], task: Task, rows: Sequence[Row], column_mapping: ColumnMapping
) -> tuple[str, str]:
    """Of rows that could not be read: a line on the reading of offsets that mends them, and its edit; "" if none does.

    Where the first problem is no span's, its own remedy stays: the edit is then "".
    """
    column = column_mapping.columns.get("spans", "")
    if (
        not isinstance(task, OffsetSpanned)
        or "text" not in column_mapping.columns
        or not any(_concerns_column(one, column) for one in problems)
    ):
        return "", ""
    found = find_better_reading(_annotate_rows(rows, column_mapping.columns["text"], column), task.offset_format)
    if found is None:
        return "", ""
    line = (
        f"{found.faults_before:,} of {found.ends:,} span ends lie outside the text, inside words or on white space; "
        f"in {found.reading.name} {found.faults_after:,} do"
    )
    return line, found.reading.build_remedy(task.offset_format) if _concerns_column(problems[0], column) else ""


def _concerns_column(problem: DataError, column: str) -> bool:
    return problem.where.endswith(f": {column}")


def _describe_fix(fix: OffsetFix | None, current: OffsetFormat) -> dict[str, Any] | None:
    if fix is None:
        return None
    reading = fix.reading
    return {
        "options": reading.options,
        "name": reading.name,
        "remedy": reading.build_remedy(current),
        "bad": fix.faults_after,
    }


def _sample_annotated_texts(annotated: Iterable[AnnotatedText]) -> list[AnnotatedText]:
    """Rows with spans, as many as decide."""
    found, spans = [], 0
    for one in annotated:
        if one.spans:
            found.append(one)
            spans += len(one.spans)
        if spans >= MAX_SAMPLE_SPANS:
            break
    return found


def _annotate_rows(rows: Sequence[Row], text_path: str, spans_path: str) -> Iterable[AnnotatedText]:
    for row in rows:
        try:
            text, spans = get_value_at(row, text_path), get_value_at(row, spans_path)
        except DataError:
            continue
        if isinstance(text, str):
            yield AnnotatedText(text, parse_raw_spans(spans), row.origin)


def _annotate_example(task: OffsetSpanned, example: Example) -> AnnotatedText:
    text = task.text(example.input)
    convert = from_characters(text, task.offset_format)
    spans = [
        RawSpan(*convert(start, end), label) for start, end, label in task.spans_of(example.answer or {"spans": ()})
    ]
    return AnnotatedText(text, spans, example.origin)


def _find_boundary_faults(annotated: AnnotatedText, reading: OffsetFormat) -> BoundaryFaults:
    convert = to_characters(annotated.text, reading)
    found: BoundaryFaults = []
    for span in annotated.spans:
        place = convert(span.start, span.end)
        if place is None:
            found += [("outside", None)] * 2
            continue
        start, end = place
        if span.text is None:
            found += [(check_span_start(annotated.text, start), start), (check_span_end(annotated.text, end), end)]
        else:
            verdict = "" if annotated.text[start:end] == span.text else "differs"
            found += [(verdict, start), (verdict, end)]
    return found


def _can_differ(annotated: Sequence[AnnotatedText], reading: OffsetFormat, current: OffsetFormat) -> bool:
    """Whether the reading can differ from `now` in any of these texts."""
    if (reading.end, reading.first) != (current.end, current.first):
        return True
    return any(
        find_first_difference(one.text, unit) < len(one.text)
        for one in annotated
        for unit in (reading.unit, current.unit)
    )


def _is_improvement(before: Sequence[BoundaryFaults], after: Sequence[BoundaryFaults]) -> bool:
    moved = better = worse = rows = 0
    for old, new in zip(before, after, strict=True):
        mended = 0
        for (was, place), (now, other) in zip(old, new, strict=True):
            if (place == other and place is not None) or "?" in (was, now):
                continue
            moved += 1
            mended += was in FAULT_KINDS and not now
            worse += now in FAULT_KINDS and not was
        better += mended
        rows += mended > 0
    spans = sum(len(row) // 2 for row in after)
    left = sum(verdict in FAULT_KINDS[1:] for row in after for verdict, _ in row[::2])
    return (
        rows >= MIN_AGREEING_ROWS
        and better >= MIN_FIXED_SHARE * moved
        and worse <= MAX_SPOILED_RATIO * better
        and left <= MAX_REMAINING_SHARE * spans
    )


def _count_faults(faults: Iterable[BoundaryFaults]) -> int:
    return sum(verdict in FAULT_KINDS for row in faults for verdict, _ in row)


def _list_faulty_spans(
    annotated: AnnotatedText, reading: OffsetFormat
) -> Iterable[tuple[RawSpan, tuple[int, int], str]]:
    """Spans that end inside a word ("start inside a word", "end inside a word", "inside words") or in white space."""
    verdicts = _find_boundary_faults(annotated, reading)
    for span, (first, start), (last, end) in zip(annotated.spans, verdicts[::2], verdicts[1::2], strict=True):
        if start is None or end is None:
            continue
        if "inside" in (first, last):
            kind = "inside words" if first == last else f"{'start' if first == 'inside' else 'end'} inside a word"
            yield span, (start, end), kind
        if "white" in (first, last):
            yield span, (start, end), "white"


def _parse_origin(annotated: AnnotatedText) -> tuple[str, int]:
    """The file and the line, to tell the first by."""
    file, _, line = annotated.origin.rpartition(":")
    return file, int(line) if line.isdecimal() else 0


def _cut_excerpt(text: str, place: tuple[int, int]) -> str:
    return text[place[0] : place[1]][:60]


def warn_of_offsets(found: Mapping[str, Any] | None) -> Iterable[tuple[str, str]]:
    """What is wrong with the offsets, and what to do, from what `inspect_offsets` found; the gravest alone."""
    if found is None or not found["examples"]:
        return
    inside, white, mended = found["inside"], found["white"], found["mended_by"]
    words = f"{inside['count']:,} of {found['ends']:,} span ends lie inside words"
    amount = "all" if white["count"] == found["spans"] else f"{white['count']:,} of {found['spans']:,}"
    spaces = f"{amount} spans start or end in white space"
    both = " and ".join(said for said, one in ((words, inside), (spaces, white)) if one["count"])
    if mended:
        yield f"{both}, {_describe_first(found)}; the offsets count {mended['name']}", mended["remedy"]
        return
    if inside["share"] >= MIN_MISFIT_SHARE and white["share"] >= MIN_MISFIT_SHARE / 2:
        yield (
            f"{both}, {_describe_first(found)}",
            "the offsets do not fit the texts: check whether texts were changed after they were labelled "
            "(line ends, white space, HTML), and export both together",
        )
        return
    if 0 < inside["share"] <= MAX_STRAY_SHARE:
        yield f"{words}, {_describe_first(found)}", "look at these spans (offsets in quality.json) and correct the file"
    if white["count"]:
        yield (
            f"{spaces}, {_describe_first(found, 'white')}",
            "set task: trim: true; else a strict match has to hold that white space too",
        )


def _describe_first(found: Mapping[str, Any], kind: str = "") -> str:
    one = next(one for one in found["examples"] if not kind or one["kind"] == kind)
    return f"first {one['origin']}: {one['text']!r}"
