"""JSON: an array of rows, JSON lines, and the objects that tools wrap their rows in."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

from loratory.data.readers.annotations import spacy
from loratory.data.readers.decoding import check_json_value_count, check_table_size, limit_rows
from loratory.data.readers.folders import PART_NAMES
from loratory.data.rows import Row
from loratory.errors import DataError
from loratory.protocols import JSON

WHITESPACE = re.compile(r"[ \t\n\r]*")
SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
TOKEN_COLUMNS = ("tokens", "words", "tags", "ner_tags", "labels")
EXPECTED_FORMAT = "the file is a JSON array of objects, or one JSON object on each line"
LIST_KEYS = (  # what an object around the rows calls their list
    *("data", "rows", "examples", "records", "items", "samples", "instances", "documents", "dataset", "results"),
    *("common_examples", "entries", "annotations"),
)


@dataclass(frozen=True)
class JsonDocument:
    """The rows of a JSON file, by part where the file itself has parts ("" where it has none), and what was said."""

    parts: Mapping[str, list[Row]]
    messages: tuple[str, ...] = ()


class _PositionedValue(NamedTuple):
    """A value of the file, and the offset that it starts offset; a tuple, since there are millions of them."""

    value: JSON
    start: int


def read_json_document(text: str, display_path: str) -> JsonDocument:
    """Rows of a JSON array, of JSON lines, or of one object around a list of rows. Raises DataError."""
    check_json_value_count(text, display_path)
    if text.lstrip().startswith("[") and not _is_list_per_line(text):
        return JsonDocument(
            {
                "": _build_rows(
                    text,
                    display_path,
                    list(limit_rows(_refuse(_read_array(text, display_path), text, display_path), display_path)),
                )
            }
        )
    try:
        found = list(limit_rows(_read_json_lines(text, display_path), display_path))
    except DataError:
        if (document := _read_wrapping_object(text, display_path)) is not None:
            return document
        raise
    wrapped = _read_wrapping_object(text, display_path) if len(found) == 1 else None
    return wrapped or JsonDocument({"": _build_rows(text, display_path, found)})


def _is_list_per_line(text: str) -> bool:
    """Whether every line is a list of its own: ["a text", "its label"]."""
    lines = [line for line in text.split("\n", 10)[:10] if line.strip()]
    try:
        first = json.loads(lines[0])
    except (ValueError, RecursionError):
        return False
    plain = isinstance(first, list) and len(first) > 1 and not isinstance(first[0], (list, Mapping))
    return plain and len(lines) > 1 and all(line.lstrip().startswith("[") for line in lines)


def _make_decoder() -> json.JSONDecoder:
    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is no JSON (write null where a number is missing)")

    return json.JSONDecoder(parse_constant=refuse)


def _read_json_lines(text: str, display_path: str) -> Iterator[_PositionedValue]:
    decoder, start, half = _make_decoder(), 0, _find_half(text)
    # Only "\n" ends a line: str.splitlines would also cut at U+2028 and U+0085 inside a text.
    lines, counted = text.split("\n"), False
    for line, raw in enumerate(lines, 1):
        if raw.strip():
            try:
                value = decoder.decode(raw)
            except (ValueError, RecursionError) as problem:
                if raw.strip() != text.strip() and _is_json(text):
                    raise _make_no_list_error(display_path) from problem
                raise _make_syntax_error(problem, display_path, line) from problem
            if start + len(raw) > half and SURROGATE_ESCAPE.search(raw):
                _check_surrogates(value, display_path, line)
            if not counted:  # too many rows are refused before they are decoded
                check_table_size(sum(1 for one in lines if one and not one.isspace()), 1, display_path)
                counted = True
            yield _PositionedValue(value, start)
        start += len(raw) + 1


def _make_no_list_error(display_path: str) -> DataError:
    return DataError(
        "the JSON is one object, no list of rows",
        where=f"{display_path}:1",
        allowed=f"{EXPECTED_FORMAT}; or one object with a list of rows under {', '.join(LIST_KEYS[:4])}, ..., or "
        "with train "
        "and test",
        remedy="save the list that is inside it as a file of its own",
    )


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _read_array(text: str, display_path: str) -> Generator[_PositionedValue]:
    """The elements of the array that the text is."""
    closing = yield from _read_elements(text, _skip_whitespace(text, 0), display_path)
    if text[closing + 1 :].strip():
        raise _make_syntax_error_at(
            "something follows the closing bracket", text, _skip_whitespace(text, closing + 1), display_path
        )


def _read_elements(text: str, offset: int, display_path: str) -> Generator[_PositionedValue, None, int]:
    """The elements of the array at `at`; returns the offset of its closing bracket."""
    # Element by element, for the line that each begins on: json.loads would not tell it.
    decoder, offset, half = _make_decoder(), _skip_whitespace(text, offset + 1), _find_half(text)
    while text[offset : offset + 1] != "]":
        try:
            value, end = decoder.raw_decode(text, offset)
        except (ValueError, RecursionError) as problem:
            raise _make_syntax_error(problem, display_path, _get_line_number(text, offset)) from problem
        if end > half and SURROGATE_ESCAPE.search(text, offset, end):
            _check_surrogates(value, display_path, _get_line_number(text, offset))
        yield _PositionedValue(value, offset)
        offset = _skip_whitespace(text, end)
        if text[offset : offset + 1] == ",":
            offset = _skip_whitespace(text, offset + 1)
            if text[offset : offset + 1] == "]":
                raise _make_syntax_error_at("a comma before the closing bracket", text, offset, display_path)
        elif text[offset : offset + 1] != "]":
            raise _make_syntax_error_at("a comma or the closing bracket is missing", text, offset, display_path)
    return offset


def _find_member_offsets(text: str, offset: int) -> dict[str, int]:
    """The keys of the object at `at`, which is valid JSON, with the offsets of their values."""
    decoder, found, offset = _make_decoder(), {}, _skip_whitespace(text, offset + 1)
    while text[offset] != "}":
        key, end = decoder.raw_decode(text, offset)
        start = _skip_whitespace(text, _skip_whitespace(text, end) + 1)  # behind the colon
        found[key] = start
        offset = _skip_whitespace(text, decoder.raw_decode(text, start)[1])
        offset = _skip_whitespace(text, offset + 1) if text[offset] == "," else offset
    return found


def _refuse(values: Iterator[_PositionedValue], text: str, display_path: str) -> Iterator[_PositionedValue]:
    """The same values; raises DataError offset the first that can be no row, before millions of them are held."""
    for one in values:
        if not isinstance(one.value, dict) and not (isinstance(one.value, list) and len(one.value) > 1):
            raise _make_row_error(one.value, display_path, _get_line_number(text, one.start))
        yield one


def _find_half(text: str) -> int:
    """Where a surrogate is first written as an escape; the end of the text where none is."""
    found = SURROGATE_ESCAPE.search(text)
    return found.start() if found else len(text)


def _skip_whitespace(text: str, offset: int) -> int:
    if text[offset : offset + 1] not in (" ", "\t", "\n", "\r"):
        return offset
    match = WHITESPACE.match(text, offset)
    return match.end() if match else offset


def _get_line_number(text: str, offset: int) -> int:
    return text.count("\n", 0, offset) + 1


# -- one object around the rows
def _read_wrapping_object(text: str, display_path: str) -> JsonDocument | None:
    """The rows inside of one object, or None where it holds no list of them."""
    try:
        value = _make_decoder().decode(text)
    except (ValueError, RecursionError):
        return None
    at = _skip_whitespace(text, 0)
    while isinstance(value, Mapping) and (key := _find_wrapper_key(value)) is not None:  # {"rasa_nlu_data": {...}}
        value, at = value[key], _find_member_offsets(text, at)[key]
    if not isinstance(value, Mapping):
        return None
    if parts := _find_part_keys(value):
        places = _find_member_offsets(text, at)
        rows = {
            PART_NAMES[key.casefold()]: _build_rows(
                text, display_path, list(_read_elements(text, places[key], display_path))
            )
            for key in parts
        }
        over = [key for key in value if key not in parts]
        said = (f"{display_path}: {', '.join(over)} {'is' if len(over) == 1 else 'are'} not read",) if over else ()
        return JsonDocument(rows, said)
    if spacy.find_annotator_pairs(value) is not None:  # of the NER annotator, null where a text was left out
        elements = list(_read_elements(text, _find_member_offsets(text, at)["annotations"], display_path))
        kept = [one for one in elements if one.value is not None]
        empty = f"{display_path}: {len(elements) - len(kept)} of {len(elements)} texts are null and are left out"
        return JsonDocument({"": _build_rows(text, display_path, kept)}, (empty,) if len(kept) < len(elements) else ())
    if (key := _find_list_key(value)) is not None:
        elements = list(_read_elements(text, _find_member_offsets(text, at)[key], display_path))
        return JsonDocument(
            {"": _build_rows(text, display_path, elements)}, (f"{display_path}: the rows are the list under {key!r}",)
        )
    if _is_pandas_split(value):
        value = {name: [row[i] for row in value["data"]] for i, name in enumerate(value["columns"])}
    if _is_column_oriented(value):
        said = (f"{display_path}: the file holds a list for each column; a row's place is its number",)
        return JsonDocument({"": _build_rows_from_columns(value, display_path)}, said)
    return None


def _find_wrapper_key(value: Mapping[str, JSON]) -> str | None:
    """The only key, where it holds an object of lists."""
    only = next(iter(value)) if len(value) == 1 else None
    inner = value[only] if only is not None else None
    return only if isinstance(inner, Mapping) and any(isinstance(one, list) for one in inner.values()) else None


def _find_part_keys(value: Mapping[str, JSON]) -> list[str]:
    """Keys that name a part and hold rows, where there is train among them."""
    keys = [key for key, rows in value.items() if key.casefold() in PART_NAMES and _is_row_list(rows)]
    parts = [PART_NAMES[key.casefold()] for key in keys]
    return keys if "train" in parts and len(set(parts)) == len(parts) else []


def _find_list_key(value: Mapping[str, JSON]) -> str | None:
    """The key of the rows, where no other key holds rows too."""
    holding = [key for key, rows in value.items() if _is_row_list(rows)]
    return (
        holding[0] if len(holding) == 1 and holding[0].casefold() in LIST_KEYS and not _is_pandas_split(value) else None
    )


def _is_row_list(value: JSON) -> bool:
    """Whether a value is a list of objects, or of lists that are alike."""
    if not isinstance(value, list) or not value:
        return False
    first = value[:50]
    return all(isinstance(row, Mapping) for row in first) or all(isinstance(row, list) and row for row in first)


def _is_pandas_split(value: Mapping[str, JSON]) -> bool:
    """Whether pandas wrote it: to_json(orient="split")."""
    columns, data = value.get("columns"), value.get("data")
    names = isinstance(columns, list) and all(isinstance(name, str) for name in columns)
    alike = isinstance(data, list) and all(isinstance(row, list) and len(row) == len(columns or ()) for row in data)
    return names and alike and value.keys() <= {"columns", "index", "data"}


def _is_column_oriented(value: Mapping[str, JSON]) -> bool:
    """Whether it holds a list or a mapping of row numbers for each of at least two columns: pandas' to_json."""
    columns = list(value.values())
    if len(columns) < 2 or not all(isinstance(column, type(columns[0])) and column for column in columns):
        return False
    if isinstance(columns[0], list):
        plain = all(not isinstance(one, (Mapping, list)) for column in columns for one in column)
        words = any(key.casefold() in TOKEN_COLUMNS for key in value)  # one row of words and their tags looks the same
        return len({len(column) for column in columns}) == 1 and plain and not words and len(columns[0]) > 1
    return isinstance(columns[0], Mapping) and all(
        column.keys() == columns[0].keys() and all(str(key).isdecimal() for key in column) for column in columns
    )


def _build_rows_from_columns(value: Mapping[str, Any], display_path: str) -> list[Row]:
    lists = [list(column.values()) if isinstance(column, Mapping) else column for column in value.values()]
    return [
        Row(dict(zip(value, row, strict=True)), display_path, number)
        for number, row in enumerate(zip(*lists, strict=True), 1)
    ]


# -- rows
def _build_rows(text: str, display_path: str, found: Sequence[_PositionedValue]) -> list[Row]:
    """Rows with their lines, and with their columns where several stand on one line."""
    keys = {key for one in found if isinstance(one.value, dict) for key in one.value}
    check_table_size(len(found), max(1, len(keys)), display_path, 0)
    starts, line, before, begins = [], 1, 0, 0  # `begins`: the offset of the line
    for one in found:
        line += text.count("\n", before, one.start)
        begins, before = max(begins, text.rfind("\n", before, one.start) + 1), one.start
        starts.append((line, one.start - begins + 1))
    many = Counter(line for line, _ in starts)
    lists = all(isinstance(one.value, list) for one in found)
    rows = []
    for one, (line, column) in zip(found, starts, strict=True):
        values = _convert_list_row(one.value, found[0].value) if lists else one.value
        if not isinstance(values, Mapping):
            raise _make_row_error(one.value, display_path, line)
        rows.append(Row(values, display_path, line, column if many[line] > 1 else None))
    return rows


def _convert_list_row(value: list[Any], first: list[Any]) -> dict[str, JSON] | None:
    """A row that is a list: spaCy's text and its marks, or plain values, whose columns are called by their numbers."""
    if (pair := spacy.parse_pair(value)) is not None:
        return pair
    plain = all(not isinstance(one, (list, Mapping)) for one in value)
    if not plain or len(value) < 2 or len(value) != len(first):
        return None
    return {f"column_{number}": one for number, one in enumerate(value, 1)}


def _make_row_error(value: JSON, display_path: str, line: int) -> DataError:
    return DataError(
        f"expected an object, found {json.dumps(value, ensure_ascii=False)[:60]}",
        where=f"{display_path}:{line}",
        allowed=EXPECTED_FORMAT,
        remedy='write {"text": ..., "label": ...} for each row',
    )


def _make_syntax_error_at(what: str, text: str, offset: int, display_path: str) -> DataError:
    return _make_syntax_error(json.JSONDecodeError(what, text, offset), display_path, _get_line_number(text, offset))


def _make_syntax_error(problem: Exception, display_path: str, line: int) -> DataError:
    if isinstance(problem, json.JSONDecodeError):
        line = problem.lineno if "\n" in problem.doc else line
        what = f"at column {problem.colno}: {problem.msg}"
    else:
        what = "it is nested too deeply" if isinstance(problem, RecursionError) else str(problem)
    return DataError(
        f"broken JSON, {what}",
        where=f"{display_path}:{line}",
        allowed=EXPECTED_FORMAT,
        remedy="mend or remove the line",
    )


def _check_surrogates(value: JSON, display_path: str, line: int) -> None:
    """Refuse half a surrogate pair, which JSON can write but no UTF-8 file can hold."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as problem:
        raise DataError(
            "the JSON holds half of a surrogate pair (\\ud800 to \\udfff), which is no character",
            where=f"{display_path}:{line}",
            remedy="remove it, or write the character itself",
        ) from problem
