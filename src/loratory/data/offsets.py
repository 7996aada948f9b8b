"""What offsets of spans count: found by where the ends of spans lie under each reading of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loratory.data.columns import Matching, pick
from loratory.data.rows import Row
from loratory.errors import DataError
from loratory.measures.offsets import Reading, differs, from_characters, judge_end, judge_start, to_characters
from loratory.protocols import Example, Task
from loratory.tasks.tag import READINGS, RawSpan, Tag, raw_spans

SHOWN = 5
ENOUGH = 20_000  # spans that decide
MOST = 0.5  # share of the ends that another reading moves, which it has to mend
WORSE = 0.1  # ends that it spoils for each one that it mends, at most
LEFT = 0.1  # share of spans that may then still lie outside, say another text or start with white space
ROWS = 2  # rows that agree: one alone may be a slip
MISFIT = 0.2  # share of ends inside words from which, with white space too, offsets are of another text
STRAY = 0.02  # up to this share they are slips; beyond it spans are meant to end there (sub-word annotations)
BAD = ("inside", "white", "outside", "differs")
Verdicts = list[tuple[str, int | None]]  # of each end, starts and ends in turn: what is wrong, and its character


@dataclass(frozen=True)
class Marked:
    """A text and the spans as the file has them; `origin` is file:line."""

    text: str
    spans: Sequence[RawSpan]
    origin: str = ""


@dataclass(frozen=True)
class Mended:
    """Another reading, how many ends were bad (inside words, on white space, outside) before, and how many are then."""

    reading: Reading
    before: int
    after: int
    ends: int


def detect_offset_unit(rows: Sequence[Row], text_path: str, spans_path: str) -> Reading:
    """How the offsets of raw rows are to be read; `Reading()`, characters, where nothing speaks for another one.

    `reading.options` are the keys under `task:` ({"offsets": "utf-16"}), and `reading.name` says it in words.
    """
    found = find_reading(_of_rows(rows, text_path, spans_path), Reading())
    return found.reading if found else Reading()


def find_reading(marked: Iterable[Marked], now: Reading) -> Mended | None:
    """The reading that mends offsets which are read as `now`, if one does.

    Only ends that a reading moves can tell, and not those in scripts without spaces. It has to mend half of them, in 2
    rows at least, and to spoil at most one for ten that it mends. Sub-word spans, a suffix behind a name and single
    slips do not meet this: what is right under `now` another reading spoils.
    """
    looked_at = _first_of(marked)
    before = [_verdicts(one, now) for one in looked_at]
    if not any(verdict in BAD for row in before for verdict, _ in row):
        return None
    found = []
    for reading in (Reading(), *READINGS):
        if reading != now and _tells(looked_at, reading, now):
            after = [_verdicts(one, reading) for one in looked_at]
            if _mends(before, after):
                found.append(Mended(reading, _bad(before), _bad(after), sum(map(len, before))))
    return min(found, key=lambda one: one.after, default=None)


def inspect_offsets(task: Task, examples: Iterable[Example]) -> dict[str, Any] | None:
    """Where the ends of spans lie, as the quality report has it; None for tasks without offsets, or without spans.

    {"reading", "spans", "ends", "inside": {"count", "share", "first"}, "white": {"count", "share", "first"} (spans that
    start or end with it), "mended_by": {"options", "name", "remedy", "bad"} or None, "examples"}.
    """
    if not isinstance(task, Tag):
        return None
    marked = sorted((_of_example(task, one) for one in examples), key=_place)
    spans = sum(len(one.spans) for one in marked)
    if not spans:
        return None
    found = [
        {"origin": one.origin, "kind": kind, "start": span.start, "end": span.end, "text": _shown(one.text, place)}
        for one in marked
        for span, place, kind in _faults(one, task.reading)
    ]
    inside = [one for one in found if one["kind"] != "white"]
    ends = sum(2 if one["kind"] == "inside words" else 1 for one in inside)
    white = [one for one in found if one["kind"] == "white"]
    mended = find_reading(marked, task.reading) if found else None
    return {
        "reading": task.reading.name,
        "spans": spans,
        "ends": 2 * spans,
        "inside": {"count": ends, "share": ends / (2 * spans), "first": inside[0]["origin"] if inside else None},
        "white": {"count": len(white), "share": len(white) / spans, "first": white[0]["origin"] if white else None},
        "mended_by": _told(mended, task.reading),
        "examples": [*inside[:SHOWN], *white[:SHOWN]],
    }


def explain(problems: Sequence[DataError], task: Task, rows: Sequence[Row], matching: Matching) -> tuple[str, str]:
    """Of rows that could not be read: a line on the reading of offsets that mends them, and its edit; "" if none does.

    Where the first problem is no span's, its own remedy stays: the edit is then "".
    """
    column = matching.columns.get("spans", "")
    if not isinstance(task, Tag) or "text" not in matching.columns or not any(_is_of(one, column) for one in problems):
        return "", ""
    found = find_reading(_of_rows(rows, matching.columns["text"], column), task.reading)
    if found is None:
        return "", ""
    line = (
        f"{found.before:,} of {found.ends:,} span ends lie outside the text, inside words or on white space; "
        f"in {found.reading.name} {found.after:,} do"
    )
    return line, found.reading.remedy(task.reading) if _is_of(problems[0], column) else ""


def _is_of(problem: DataError, column: str) -> bool:
    return problem.where.endswith(f": {column}")


def _told(mended: Mended | None, now: Reading) -> dict[str, Any] | None:
    if mended is None:
        return None
    reading = mended.reading
    return {
        "options": reading.options,
        "name": reading.name,
        "remedy": reading.remedy(now),
        "bad": mended.after,
    }


def _first_of(marked: Iterable[Marked]) -> list[Marked]:
    """Rows with spans, as many as decide."""
    found, spans = [], 0
    for one in marked:
        if one.spans:
            found.append(one)
            spans += len(one.spans)
        if spans >= ENOUGH:
            break
    return found


def _of_rows(rows: Sequence[Row], text_path: str, spans_path: str) -> Iterable[Marked]:
    for row in rows:
        try:
            text, spans = pick(row, text_path), pick(row, spans_path)
        except DataError:
            continue
        if isinstance(text, str):
            yield Marked(text, raw_spans(spans), row.place)


def _of_example(task: Tag, example: Example) -> Marked:
    text = task.text(example.input)
    convert = from_characters(text, task.reading)
    spans = [
        RawSpan(*convert(start, end), label) for start, end, label in task.spans_of(example.answer or {"spans": ()})
    ]
    return Marked(text, spans, example.origin)


def _verdicts(one: Marked, reading: Reading) -> Verdicts:
    convert = to_characters(one.text, reading)
    found: Verdicts = []
    for span in one.spans:
        place = convert(span.start, span.end)
        if place is None:
            found += [("outside", None)] * 2
            continue
        start, end = place
        if span.said is None:
            found += [(judge_start(one.text, start), start), (judge_end(one.text, end), end)]
        else:
            verdict = "" if one.text[start:end] == span.said else "differs"
            found += [(verdict, start), (verdict, end)]
    return found


def _tells(marked: Sequence[Marked], reading: Reading, now: Reading) -> bool:
    """Whether the reading can differ from `now` in any of these texts."""
    if (reading.end, reading.first) != (now.end, now.first):
        return True
    return any(differs(one.text, unit) < len(one.text) for one in marked for unit in (reading.unit, now.unit))


def _mends(before: Sequence[Verdicts], after: Sequence[Verdicts]) -> bool:
    moved = better = worse = rows = 0
    for old, new in zip(before, after, strict=True):
        mended = 0
        for (was, place), (now, other) in zip(old, new, strict=True):
            if (place == other and place is not None) or "?" in (was, now):
                continue
            moved += 1
            mended += was in BAD and not now
            worse += now in BAD and not was
        better += mended
        rows += mended > 0
    spans = sum(len(row) // 2 for row in after)
    left = sum(verdict in BAD[1:] for row in after for verdict, _ in row[::2])
    return rows >= ROWS and better >= MOST * moved and worse <= WORSE * better and left <= LEFT * spans


def _bad(verdicts: Iterable[Verdicts]) -> int:
    return sum(verdict in BAD for row in verdicts for verdict, _ in row)


def _faults(one: Marked, reading: Reading) -> Iterable[tuple[RawSpan, tuple[int, int], str]]:
    """Spans that end inside a word ("start inside a word", "end inside a word", "inside words") or in white space."""
    verdicts = _verdicts(one, reading)
    for span, (first, start), (last, end) in zip(one.spans, verdicts[::2], verdicts[1::2], strict=True):
        if start is None or end is None:
            continue
        if "inside" in (first, last):
            kind = "inside words" if first == last else f"{'start' if first == 'inside' else 'end'} inside a word"
            yield span, (start, end), kind
        if "white" in (first, last):
            yield span, (start, end), "white"


def _place(one: Marked) -> tuple[str, int]:
    """The file and the line, to tell the first by."""
    file, _, line = one.origin.rpartition(":")
    return file, int(line) if line.isdecimal() else 0


def _shown(text: str, place: tuple[int, int]) -> str:
    return text[place[0] : place[1]][:60]


def warn(found: Mapping[str, Any] | None) -> Iterable[tuple[str, str]]:
    """What is wrong with the offsets, and what to do, from what `inspect_offsets` found; the gravest alone."""
    if found is None or not found["examples"]:
        return
    inside, white, mended = found["inside"], found["white"], found["mended_by"]
    words = f"{inside['count']:,} of {found['ends']:,} span ends lie inside words"
    amount = "all" if white["count"] == found["spans"] else f"{white['count']:,} of {found['spans']:,}"
    spaces = f"{amount} spans start or end in white space"
    both = " and ".join(said for said, one in ((words, inside), (spaces, white)) if one["count"])
    if mended:
        yield f"{both}, {_first(found)}; the offsets count {mended['name']}", mended["remedy"]
        return
    if inside["share"] >= MISFIT and white["share"] >= MISFIT / 2:
        yield (
            f"{both}, {_first(found)}",
            "the offsets do not fit the texts: check whether texts were changed after they were labelled "
            "(line ends, white space, HTML), and export both together",
        )
        return
    if 0 < inside["share"] <= STRAY:
        yield f"{words}, {_first(found)}", "look at these spans (offsets in quality.json) and correct the file"
    if white["count"]:
        yield (
            f"{spaces}, {_first(found, 'white')}",
            "set task: trim: true; else a strict match has to hold that white space too",
        )


def _first(found: Mapping[str, Any], kind: str = "") -> str:
    one = next(one for one in found["examples"] if not kind or one["kind"] == kind)
    return f"first {one['origin']}: {one['text']!r}"
