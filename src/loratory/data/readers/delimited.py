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

from loratory.data.readers.decoding import check_table_size, limit_rows
from loratory.data.rows import Row
from loratory.errors import DataError

Record: TypeAlias = tuple[int, list[str]]  # the line it starts on, its fields
DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
SEPARATOR_LINE = re.compile(r'"?sep=([^\r\n"])"?\r?(?:\n|$)', re.IGNORECASE)  # Excel's own first line
FASTTEXT_LABEL_PREFIX = "__label__"  # fastText
SNIFF_CHARACTERS = 2**20  # characters of a file that are looked at for it
SNIFF_RECORDS = 200  # records that decide what separates the fields
COLUMN_NAME = re.compile(r"[\w .:/()#-]{1,40}")
HEADER_SAMPLE_RECORDS = 2000  # records that decide whether there is a header
MAX_CONTINUED_SHARE = 0.001  # share of lines that may lack their tab


def read_delimited(
    text: str, display_path: str, delimiter: str | None, known_columns: Collection[str]
) -> tuple[list[Row], list[str]]:
    """Rows, and what was guessed; `wanted` are column names that are known beforehand. Raises DataError.

    `delimiter` None: what Excel's first line `sep=;` says, else the one that cuts the first records alike and into the
    most fields, a comma if in doubt.
    """
    said: list[str] = []
    told, guess = SEPARATOR_LINE.match(text), delimiter is None
    if told:
        delimiter, text = told[1], text[told.end() :]
    elif delimiter is None:
        delimiter = detect_delimiter(text)
    if delimiter != "," and (told or guess):
        said.append(f"{display_path}: fields are separated by a {DELIMITERS.get(delimiter, repr(delimiter))}")
    records, more = (
        _read_tab_separated(text, display_path)
        if delimiter == "\t" and not told
        else _read_records(text, display_path, delimiter)
    )
    if told:  # its line counts
        records = [(line + told[0].count("\n"), fields) for line, fields in records]
    records, over = _drop_empty_records(records, display_path)
    if not records:
        raise DataError(
            "the file holds no rows", where=display_path, allowed="at least one row", remedy="check the path"
        )
    check_table_size(len(records), len(records[0][1]), display_path, sum(len(fields) for _, fields in records))
    names, body, guessed = _split_header(records, display_path, known_columns)
    rows = [Row(_map_fields(names, record, display_path), display_path, record[0]) for record in body]
    return rows, [*said, *more, *over, *guessed]


def read_lines(text: str, display_path: str, name: str) -> list[Row]:
    """A row with one column for every line; blank lines hold none."""
    lines = (line.removesuffix("\r") for line in text.split("\n"))
    return [Row({name: line}, display_path, number) for number, line in enumerate(lines, 1) if line.strip()]


def read_fasttext(text: str, display_path: str) -> list[Row]:
    """Rows of fastText's lines: `__label__NAME`, once or more often, and the text. Raises DataError."""
    rows = []
    for number, line in enumerate(text.split("\n"), 1):
        words = line.split()
        if not words:
            continue
        labels = list(itertools.takewhile(lambda word: word.startswith(FASTTEXT_LABEL_PREFIX), words))
        if not labels:
            raise DataError(
                f"the line has no label: {line.strip()[:60]!r}",
                where=f"{display_path}:{number}",
                allowed=f"{FASTTEXT_LABEL_PREFIX}NAME and the text, as fastText reads it",
                remedy="add the label, or remove the line",
            )
        names = [label.removeprefix(FASTTEXT_LABEL_PREFIX) for label in labels]
        rest = line.strip()
        for label in labels:
            rest = rest.removeprefix(label).lstrip()
        rows.append(Row({"text": rest, "label": names[0] if len(names) == 1 else names}, display_path, number))
    return rows


def is_delimited(text: str, delimiter: str) -> bool:
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
def _allow_long_fields() -> Iterator[None]:
    # A field over csv's default of 131,072 characters is refused later, with the limit of the spec.
    before = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def detect_delimiter(text: str) -> str:
    """What separates the fields: what cuts the first records alike and into the most fields, a comma if in doubt."""
    best = max(DELIMITERS, key=lambda delimiter: _score_delimiter(text, delimiter))
    return best if _score_delimiter(text, best) > (0.0, 1) else ","


def _score_delimiter(text: str, delimiter: str) -> tuple[float, int]:
    """The share of the first records that have as many fields as the first one, and that number."""
    with _allow_long_fields():
        try:
            records = csv.reader(io.StringIO(text[:SNIFF_CHARACTERS], newline=""), delimiter=delimiter)
            widths = [len(fields) for fields in itertools.islice(filter(None, records), SNIFF_RECORDS)]
        except csv.Error:
            return 0.0, 1
    if not widths or widths[0] == 1:
        return 0.0, 1
    return round(widths.count(widths[0]) / len(widths), 1), widths[0]


def _read_records(text: str, display_path: str, delimiter: str) -> tuple[list[Record], list[str]]:
    """The records, quotes doubled inside of quotes as RFC 4180 has it; else with a backslash, where all then fit."""
    try:
        return list(limit_rows(_read_quoted(text, display_path, delimiter), display_path)), []
    except DataError:
        escaped = list(_read_backslash_escaped(text, delimiter)) if '\\"' in text else []
        if len({len(fields) for _, fields in escaped}) != 1:
            raise
    return escaped, [f'{display_path}: quotes inside of fields are written \\"']


def _read_backslash_escaped(text: str, delimiter: str) -> Iterator[Record]:
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, doublequote=False, escapechar="\\", strict=True
    )
    line = 1
    with _allow_long_fields(), suppress(csv.Error):
        for fields in reader:
            if fields:
                yield line, fields
            line = reader.line_num + 1


def _drop_empty_records(records: Sequence[Record], display_path: str) -> tuple[list[Record], list[str]]:
    """Records of which a field holds something: Excel writes ;;; for rows that were once used."""
    kept = [record for record in records if any(field.strip() for field in record[1])]
    empty = len(records) - len(kept)
    return kept, [f"{display_path}: {empty} empty row(s) were passed over"] if empty else []


def _read_quoted(text: str, display_path: str, delimiter: str) -> Iterator[Record]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    with _allow_long_fields():
        while True:
            line = reader.line_num + 1
            try:
                fields = next(reader, None)
            except csv.Error as problem:
                raise _make_csv_error(problem, display_path, line, reader.line_num) from problem
            if fields is None:
                return
            if fields:
                yield line, fields


def _make_csv_error(problem: csv.Error, display_path: str, line: int, end_line: int) -> DataError:
    if "end of data" in str(problem):
        what = "a quote is opened here and never closed"
    elif "expected after" in str(problem):
        what = f"a quote is opened here, and text follows where it closes (line {end_line})"
    else:
        what = f"no valid CSV: {problem}"
    return DataError(
        what,
        where=f"{display_path}:{line}",
        remedy="close or double the quotes of the row",
        allowed='fields in "double quotes" with inner quotes doubled: "say ""hi"""',
    )


def _read_tab_separated(text: str, display_path: str) -> tuple[list[Record], list[str]]:
    """Quotes count only when the whole file is consistent with them: many TSV files are written without quoting."""
    if '"' in text:
        try:
            quoted = list(_read_quoted(text, display_path, "\t"))
        except DataError:
            quoted = []
        if len({len(fields) for _, fields in quoted}) == 1:
            return quoted, []
    lines = (line.removesuffix("\r") for line in text.split("\n"))
    return _join_continued_lines(
        [(number, line.split("\t")) for number, line in enumerate(lines, 1) if line.strip()], display_path
    )


def _join_continued_lines(records: Sequence[Record], display_path: str) -> tuple[list[Record], list[str]]:
    """A line without a tab goes on with the text of the line before, where that is as rare as an accident."""
    odd = [line for line, fields in records[1:] if len(fields) == 1]
    if not odd or len(odd) > max(1, MAX_CONTINUED_SHARE * len(records)) or len(records[0][1]) == 1:
        return list(records), []
    joined: list[Record] = []
    for line, fields in records:
        if line in odd:
            joined[-1][1][-1] += "\n" + fields[0]
        else:
            joined.append((line, list(fields)))
    listed = ", ".join(map(str, odd[:5])) + (" ..." if len(odd) > 5 else "")
    return joined, [f"{display_path}: line {listed} has no tab and is read as part of the line before"]


def _split_header(
    records: list[Record], display_path: str, known_columns: Collection[str]
) -> tuple[list[str], list[Record], list[str]]:
    line, first = records[0]
    if not set(first) & set(known_columns) and ("column_1" in known_columns or _is_first_record_data(records)):
        names = [f"column_{position}" for position in range(1, len(first) + 1)]
        return (
            names,
            records,
            [f"{display_path}: the first line is a row, not a header; the columns are called {', '.join(names)}"],
        )
    names = [name.strip() or f"column_{position}" for position, name in enumerate(first, 1)]
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise DataError(
            f"the header names column {twice!r} twice", where=f"{display_path}:{line}", remedy="rename one of them"
        )
    if len(records) == 1:
        raise DataError(
            "the file holds a header and no rows",
            where=f"{display_path}:{line}",
            allowed="at least one row",
            remedy="check the path",
        )
    body = [record for record in records[1:] if record[1] != first]
    repeated = len(records) - 1 - len(body)
    return (
        names,
        body,
        [f"{display_path}: {repeated} line(s) that repeat the header were passed over"] if repeated else [],
    )


def _is_first_record_data(records: Sequence[Record]) -> bool:
    """Whether the first record is a row: one of its values recurs in its own column, as a label does.

    A first field that looks like a name where the others are sentences is a header all the same, and so are 0, 1, 2 ...
    """
    first, others = records[0][1], [fields for _, fields in records[1:HEADER_SAMPLE_RECORDS]]
    others = [fields for fields in others if len(fields) == len(first) and fields != first]
    if len(first) < 2 or not others or first == [str(position) for position in range(len(first))]:
        return False
    recurs = any(name.strip() and any(fields[at] == name for fields in others) for at, name in enumerate(first))
    longest = max(range(len(first)), key=lambda at: sum(len(fields[at]) for fields in others))
    sentences = sum(len(fields[longest].split()) > 3 for fields in others) > len(others) / 2
    named = COLUMN_NAME.fullmatch(first[longest]) is not None and len(first[longest].split()) <= 3
    return recurs and not (sentences and named)


def _map_fields(names: Sequence[str], record: Record, display_path: str) -> dict[str, str]:
    line, fields = record
    while len(fields) > len(names) and not fields[-1].strip():  # a separator at the end of the row
        fields = fields[:-1]
    if len(fields) != len(names):
        many = len(fields) > len(names)
        raise DataError(
            f"the row has {len(fields)} field(s), the header {len(names)}",
            where=f"{display_path}:{line}",
            allowed=", ".join(names),
            remedy="put a text that holds the separator in double quotes" if many else "add the missing fields",
        )
    return dict(zip(names, fields, strict=True))
