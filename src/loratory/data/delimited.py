"""CSV and TSV, with or without a header, and plain lines."""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TypeAlias

from loratory.data.content import at_most, check_table
from loratory.data.rows import Row
from loratory.errors import DataError

Record: TypeAlias = tuple[int, list[str]]  # the line it starts on, its fields
DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
SEPARATOR = re.compile(r'"?sep=([^\r\n"])"?\r?(?:\n|$)', re.IGNORECASE)  # Excel's own first line
LABEL = "__label__"  # fastText
BEGINNING = 2**20  # characters of a file that are looked at for it
SNIFFED = 200  # records that decide what separates the fields
NAME = re.compile(r"[\w .:/()#-]{1,40}")
LOOKED_AT = 2000  # records that decide whether there is a header
ODD = 0.001  # share of lines that may lack their tab


def read_delimited(
    text: str, shown: str, delimiter: str | None, wanted: Collection[str]
) -> tuple[list[Row], list[str]]:
    """Rows, and what was guessed; `wanted` are column names that are known beforehand. Raises DataError.

    `delimiter` None: what Excel's first line `sep=;` says, else the one that cuts the first records alike and into the
    most fields, a comma if in doubt.
    """
    said: list[str] = []
    told, guess = SEPARATOR.match(text), delimiter is None
    if told:
        delimiter, text = told[1], text[told.end() :]
    elif delimiter is None:
        delimiter = sniff(text)
    if delimiter != "," and (told or guess):
        said.append(f"{shown}: fields are separated by a {DELIMITERS.get(delimiter, repr(delimiter))}")
    records, more = _tabbed(text, shown) if delimiter == "\t" and not told else _records(text, shown, delimiter)
    if told:  # its line counts
        records = [(line + told[0].count("\n"), fields) for line, fields in records]
    records, over = _without_empty(records, shown)
    if not records:
        raise DataError("the file holds no rows", where=shown, allowed="at least one row", remedy="check the path")
    check_table(len(records), len(records[0][1]), shown, sum(len(fields) for _, fields in records))
    names, body, guessed = _header(records, shown, wanted)
    rows = [Row(_fields(names, record, shown), shown, record[0]) for record in body]
    return rows, [*said, *more, *over, *guessed]


def read_lines(text: str, shown: str, name: str) -> list[Row]:
    """A row with one column for every line; blank lines hold none."""
    lines = (line.removesuffix("\r") for line in text.split("\n"))
    return [Row({name: line}, shown, number) for number, line in enumerate(lines, 1) if line.strip()]


def read_fasttext(text: str, shown: str) -> list[Row]:
    """Rows of fastText's lines: `__label__NAME`, once or more often, and the text. Raises DataError."""
    rows = []
    for number, line in enumerate(text.split("\n"), 1):
        words = line.split()
        if not words:
            continue
        labels = list(itertools.takewhile(lambda word: word.startswith(LABEL), words))
        if not labels:
            raise DataError(
                f"the line has no label: {line.strip()[:60]!r}",
                where=f"{shown}:{number}",
                allowed=f"{LABEL}NAME and the text, as fastText reads it",
                remedy="add the label, or remove the line",
            )
        names = [label.removeprefix(LABEL) for label in labels]
        rest = line.strip()
        for label in labels:
            rest = rest.removeprefix(label).lstrip()
        rows.append(Row({"text": rest, "label": names[0] if len(names) == 1 else names}, shown, number))
    return rows


def is_table(text: str, delimiter: str) -> bool:
    """Whether the first lines have this delimiter: a comma equally often, a tab on nearly all of them."""
    lines = [line for line in text.split("\n", 41)[:40] if line.strip()]
    if delimiter == "\t":
        return sum(delimiter in line for line in lines) >= 0.9 * len(lines)
    try:
        widths = {len(fields) for fields in csv.reader(lines, delimiter=delimiter, strict=True)}
    except csv.Error:
        return False
    return len(widths) == 1 and widths.pop() > 1


@contextmanager
def _any_length() -> Iterator[None]:
    # A field over csv's default of 131,072 characters is refused later, with the limit of the spec.
    before = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def sniff(text: str) -> str:
    """What separates the fields: what cuts the first records alike and into the most fields, a comma if in doubt."""
    best = max(DELIMITERS, key=lambda delimiter: _evenness(text, delimiter))
    return best if _evenness(text, best) > (0.0, 1) else ","


def _evenness(text: str, delimiter: str) -> tuple[float, int]:
    """The share of the first records that have as many fields as the first one, and that number."""
    with _any_length():
        try:
            records = csv.reader(io.StringIO(text[:BEGINNING], newline=""), delimiter=delimiter)
            widths = [len(fields) for fields in itertools.islice(filter(None, records), SNIFFED)]
        except csv.Error:
            return 0.0, 1
    if not widths or widths[0] == 1:
        return 0.0, 1
    return round(widths.count(widths[0]) / len(widths), 1), widths[0]


def _records(text: str, shown: str, delimiter: str) -> tuple[list[Record], list[str]]:
    """The records, quotes doubled inside of quotes as RFC 4180 has it; else with a backslash, where all then fit."""
    try:
        return list(at_most(_quoted(text, shown, delimiter), shown)), []
    except DataError:
        escaped = list(_escaped(text, delimiter)) if '\\"' in text else []
        if len({len(fields) for _, fields in escaped}) != 1:
            raise
    return escaped, [f'{shown}: quotes inside of fields are written \\"']


def _escaped(text: str, delimiter: str) -> Iterator[Record]:
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, doublequote=False, escapechar="\\", strict=True
    )
    line = 1
    with _any_length(), suppress(csv.Error):
        for fields in reader:
            if fields:
                yield line, fields
            line = reader.line_num + 1


def _without_empty(records: Sequence[Record], shown: str) -> tuple[list[Record], list[str]]:
    """Records of which a field holds something: Excel writes ;;; for rows that were once used."""
    kept = [record for record in records if any(field.strip() for field in record[1])]
    empty = len(records) - len(kept)
    return kept, [f"{shown}: {empty} empty row(s) were passed over"] if empty else []


def _quoted(text: str, shown: str, delimiter: str) -> Iterator[Record]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    with _any_length():
        while True:
            line = reader.line_num + 1
            try:
                fields = next(reader, None)
            except csv.Error as problem:
                raise _unreadable(problem, shown, line, reader.line_num) from problem
            if fields is None:
                return
            if fields:
                yield line, fields


def _unreadable(problem: csv.Error, shown: str, line: int, reached: int) -> DataError:
    if "end of data" in str(problem):
        what = "a quote is opened here and never closed"
    elif "expected after" in str(problem):
        what = f"a quote is opened here, and text follows where it closes (line {reached})"
    else:
        what = f"no valid CSV: {problem}"
    return DataError(
        what,
        where=f"{shown}:{line}",
        remedy="close or double the quotes of the row",
        allowed='fields in "double quotes" with inner quotes doubled: "say ""hi"""',
    )


def _tabbed(text: str, shown: str) -> tuple[list[Record], list[str]]:
    """Quotes count only when the whole file is consistent with them: many TSV files are written without quoting."""
    if '"' in text:
        try:
            quoted = list(_quoted(text, shown, "\t"))
        except DataError:
            quoted = []
        if len({len(fields) for _, fields in quoted}) == 1:
            return quoted, []
    lines = (line.removesuffix("\r") for line in text.split("\n"))
    return _continued([(number, line.split("\t")) for number, line in enumerate(lines, 1) if line.strip()], shown)


def _continued(records: Sequence[Record], shown: str) -> tuple[list[Record], list[str]]:
    """A line without a tab goes on with the text of the line before, where that is as rare as an accident."""
    odd = [line for line, fields in records[1:] if len(fields) == 1]
    if not odd or len(odd) > max(1, ODD * len(records)) or len(records[0][1]) == 1:
        return list(records), []
    joined: list[Record] = []
    for line, fields in records:
        if line in odd:
            joined[-1][1][-1] += "\n" + fields[0]
        else:
            joined.append((line, list(fields)))
    listed = ", ".join(map(str, odd[:5])) + (" ..." if len(odd) > 5 else "")
    return joined, [f"{shown}: line {listed} has no tab and is read as part of the line before"]


def _header(records: list[Record], shown: str, wanted: Collection[str]) -> tuple[list[str], list[Record], list[str]]:
    line, first = records[0]
    if not set(first) & set(wanted) and ("column_1" in wanted or _is_data(records)):
        names = [f"column_{position}" for position in range(1, len(first) + 1)]
        return (
            names,
            records,
            [f"{shown}: the first line is a row, not a header; the columns are called {', '.join(names)}"],
        )
    names = [name.strip() or f"column_{position}" for position, name in enumerate(first, 1)]
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise DataError(
            f"the header names column {twice!r} twice", where=f"{shown}:{line}", remedy="rename one of them"
        )
    if len(records) == 1:
        raise DataError(
            "the file holds a header and no rows",
            where=f"{shown}:{line}",
            allowed="at least one row",
            remedy="check the path",
        )
    body = [record for record in records[1:] if record[1] != first]
    repeated = len(records) - 1 - len(body)
    return names, body, [f"{shown}: {repeated} line(s) that repeat the header were passed over"] if repeated else []


def _is_data(records: Sequence[Record]) -> bool:
    """Whether the first record is a row: one of its values recurs in its own column, as a label does.

    A first field that looks like a name where the others are sentences is a header all the same, and so are 0, 1, 2 ...
    """
    first, others = records[0][1], [fields for _, fields in records[1:LOOKED_AT]]
    others = [fields for fields in others if len(fields) == len(first) and fields != first]
    if len(first) < 2 or not others or first == [str(position) for position in range(len(first))]:
        return False
    recurs = any(name.strip() and any(fields[at] == name for fields in others) for at, name in enumerate(first))
    longest = max(range(len(first)), key=lambda at: sum(len(fields[at]) for fields in others))
    sentences = sum(len(fields[longest].split()) > 3 for fields in others) > len(others) / 2
    named = NAME.fullmatch(first[longest]) is not None and len(first[longest].split()) <= 3
    return recurs and not (sentences and named)


def _fields(names: Sequence[str], record: Record, shown: str) -> dict[str, str]:
    line, fields = record
    while len(fields) > len(names) and not fields[-1].strip():  # a separator at the end of the row
        fields = fields[:-1]
    if len(fields) != len(names):
        many = len(fields) > len(names)
        raise DataError(
            f"the row has {len(fields)} field(s), the header {len(names)}",
            where=f"{shown}:{line}",
            allowed=", ".join(names),
            remedy="put a text that holds the separator in double quotes" if many else "add the missing fields",
        )
    return dict(zip(names, fields, strict=True))
