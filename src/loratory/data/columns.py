"""Which column of the file is which column of the task: given, guessed from its name, or from what it holds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from loratory.data.column_suggestions import CLOSE, Candidate, suggest_labels, suggest_texts
from loratory.data.rows import Row
from loratory.errors import DataError, nearest
from loratory.protocols import JSON, Column

LOOKED_AT = 2000  # rows that decide a guess


@dataclass(frozen=True)
class Matching:
    """Task column -> dotted path in the file."""

    columns: Mapping[str, str]
    said: tuple[str, ...]  # what was guessed, and from what


def match(rows: Sequence[Row], columns: Mapping[str, Column], given: Mapping[str, str]) -> Matching:
    """Find the task's columns among the rows'; what is given wins. Raises DataError."""
    looked_at = rows[:LOOKED_AT]
    present = list(dict.fromkeys(key for row in looked_at for key in row.values))
    found = _given(rows, columns, given, present)
    said = []
    for name, column in columns.items():
        path = None if name in found else _by_name(looked_at, column, present, set(found.values()))
        if path is not None:
            found[name] = path
            said.append(f"column {path!r} is read as {name} (guessed from its name)")
    for name in CONTENT:  # the text goes first, so that what is left is looked at for the label
        if name in columns and columns[name].required and name not in found:
            candidates = _by_content(name, looked_at, found)
            if candidates:
                found[name] = candidates[0].path
                said.append(_guess(name, candidates))
    for name, column in columns.items():
        if column.required and name not in found:
            raise DataError(
                f"no column can be taken for {name!r} ({column.help})",
                where=rows[0].file,
                allowed=f"the file has {', '.join(map(repr, present))}",
                remedy=f"say which it is: data: {name}: COLUMN",
            )
    return Matching({name: found[name] for name in columns if name in found}, tuple(said))


def pick(row: Row, path: str) -> JSON:
    """The value at a dotted path, None where it is missing; raises DataError where JSON text is broken.

    A column whose own name holds the dots ("seq.in") wins over one that is reached into.
    """
    names = path.split(".")
    for cut in range(len(names), 0, -1):
        key = ".".join(names[:cut])
        if key in row.values:
            value = row.values[key]
            for inner in names[cut:]:
                value = _into(value, inner, row, key)
            return value
    return None


def _into(value: JSON, name: str, row: Row, column: str) -> JSON:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as problem:
            raise DataError(
                f"the column is no JSON: {value[:60]!r}",
                where=f"{row.place}: {column}",
                allowed=f'a JSON object with the key "{name}"',
                remedy="mend the row",
            ) from problem
    if isinstance(value, list) and name.isdecimal():
        return value[int(name)] if int(name) < len(value) else None
    return value.get(name) if isinstance(value, Mapping) else None


CONTENT = ("text", "label")


def _by_content(name: str, rows: Sequence[Row], found: Mapping[str, str]) -> list[Candidate]:
    taken = list(found.values())
    return suggest_texts(rows, taken) if name == "text" else suggest_labels(rows, found.get("text"), taken)


def _guess(name: str, candidates: Sequence[Candidate]) -> str:
    others = [one.path for one in candidates[1:] if candidates[0].score - one.score < CLOSE]
    also = f" (as could {', '.join(map(repr, others[:3]))})" if others else ""
    return (
        f"column {candidates[0].path!r} is read as {name} (guessed from what it holds){also}; if that is wrong, say "
        f"data: {name}: COLUMN"
    )


def _given(
    rows: Sequence[Row], columns: Mapping[str, Column], given: Mapping[str, str], present: Sequence[str]
) -> dict[str, str]:
    for name, path in given.items():
        if name not in columns:
            raise DataError(
                f"the task reads no column {name!r}{nearest(name, columns)}",
                where=f"data: {name}",
                allowed=", ".join(columns),
                remedy="remove or correct it",
            )
        if not any(_holds(row, path) for row in rows):
            raise DataError(
                f"there is no column {path!r}{nearest(path, present)}",
                where=f"{rows[0].file}: {name}",
                allowed=f"the file has {', '.join(map(repr, present))}",
                remedy=f"correct data: {name}:",
            )
    return dict(given)


def _holds(row: Row, path: str) -> bool:
    try:
        return path in row.values or pick(row, path) is not None
    except DataError:
        return False


def _by_name(rows: Sequence[Row], column: Column, present: Sequence[str], taken: set[str]) -> str | None:
    folded = {key.casefold(): key for key in reversed(present)}
    for guess in column.guesses:
        first, dot, rest = guess.partition(".")
        path = folded.get(guess.casefold())
        if path is None and dot and first.casefold() in folded:
            path = f"{folded[first.casefold()]}.{rest}"
        if path is not None and path not in taken and any(_holds(row, path) for row in rows):
            return path
    return None
