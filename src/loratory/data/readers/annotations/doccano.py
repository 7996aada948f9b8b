"""doccano: JSON and JSON lines of every project type for text, and its CSV.

Forms: doccano's data_export/pipeline (formatters, factories) and, for versions before 1.3, its tutorial. A text stands
under `text` or `data`; the comments of annotators under `Comments`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from loratory.data.readers.annotations.conversion import (
    UNANSWERED_REASON,
    ConvertedExport,
    ExportFormat,
    Values,
    are_triples,
    collect_rows,
    drop_columns,
    find_present_columns,
    is_offset,
    make_span,
    parse_triple,
    unwrap_single,
)
from loratory.data.rows import Row
from loratory.protocols import JSON

ANSWER_COLUMNS = ("label", "labels", "annotations", "entities", "cats")
TOOL_COLUMNS = ("Comments", "comments", "annotation_approver", "relations")
TOKEN_COLUMNS = ("tokens", "words")


def convert(rows: Sequence[Row]) -> ConvertedExport | None:
    """Plain rows of an export; None where the file is none."""
    if not all(isinstance(row.values.get("text", row.values.get("data")), str) for row in rows):
        return None
    if any(name in row.values for row in rows[:1] for name in TOKEN_COLUMNS):
        return None
    kinds = {
        name: kind
        for name in ANSWER_COLUMNS
        if (kind := _detect_column_kind([row.values.get(name) for row in rows])) is not None
    }
    if kinds:
        return _convert_lists(rows, kinds)
    return _convert_csv(rows)


def _detect_column_kind(values: Sequence[JSON]) -> str | None:
    """What a column's lists hold: spans, named (spans as mappings), classes (numbers of labels) or strings."""
    if not all(isinstance(value, list) for value in values):
        return None
    members = [one for value in values if isinstance(value, list) for one in value]
    if not members:
        return None
    if are_triples(members):
        return "triples"
    if all(isinstance(one, Mapping) and "label" in one for one in members):
        if all("start_offset" in one and "end_offset" in one for one in members if isinstance(one, Mapping)):
            return "mappings"
        numbered = all(is_offset(one["label"]) and "user" in one for one in members if isinstance(one, Mapping))
        return "numbers" if numbered else None
    short = any(len(value) == 1 for value in values if isinstance(value, list))
    return "strings" if short and all(isinstance(one, str) for one in members) else None


def _convert_lists(rows: Sequence[Row], kinds: Mapping[str, str]) -> ConvertedExport | None:
    if set(kinds.values()) == {"strings"} and not _is_classified(rows, kinds):
        return None
    columns = [*kinds]
    notes = []
    numbered = _has_numbers(rows, kinds)
    if numbered:
        notes.append(
            "the labels are numbers of the project, without their names; export the labels as text to have them"
        )
    related = [row for row in rows if row.values.get("relations")]
    if related:
        notes.append(
            f"{len(related)} of {len(rows)} rows hold relations, which are not read, first {related[0].origin}"
        )
    own = find_present_columns(rows, TOOL_COLUMNS)
    form = "an export of doccano" if own else "lists of answers as doccano writes them"
    readings = [(row, _convert_row(row, kinds, own)) for row in rows]
    unread = [name for name in own if name != "relations"]
    return collect_rows(rows, readings, ExportFormat(form, columns, unread, notes))


def _is_classified(rows: Sequence[Row], kinds: Mapping[str, str]) -> bool:
    """Whether lists of strings are answers of doccano: its own columns tell, or a list that is empty or holds two."""
    told = any(name in rows[0].values for name in TOOL_COLUMNS)
    sizes = {len(value) for row in rows for name in kinds if isinstance(value := row.values.get(name), list)}
    return told or max(sizes) <= 20  # longer lists are words or tags


def _has_numbers(rows: Sequence[Row], kinds: Mapping[str, str]) -> bool:
    if "numbers" in kinds.values():
        return True
    named = [name for name, kind in kinds.items() if kind == "mappings"]
    members = [one for row in rows for name in named if isinstance(value := row.values[name], list) for one in value]
    return any(isinstance(one, Mapping) and is_offset(one.get("label")) for one in members)


def _convert_row(row: Row, kinds: Mapping[str, str], tool_columns: Sequence[str]) -> Values | str:
    values = drop_columns(row.values, tool_columns)
    spans = any(kind in ("triples", "mappings") for kind in kinds.values())
    for name, kind in kinds.items():
        given: Any = row.values[name]
        values[name] = _convert_answer(given, kind)
        if values[name] is None and not spans:
            return UNANSWERED_REASON
    return values


def _convert_answer(given: Sequence[Any], kind: str) -> JSON:
    if kind == "triples":
        return [parse_triple(one) for one in given]
    if kind == "mappings":
        return [make_span(one["start_offset"], one["end_offset"], _format_label(one["label"])) for one in given]
    return unwrap_single([_format_label(one["label"]) if isinstance(one, Mapping) else one for one in given])


def _format_label(label: JSON) -> JSON:
    return str(label) if is_offset(label) else label


# -- CSV: several labels are joined by #
def _convert_csv(rows: Sequence[Row]) -> ConvertedExport | None:
    cells = [row.values.get("label") for row in rows]
    told = all({"id", "text", "label"} <= set(row.values) for row in rows) or "Comments" in rows[0].values
    if not told or not all(isinstance(cell, str) for cell in cells):
        return None
    joined = _find_joined_cells([str(cell) for cell in cells])
    if not joined and "Comments" not in rows[0].values:
        return None
    own = find_present_columns(rows, TOOL_COLUMNS)
    readings: list[tuple[Row, Values | str]] = []
    for row, cell in zip(rows, map(str, cells), strict=True):
        labels: JSON = [*cell.split("#")] if cell in joined else cell
        readings.append(
            (row, {**drop_columns(row.values, own), "label": labels} if cell.strip() else UNANSWERED_REASON)
        )
    return collect_rows(rows, readings, ExportFormat("an export of doccano (CSV)", ["label"], own))


def _find_joined_cells(cells: Sequence[str]) -> set[str]:
    """The cells that are several labels: in order, and each stands elsewhere too. C# is one label."""
    alone = {cell for cell in cells if cell and "#" not in cell}
    parts = Counter(part for cell in set(cells) if "#" in cell for part in set(cell.split("#")))
    several = {cell for cell in cells if "#" in cell}
    fits = all(
        cell.split("#") == sorted(cell.split("#")) and all(part in alone or parts[part] > 1 for part in cell.split("#"))
        for cell in several
    )
    return several if fits and "" not in parts else set()
