"""Which column of the file is which column of the task: given, guessed from its name, or from what it holds."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from loratory.data.column_suggestions import (
    Candidate,
    find_close,
    find_json_column,
    suggest_labels,
    suggest_lists,
    suggest_spans,
    suggest_texts,
)
from loratory.data.rows import Row
from loratory.errors import DataError, nearest
from loratory.protocols import JSON, Column
from loratory.tasks.tag import TAG

CELLS = 1_000_000  # rows times columns that are looked at for a guess
LOOKED_AT = 2000  # rows that decide a guess


@dataclass(frozen=True)
class Matching:
    """Task column -> dotted path in the file."""

    columns: Mapping[str, str]
    said: tuple[str, ...]  # what was guessed, and from what


def match(
    rows: Sequence[Row], columns: Mapping[str, Column], given: Mapping[str, str], *, by_content: bool = True
) -> Matching:
    """Find the task's columns among the rows'; what is given wins, then names, then content. Raises DataError."""
    looked_at = sample(rows)
    present = list(dict.fromkeys(key for row in looked_at for key in row.values))
    if not present:
        raise DataError(
            "the rows hold nothing", where=rows[0].place, allowed="at least one column", remedy="check the path"
        )
    found = _given(rows, columns, given, present)
    said = []
    for name, column in columns.items():
        path = None if name in found else _by_name(looked_at, column, present, set(found.values()))
        if path is not None:
            found[name] = path
            said.append(f"column {path!r} is read as {name} (guessed from its name)")
    for name, candidates in _by_content(looked_at, columns, found) if by_content else ():
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


def sample(rows: Sequence[Row]) -> Sequence[Row]:
    """At most 2,000 rows, fewer of many columns, spread over all of them: many files are sorted by label."""
    some = rows[:: -(-len(rows) // LOOKED_AT)]
    columns = len({key for row in some for key in row.values})
    return some[:: -(-len(some) * columns // CELLS) or 1]


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


def _by_content(
    rows: Sequence[Row], columns: Mapping[str, Column], found: Mapping[str, str]
) -> Iterator[tuple[str, list[Candidate]]]:
    """What a column is taken for that no name tells: the text first, then what is left is looked at for the rest."""
    taken = dict(found)
    if "tokens" in columns and not {"text", "tokens"} & taken.keys() and (pair := _tokens_and_tags(rows)):
        for name, path in zip(("tokens", "tags"), pair, strict=True):
            if name not in taken:
                taken[name] = path
                yield name, [Candidate(path, 1.0, 0)]
    if "completion" in columns and "messages" not in taken:
        yield from _asked_and_answered(rows, taken)
    suggest: Mapping[str, Callable[[list[str]], list[Candidate]]] = {
        "text": lambda others: suggest_texts(rows, others),
        "label": lambda others: suggest_labels(rows, taken.get("text"), others) or suggest_lists(rows, others),
        "spans": lambda others: suggest_spans(rows, others),
    }
    for name, candidates_of in suggest.items():
        wanted = name in columns and name not in taken and "tokens" not in taken
        wanted = wanted and (columns[name].required or name == "spans")
        if wanted and (candidates := candidates_of(list(taken.values()))):
            taken[name] = candidates[0].path
            yield name, candidates


def _asked_and_answered(rows: Sequence[Row], taken: dict[str, str]) -> Iterator[tuple[str, list[Candidate]]]:
    """JSON is the answer to the text; else the second text is that to the first."""
    column = find_json_column(rows) if "completion" not in taken else None
    if column is not None and column not in taken.values():
        taken["completion"] = column
        yield "completion", [Candidate(column, 1.0, 0)]
    for name in ("prompt", "completion"):
        if name not in taken and (texts := suggest_texts(rows, list(taken.values()))):
            taken[name] = texts[0].path
            yield name, texts


def _tokens_and_tags(rows: Sequence[Row]) -> tuple[str, str] | None:
    """Two columns of equally long lists of strings, the second of them BIO tags."""
    lists = [key for key, value in rows[0].values.items() if isinstance(value, list)]
    tags = next((key for key in lists if _are_tags(rows, key)), None)
    if tags is None:
        return None
    for key in lists:
        pairs = [(row.values.get(key), row.values.get(tags)) for row in rows]
        if key != tags and all(isinstance(a, list) and isinstance(b, list) and len(a) == len(b) for a, b in pairs):
            return key, tags
    return None


def _are_tags(rows: Sequence[Row], key: str) -> bool:
    values = [row.values.get(key) for row in rows]
    tags = {str(tag) for value in values if isinstance(value, list) for tag in value}
    return bool(tags - {"O"}) and all(TAG.fullmatch(tag) for tag in tags)


def _guess(name: str, candidates: Sequence[Candidate]) -> str:
    others = [one.path for one in find_close(candidates)[1:]]
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
