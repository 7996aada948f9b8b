"""JSON arrays and JSON lines."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import NoReturn

from loratory.data.rows import Row
from loratory.errors import DataError
from loratory.protocols import JSON

SPACE = re.compile(r"[ \t\n\r]*")
HALF_PAIR = re.compile(r"\\u[dD][89a-fA-F]")
MENDING = "the file is a JSON array of objects, or one JSON object on each line"


def read_documents(text: str, shown: str) -> list[Row]:
    """Rows of a JSON array or of JSON lines, whichever the text is; raises DataError."""
    values = _array(text, shown) if text.lstrip().startswith("[") else _lines(text, shown)
    return [_row(value, shown, line) for line, value in values]


def _decoder() -> json.JSONDecoder:
    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is no JSON")

    return json.JSONDecoder(parse_constant=refuse)


def _lines(text: str, shown: str) -> Iterator[tuple[int, JSON]]:
    decoder = _decoder()
    # Only "\n" ends a line: str.splitlines would also cut at U+2028 and U+0085 inside a text.
    for line, raw in enumerate(text.split("\n"), 1):
        if not raw.strip():
            continue
        try:
            value = decoder.decode(raw)
        except (ValueError, RecursionError) as problem:
            if raw.strip() != text.strip() and _is_document(text):
                raise DataError(
                    "the JSON is one object, no list of rows",
                    where=f"{shown}:1",
                    allowed=MENDING,
                    remedy="save the list that is inside it as a file of its own",
                ) from problem
            raise _broken(problem, shown, line) from problem
        yield line, _checked(value, raw, shown, line)


def _is_document(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _array(text: str, shown: str) -> Iterator[tuple[int, JSON]]:
    # Element by element, for the line that each begins on: json.loads would not tell it.
    decoder, line, counted = _decoder(), 1, 0
    at = _skip(text, text.index("[") + 1)
    try:
        while text[at : at + 1] != "]":
            line, counted = line + text.count("\n", counted, at), at
            value, end = decoder.raw_decode(text, at)
            yield line, _checked(value, text[at:end], shown, line)
            at = _skip(text, end)
            if text[at : at + 1] == ",":
                at = _skip(text, at + 1)
                if text[at : at + 1] == "]":
                    raise json.JSONDecodeError("a comma before the closing bracket", text, at)
            elif text[at : at + 1] != "]":
                raise json.JSONDecodeError("a comma or the closing bracket is missing", text, at)
        if text[at + 1 :].strip():
            raise json.JSONDecodeError("something follows the closing bracket", text, _skip(text, at + 1))
    except (ValueError, RecursionError) as problem:
        raise _broken(problem, shown, line) from problem


def _skip(text: str, at: int) -> int:
    match = SPACE.match(text, at)
    return match.end() if match else at


def _broken(problem: Exception, shown: str, line: int) -> DataError:
    if isinstance(problem, json.JSONDecodeError):
        line = problem.lineno if "\n" in problem.doc else line
        what = f"at column {problem.colno}: {problem.msg}"
    else:
        what = "it is nested too deeply" if isinstance(problem, RecursionError) else str(problem)
    return DataError(f"broken JSON, {what}", where=f"{shown}:{line}", allowed=MENDING, remedy="mend or remove the line")


def _checked(value: JSON, raw: str, shown: str, line: int) -> JSON:
    """Refuse half a surrogate pair, which JSON can write but no UTF-8 file can hold."""
    if HALF_PAIR.search(raw):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as problem:
            raise DataError(
                "the JSON holds half of a surrogate pair (\\ud800 to \\udfff), which is no character",
                where=f"{shown}:{line}",
                remedy="remove it, or write the character itself",
            ) from problem
    return value


def _row(value: JSON, shown: str, line: int) -> Row:
    if not isinstance(value, dict):
        found = json.dumps(value, ensure_ascii=False)[:60]
        raise DataError(
            f"expected an object, found {found}",
            where=f"{shown}:{line}",
            allowed=MENDING,
            remedy='write {"text": ..., "label": ...} for each row',
        )
    return Row(value, shown, line)
