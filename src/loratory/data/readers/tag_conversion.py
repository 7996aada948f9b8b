"""Columns of tags, whatever their scheme and name, rewritten to BIO over the whole file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from loratory.data.rows import Row
from loratory.protocols import JSON
from loratory.tasks.tag_notations import BioTags, TagNotation, collect_begun_labels, detect_notation, to_bio
from loratory.tasks.tag_schemes import OUTSIDE

PLAIN_BIO = TagNotation("bio", "-")
TOKEN_COLUMNS = ("tokens", "words", "token", "word")  # columns that hold no tags, whatever they hold


def convert_tags_to_bio(rows: Sequence[Row]) -> tuple[list[Row], list[str]]:
    """The rows with every column of tags as IOB2, and which schemes were read where they were not BIO.

    A column of tags is a list of strings in every row that has it, as long as another list of the row. A row alone is
    never judged: the scheme is found over the whole file.
    """
    made, said = list(rows), list[str]()
    for column in _find_tag_columns(rows):
        sequences = [tags if isinstance(tags := row.values.get(column), list) else [] for row in rows]
        counts = Counter(tag for tags in sequences for tag in tags)
        notation = detect_notation(counts)
        if notation is None:
            continue
        known = collect_begun_labels([list(counts)], notation)
        decoded = [to_bio(tags, notation, known or None) for tags in sequences]
        made = [_replace_tags(row, column, one) for row, one in zip(made, decoded, strict=True)]
        said += _describe_conversion(rows, column, notation, decoded)
    return made, said


def _find_tag_columns(rows: Sequence[Row]) -> list[str]:
    """Columns that hold lists of strings alone, each as long as another list of its row."""
    names = dict.fromkeys(key for row in rows for key, value in row.values.items() if isinstance(value, list))
    return [
        name for name in names if name.casefold() not in TOKEN_COLUMNS and all(_may_be_tags(row, name) for row in rows)
    ]


def _may_be_tags(row: Row, name: str) -> bool:
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


def _replace_tags(row: Row, column: str, decoded: BioTags) -> Row:
    before: JSON = row.values.get(column)
    if before is None or before == decoded.tags:
        return row
    return replace(row, values={**row.values, column: decoded.tags})


def _describe_conversion(
    rows: Sequence[Row], column: str, notation: TagNotation, decoded: Sequence[BioTags]
) -> list[str]:
    strays = [(row, place) for row, one in zip(rows, decoded, strict=True) for place in one.stray_positions]
    where = f"{rows[0].file}: column {column!r}"
    needless, unended = sum(one.redundant_begins for one in decoded), sum(one.missing_ends for one in decoded)
    if notation.scheme == "bio" and strays and not needless:
        name = notation.describe().replace("BIO", "IOB1", 1)
        return [f"{where}: the tags are {name} (B- only where spans of one label meet), read as BIO"]
    lines = [] if notation == PLAIN_BIO else [f"{where}: the tags are {notation.describe()}, read as BIO"]
    if strays:
        row, place = strays[0]
        spans = sum(tag.startswith("B-") for one in decoded for tag in one.tags)
        lines.append(
            f"{where}: {len(strays)} of {spans} spans begin with a tag that goes on or ends (first: tag {place + 1} of "
            f"{row.origin}); they are read as conlleval reads them, as spans of their own"
        )
    if unended:
        lines.append(
            f"{where}: {unended} spans have no tag that ends them; they end where the next tag begins or is {OUTSIDE}"
        )
    return lines
