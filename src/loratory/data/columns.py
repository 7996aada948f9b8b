"""Which column of the file is which column of the task: given, guessed from its name, or from what it holds."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from loratory.data.column_suggestions import (
    ColumnCandidate,
    find_close_candidates,
    find_json_column,
    suggest_label_columns,
    suggest_list_columns,
    suggest_span_columns,
    suggest_text_columns,
)
from loratory.data.rows import Row
from loratory.errors import DataError, suggest_nearest
from loratory.protocols import JSON, Column
from loratory.tasks.tag import BIO_TAG
from loratory.tasks.tag_schemes import OUTSIDE

CELLS = 1_000_000  # rows times columns that are looked at for a guess
MAX_SAMPLE_ROWS = 2000  # rows that decide a guess


@dataclass(frozen=True)
class ColumnMapping:
    """Task column -> dotted path in the file."""

    columns: Mapping[str, str]
    messages: tuple[str, ...]  # what was guessed, and from what
    extras: Mapping[str, str] = field(default_factory=dict)  # name of an extra -> dotted path

    def with_extras(self, rows: Sequence[Row], extras: Mapping[str, str]) -> ColumnMapping:
        """The same with what the spec names beside the task's columns; raises DataError where no row holds it."""
        for name, path in extras.items():
            if not any(_has_value(row, path) for row in rows):
                present = list(dict.fromkeys(key for row in sample_rows(rows) for key in row.values))
                raise _make_missing_column_error(rows[0].file, f"extras: {name}", path, present)
        return replace(self, extras=dict(extras))


def match_columns(
    rows: Sequence[Row], columns: Mapping[str, Column], given: Mapping[str, str], *, by_content: bool = True
) -> ColumnMapping:
    """Find the task's columns among the rows'; what is given wins, then names, then content. Raises DataError."""
    looked_at = sample_rows(rows)
    present = list(dict.fromkeys(key for row in looked_at for key in row.values))
    if not present:
        raise DataError(
            "the rows hold nothing", where=rows[0].origin, allowed="at least one column", remedy="check the path"
        )
    found = _check_given_columns(rows, columns, given, present)
    said = []
    for name, column in columns.items():
        path = None if name in found else _match_by_name(looked_at, column, present, set(found.values()))
        if path is not None:
            found[name] = path
            said.append(f"column {path!r} is read as {name} (guessed from its name)")
    for name, candidates in _match_by_content(looked_at, columns, found) if by_content else ():
        found[name] = candidates[0].path
        said.append(_describe_guess(name, candidates))
    for name, column in columns.items():
        if column.required and name not in found:
            raise DataError(
                f"no column can be taken for {name!r} ({column.help})",
                where=rows[0].file,
                allowed=f"the file has {', '.join(map(repr, present))}",
                remedy=f"say which it is: data: {name}: COLUMN",
            )
    return ColumnMapping({name: found[name] for name in columns if name in found}, tuple(said))


def sample_rows(rows: Sequence[Row]) -> Sequence[Row]:
    """At most 2,000 rows, fewer of many columns, spread over all of them: many files are sorted by label."""
    some = rows[:: -(-len(rows) // MAX_SAMPLE_ROWS)]
    columns = len({key for row in some for key in row.values})
    return some[:: -(-len(some) * columns // CELLS) or 1]


def get_value_at(row: Row, path: str) -> JSON:
    """The value at a dotted path, None where it is missing; raises DataError where JSON text is broken.

    A column whose own name holds the dots ("seq.in") wins over one that is reached into.
    """
    names = path.split(".")
    for cut in range(len(names), 0, -1):
        key = ".".join(names[:cut])
        if key in row.values:
            value = row.values[key]
            for inner in names[cut:]:
                value = _get_inner_value(value, inner, row, key)
            return value
    return None


def _get_inner_value(value: JSON, name: str, row: Row, column: str) -> JSON:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as problem:
            raise DataError(
                f"the column is no JSON: {value[:60]!r}",
                where=f"{row.origin}: {column}",
                allowed=f'a JSON object with the key "{name}"',
                remedy="mend the row",
            ) from problem
    if isinstance(value, list) and name.isdecimal():
        return value[int(name)] if int(name) < len(value) else None
    return value.get(name) if isinstance(value, Mapping) else None


def _match_by_content(
    rows: Sequence[Row], columns: Mapping[str, Column], matched: Mapping[str, str]
) -> Iterator[tuple[str, list[ColumnCandidate]]]:
    """What a column is taken for that no name tells: the text first, then what is left is looked at for the rest."""
    taken = dict(matched)
    if "tokens" in columns and not {"text", "tokens"} & taken.keys() and (pair := _match_tokens_and_tags(rows)):
        for name, path in zip(("tokens", "tags"), pair, strict=True):
            if name not in taken:
                taken[name] = path
                yield name, [ColumnCandidate(path, 1.0, 0)]
    if "completion" in columns and "messages" not in taken:
        yield from _match_prompt_and_completion(rows, taken)
    suggest: Mapping[str, Callable[[list[str]], list[ColumnCandidate]]] = {
        "text": lambda others: suggest_text_columns(rows, others),
        "label": lambda others: (
            suggest_label_columns(rows, taken.get("text"), others) or suggest_list_columns(rows, others)
        ),
        "spans": lambda others: suggest_span_columns(rows, others),
    }
    for name, candidates_of in suggest.items():
        wanted = name in columns and name not in taken and "tokens" not in taken
        wanted = wanted and (columns[name].required or name == "spans")
        if wanted and (candidates := candidates_of(list(taken.values()))):
            taken[name] = candidates[0].path
            yield name, candidates


def _match_prompt_and_completion(
    rows: Sequence[Row], taken: dict[str, str]
) -> Iterator[tuple[str, list[ColumnCandidate]]]:
    """JSON is the answer to the text; else the second text is that to the first."""
    column = find_json_column(rows) if "completion" not in taken else None
    if column is not None and column not in taken.values():
        taken["completion"] = column
        yield "completion", [ColumnCandidate(column, 1.0, 0)]
    for name in ("prompt", "completion"):
        if name not in taken and (texts := suggest_text_columns(rows, list(taken.values()))):
            taken[name] = texts[0].path
            yield name, texts


def _match_tokens_and_tags(rows: Sequence[Row]) -> tuple[str, str] | None:
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
    return bool(tags - {OUTSIDE}) and all(BIO_TAG.fullmatch(tag) for tag in tags)


def _describe_guess(name: str, candidates: Sequence[ColumnCandidate]) -> str:
    others = [one.path for one in find_close_candidates(candidates)[1:]]
    also = f" (as could {', '.join(map(repr, others[:3]))})" if others else ""
    return (
        f"column {candidates[0].path!r} is read as {name} (guessed from what it holds){also}; if that is wrong, say "
        f"data: {name}: COLUMN"
    )


def _check_given_columns(
    rows: Sequence[Row], columns: Mapping[str, Column], given: Mapping[str, str], present: Sequence[str]
) -> dict[str, str]:
    for name, path in given.items():
        if name not in columns:
            raise DataError(
                f"the task reads no column {name!r}{suggest_nearest(name, columns)}",
                where=f"data: {name}",
                allowed=", ".join(columns),
                remedy="remove or correct it",
            )
        if not any(_has_value(row, path) for row in rows):
            raise _make_missing_column_error(rows[0].file, name, path, present)
    return dict(given)


def _make_missing_column_error(file: str, name: str, path: str, present: Sequence[str]) -> DataError:
    return DataError(
        f"there is no column {path!r}{suggest_nearest(path, present)}",
        where=f"{file}: {name}",
        allowed=f"the file has {', '.join(map(repr, present))}",
        remedy=f"correct data: {name}:",
    )


def _has_value(row: Row, path: str) -> bool:
    try:
        return path in row.values or get_value_at(row, path) is not None
    except DataError:
        return False


def _match_by_name(rows: Sequence[Row], column: Column, present: Sequence[str], taken: set[str]) -> str | None:
    folded = {key.casefold(): key for key in reversed(present)}
    for guess in column.aliases:
        first, dot, rest = guess.partition(".")
        path = folded.get(guess.casefold())
        if path is None and dot and first.casefold() in folded:
            path = f"{folded[first.casefold()]}.{rest}"
        if path is not None and path not in taken and any(_has_value(row, path) for row in rows):
            return path
    return None
