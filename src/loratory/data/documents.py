"""JSON: an array of rows, JSON lines, and the objects that tools wrap their rows in."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

from loratory.data.annotations import spacy
from loratory.data.content import at_most, check_table, check_values
from loratory.data.folders import PARTS
from loratory.data.rows import Row
from loratory.errors import DataError
from loratory.protocols import JSON

SPACE = re.compile(r"[ \t\n\r]*")
HALF_PAIR = re.compile(r"\\u[dD][89a-fA-F]")
WORDS = ("tokens", "words", "tags", "ner_tags", "labels")
MENDING = "the file is a JSON array of objects, or one JSON object on each line"
LIST_NAMES = (  # what an object around the rows calls their list
    *("data", "rows", "examples", "records", "items", "samples", "instances", "documents", "dataset", "results"),
    *("common_examples", "entries", "annotations"),
)


@dataclass(frozen=True)
class Document:
    """The rows of a JSON file, by part where the file itself has parts ("" where it has none), and what was said."""

    parts: Mapping[str, list[Row]]
    said: tuple[str, ...] = ()


class _Value(NamedTuple):
    """A value of the file, and the offset that it starts at; a tuple, since there are millions of them."""

    value: JSON
    start: int


def read_document(text: str, shown: str) -> Document:
    """Rows of a JSON array, of JSON lines, or of one object around a list of rows. Raises DataError."""
    check_values(text, shown)
    if text.lstrip().startswith("[") and not _is_lists(text):
        return Document({"": _rows(text, shown, list(at_most(_refuse(_array(text, shown), text, shown), shown)))})
    try:
        found = list(at_most(_lines(text, shown), shown))
    except DataError:
        if (document := _object(text, shown)) is not None:
            return document
        raise
    wrapped = _object(text, shown) if len(found) == 1 else None
    return wrapped or Document({"": _rows(text, shown, found)})


def _is_lists(text: str) -> bool:
    """Whether every line is a list of its own: ["a text", "its label"]."""
    lines = [line for line in text.split("\n", 10)[:10] if line.strip()]
    try:
        first = json.loads(lines[0])
    except (ValueError, RecursionError):
        return False
    plain = isinstance(first, list) and len(first) > 1 and not isinstance(first[0], (list, Mapping))
    return plain and len(lines) > 1 and all(line.lstrip().startswith("[") for line in lines)


def _decoder() -> json.JSONDecoder:
    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is no JSON (write null where a number is missing)")

    return json.JSONDecoder(parse_constant=refuse)


def _lines(text: str, shown: str) -> Iterator[_Value]:
    decoder, start, half = _decoder(), 0, _find_half(text)
    # Only "\n" ends a line: str.splitlines would also cut at U+2028 and U+0085 inside a text.
    lines, counted = text.split("\n"), False
    for line, raw in enumerate(lines, 1):
        if raw.strip():
            try:
                value = decoder.decode(raw)
            except (ValueError, RecursionError) as problem:
                if raw.strip() != text.strip() and _is_document(text):
                    raise _no_list(shown) from problem
                raise _broken(problem, shown, line) from problem
            if start + len(raw) > half and HALF_PAIR.search(raw):
                _check(value, shown, line)
            if not counted:  # too many rows are refused before they are decoded
                check_table(sum(1 for one in lines if one and not one.isspace()), 1, shown)
                counted = True
            yield _Value(value, start)
        start += len(raw) + 1


def _no_list(shown: str) -> DataError:
    return DataError(
        "the JSON is one object, no list of rows",
        where=f"{shown}:1",
        allowed=f"{MENDING}; or one object with a list of rows under {', '.join(LIST_NAMES[:4])}, ..., or with train "
        "and test",
        remedy="save the list that is inside it as a file of its own",
    )


def _is_document(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _array(text: str, shown: str) -> Generator[_Value]:
    """The elements of the array that the text is."""
    closing = yield from _elements(text, _skip(text, 0), shown)
    if text[closing + 1 :].strip():
        raise _broken_at("something follows the closing bracket", text, _skip(text, closing + 1), shown)


def _elements(text: str, at: int, shown: str) -> Generator[_Value, None, int]:
    """The elements of the array at `at`; returns the offset of its closing bracket."""
    # Element by element, for the line that each begins on: json.loads would not tell it.
    decoder, at, half = _decoder(), _skip(text, at + 1), _find_half(text)
    while text[at : at + 1] != "]":
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as problem:
            raise _broken(problem, shown, _line(text, at)) from problem
        if end > half and HALF_PAIR.search(text, at, end):
            _check(value, shown, _line(text, at))
        yield _Value(value, at)
        at = _skip(text, end)
        if text[at : at + 1] == ",":
            at = _skip(text, at + 1)
            if text[at : at + 1] == "]":
                raise _broken_at("a comma before the closing bracket", text, at, shown)
        elif text[at : at + 1] != "]":
            raise _broken_at("a comma or the closing bracket is missing", text, at, shown)
    return at


def _members(text: str, at: int) -> dict[str, int]:
    """The keys of the object at `at`, which is valid JSON, with the offsets of their values."""
    decoder, found, at = _decoder(), {}, _skip(text, at + 1)
    while text[at] != "}":
        key, end = decoder.raw_decode(text, at)
        start = _skip(text, _skip(text, end) + 1)  # behind the colon
        found[key] = start
        at = _skip(text, decoder.raw_decode(text, start)[1])
        at = _skip(text, at + 1) if text[at] == "," else at
    return found


def _refuse(values: Iterator[_Value], text: str, shown: str) -> Iterator[_Value]:
    """The same values; raises DataError at the first that can be no row, before millions of them are held."""
    for one in values:
        if not isinstance(one.value, dict) and not (isinstance(one.value, list) and len(one.value) > 1):
            raise _no_row(one.value, shown, _line(text, one.start))
        yield one


def _find_half(text: str) -> int:
    """Where a surrogate is first written as an escape; the end of the text where none is."""
    found = HALF_PAIR.search(text)
    return found.start() if found else len(text)


def _skip(text: str, at: int) -> int:
    if text[at : at + 1] not in (" ", "\t", "\n", "\r"):
        return at
    match = SPACE.match(text, at)
    return match.end() if match else at


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


# -- one object around the rows
def _object(text: str, shown: str) -> Document | None:
    """The rows inside of one object, or None where it holds no list of them."""
    try:
        value = _decoder().decode(text)
    except (ValueError, RecursionError):
        return None
    at = _skip(text, 0)
    while isinstance(value, Mapping) and (key := _inner(value)) is not None:  # {"rasa_nlu_data": {...}}
        value, at = value[key], _members(text, at)[key]
    if not isinstance(value, Mapping):
        return None
    if parts := _part_keys(value):
        places = _members(text, at)
        rows = {PARTS[key.casefold()]: _rows(text, shown, list(_elements(text, places[key], shown))) for key in parts}
        over = [key for key in value if key not in parts]
        said = (f"{shown}: {', '.join(over)} {'is' if len(over) == 1 else 'are'} not read",) if over else ()
        return Document(rows, said)
    if spacy.entries(value) is not None:  # of the NER annotator, null where a text was left out
        elements = list(_elements(text, _members(text, at)["annotations"], shown))
        kept = [one for one in elements if one.value is not None]
        empty = f"{shown}: {len(elements) - len(kept)} of {len(elements)} texts are null and are left out"
        return Document({"": _rows(text, shown, kept)}, (empty,) if len(kept) < len(elements) else ())
    if (key := _list_key(value)) is not None:
        elements = list(_elements(text, _members(text, at)[key], shown))
        return Document({"": _rows(text, shown, elements)}, (f"{shown}: the rows are the list under {key!r}",))
    if _is_split(value):
        value = {name: [row[i] for row in value["data"]] for i, name in enumerate(value["columns"])}
    if _is_columns(value):
        said = (f"{shown}: the file holds a list for each column; a row's place is its number",)
        return Document({"": _rows_of_columns(value, shown)}, said)
    return None


def _inner(value: Mapping[str, JSON]) -> str | None:
    """The only key, where it holds an object of lists."""
    only = next(iter(value)) if len(value) == 1 else None
    inner = value[only] if only is not None else None
    return only if isinstance(inner, Mapping) and any(isinstance(one, list) for one in inner.values()) else None


def _part_keys(value: Mapping[str, JSON]) -> list[str]:
    """Keys that name a part and hold rows, where there is train among them."""
    keys = [key for key, rows in value.items() if key.casefold() in PARTS and _is_rows(rows)]
    parts = [PARTS[key.casefold()] for key in keys]
    return keys if "train" in parts and len(set(parts)) == len(parts) else []


def _list_key(value: Mapping[str, JSON]) -> str | None:
    """The key of the rows, where no other key holds rows too."""
    holding = [key for key, rows in value.items() if _is_rows(rows)]
    return holding[0] if len(holding) == 1 and holding[0].casefold() in LIST_NAMES and not _is_split(value) else None


def _is_rows(value: JSON) -> bool:
    """Whether a value is a list of objects, or of lists that are alike."""
    if not isinstance(value, list) or not value:
        return False
    first = value[:50]
    return all(isinstance(row, Mapping) for row in first) or all(isinstance(row, list) and row for row in first)


def _is_split(value: Mapping[str, JSON]) -> bool:
    """Whether pandas wrote it: to_json(orient="split")."""
    columns, data = value.get("columns"), value.get("data")
    names = isinstance(columns, list) and all(isinstance(name, str) for name in columns)
    alike = isinstance(data, list) and all(isinstance(row, list) and len(row) == len(columns or ()) for row in data)
    return names and alike and value.keys() <= {"columns", "index", "data"}


def _is_columns(value: Mapping[str, JSON]) -> bool:
    """Whether it holds a list or a mapping of row numbers for each of at least two columns: pandas' to_json."""
    columns = list(value.values())
    if len(columns) < 2 or not all(isinstance(column, type(columns[0])) and column for column in columns):
        return False
    if isinstance(columns[0], list):
        plain = all(not isinstance(one, (Mapping, list)) for column in columns for one in column)
        words = any(key.casefold() in WORDS for key in value)  # one row of words and their tags looks the same
        return len({len(column) for column in columns}) == 1 and plain and not words and len(columns[0]) > 1
    return isinstance(columns[0], Mapping) and all(
        column.keys() == columns[0].keys() and all(str(key).isdecimal() for key in column) for column in columns
    )


def _rows_of_columns(value: Mapping[str, Any], shown: str) -> list[Row]:
    lists = [list(column.values()) if isinstance(column, Mapping) else column for column in value.values()]
    return [
        Row(dict(zip(value, row, strict=True)), shown, number) for number, row in enumerate(zip(*lists, strict=True), 1)
    ]


# -- rows
def _rows(text: str, shown: str, found: Sequence[_Value]) -> list[Row]:
    """Rows with their lines, and with their columns where several stand on one line."""
    keys = {key for one in found if isinstance(one.value, dict) for key in one.value}
    check_table(len(found), max(1, len(keys)), shown, 0)
    starts, line, before, begins = [], 1, 0, 0  # `begins`: the offset of the line
    for one in found:
        line += text.count("\n", before, one.start)
        begins, before = max(begins, text.rfind("\n", before, one.start) + 1), one.start
        starts.append((line, one.start - begins + 1))
    many = Counter(line for line, _ in starts)
    lists = all(isinstance(one.value, list) for one in found)
    rows = []
    for one, (line, column) in zip(found, starts, strict=True):
        values = _of_list(one.value, found[0].value) if lists else one.value
        if not isinstance(values, Mapping):
            raise _no_row(one.value, shown, line)
        rows.append(Row(values, shown, line, column if many[line] > 1 else None))
    return rows


def _of_list(value: list[Any], first: list[Any]) -> dict[str, JSON] | None:
    """A row that is a list: spaCy's text and its marks, or plain values, whose columns are called by their numbers."""
    if (pair := spacy.pair_row(value)) is not None:
        return pair
    plain = all(not isinstance(one, (list, Mapping)) for one in value)
    if not plain or len(value) < 2 or len(value) != len(first):
        return None
    return {f"column_{number}": one for number, one in enumerate(value, 1)}


def _no_row(value: JSON, shown: str, line: int) -> DataError:
    return DataError(
        f"expected an object, found {json.dumps(value, ensure_ascii=False)[:60]}",
        where=f"{shown}:{line}",
        allowed=MENDING,
        remedy='write {"text": ..., "label": ...} for each row',
    )


def _broken_at(what: str, text: str, at: int, shown: str) -> DataError:
    return _broken(json.JSONDecodeError(what, text, at), shown, _line(text, at))


def _broken(problem: Exception, shown: str, line: int) -> DataError:
    if isinstance(problem, json.JSONDecodeError):
        line = problem.lineno if "\n" in problem.doc else line
        what = f"at column {problem.colno}: {problem.msg}"
    else:
        what = "it is nested too deeply" if isinstance(problem, RecursionError) else str(problem)
    return DataError(f"broken JSON, {what}", where=f"{shown}:{line}", allowed=MENDING, remedy="mend or remove the line")


def _check(value: JSON, shown: str, line: int) -> None:
    """Refuse half a surrogate pair, which JSON can write but no UTF-8 file can hold."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as problem:
        raise DataError(
            "the JSON holds half of a surrogate pair (\\ud800 to \\udfff), which is no character",
            where=f"{shown}:{line}",
            remedy="remove it, or write the character itself",
        ) from problem
