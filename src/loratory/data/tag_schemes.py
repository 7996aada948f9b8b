"""Columns of tags, whatever their scheme and name, rewritten to BIO over the whole file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from loratory.data.rows import Row
from loratory.protocols import JSON
from loratory.tasks.schemes import OUTSIDE, Decoded, Scheme, begun, find_scheme, to_bio

PLAIN = Scheme("BIO", "-")
WORDS = ("tokens", "words", "token", "word")  # columns that hold no tags, whatever they hold


def decode(rows: Sequence[Row]) -> tuple[list[Row], list[str]]:
    """The rows with every column of tags as IOB2, and which schemes were read where they were not BIO.

    A column of tags is a list of strings in every row that has it, as long as another list of the row. A row alone is
    never judged: the scheme is found over the whole file.
    """
    made, said = list(rows), list[str]()
    for column in _candidates(rows):
        sequences = [tags if isinstance(tags := row.values.get(column), list) else [] for row in rows]
        counts = Counter(tag for tags in sequences for tag in tags)
        scheme = find_scheme(counts)
        if scheme is None:
            continue
        known = begun([list(counts)], scheme)
        decoded = [to_bio(tags, scheme, known or None) for tags in sequences]
        made = [_with(row, column, one) for row, one in zip(made, decoded, strict=True)]
        said += _said(rows, column, scheme, decoded)
    return made, said


def _candidates(rows: Sequence[Row]) -> list[str]:
    """Columns that hold lists of strings alone, each as long as another list of its row."""
    names = dict.fromkeys(key for row in rows for key, value in row.values.items() if isinstance(value, list))
    return [name for name in names if name.casefold() not in WORDS and all(_is_tags(row, name) for row in rows)]


def _is_tags(row: Row, name: str) -> bool:
    value = row.values.get(name)
    if value is None:
        return True
    if not isinstance(value, list) or not all(isinstance(tag, str) for tag in value):
        return False
    return any(
        key != name
        and isinstance(other, list)
        and len(other) == len(value)
        and all(isinstance(one, str) for one in other)
        for key, other in row.values.items()
    )


def _with(row: Row, column: str, decoded: Decoded) -> Row:
    before: JSON = row.values.get(column)
    if before is None or before == decoded.tags:
        return row
    return replace(row, values={**row.values, column: decoded.tags})


def _said(rows: Sequence[Row], column: str, scheme: Scheme, decoded: Sequence[Decoded]) -> list[str]:
    strays = [(row, place) for row, one in zip(rows, decoded, strict=True) for place in one.strays]
    where = f"{rows[0].file}: column {column!r}"
    needless, unended = sum(one.needless for one in decoded), sum(one.unended for one in decoded)
    if scheme.family == "BIO" and strays and not needless:
        name = scheme.said().replace("BIO", "IOB1", 1)
        return [f"{where}: the tags are {name} (B- only where spans of one label meet), read as BIO"]
    lines = [] if scheme == PLAIN else [f"{where}: the tags are {scheme.said()}, read as BIO"]
    if strays:
        row, place = strays[0]
        spans = sum(tag.startswith("B-") for one in decoded for tag in one.tags)
        lines.append(
            f"{where}: {len(strays)} of {spans} spans begin with a tag that goes on or ends (first: tag {place + 1} of "
            f"{row.place}); they are read as conlleval reads them, as spans of their own"
        )
    if unended:
        lines.append(
            f"{where}: {unended} spans have no tag that ends them; they end where the next tag begins or is {OUTSIDE}"
        )
    return lines
