"""spaCy's training data as JSON: pairs of a text and its marks, the NER annotator's file, and mappings with cats.

`parse_pair` and `entries` are for the reader of JSON, since these files hold rows that are no objects.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from loratory.data.readers.annotations.conversion import (
    UNANSWERED_REASON,
    ConvertedExport,
    ExportFormat,
    Values,
    are_triples,
    collect_rows,
    parse_triple,
    unwrap_single,
)
from loratory.data.rows import Row
from loratory.protocols import JSON


def parse_pair(value: JSON) -> dict[str, JSON] | None:
    """The row of `[text, {"entities": [...], "cats": {...}}]`; None where the value is no such pair."""
    pair = isinstance(value, (list, tuple)) and len(value) == 2 and isinstance(value[0], str)
    if not pair or not isinstance(value[1], Mapping) or not {"entities", "cats", "spans"} & set(value[1]):
        return None
    return {"text": value[0], **value[1]}


def find_annotator_pairs(value: JSON) -> list[Any] | None:
    """The pairs of the NER annotator's `{"classes": [...], "annotations": [pair, null, ...]}`; None for others."""
    if not isinstance(value, Mapping) or not isinstance(value.get("classes"), list):
        return None
    given = value.get("annotations")
    pairs = [one for one in given if one is not None] if isinstance(given, list) else []
    return pairs if pairs and all(parse_pair(one) is not None for one in pairs) else None


def convert(rows: Sequence[Row]) -> ConvertedExport | None:
    """Plain rows of training data; None where the file is none."""
    if len(rows) == 1 and (pairs := find_annotator_pairs(rows[0].values)) is not None:
        given = rows[0].values["annotations"]
        rows = [replace(rows[0], values=row) for pair in pairs if (row := parse_pair(pair)) is not None]
        empty = len(given) - len(pairs) if isinstance(given, list) else 0
        notes = [f"{empty} of {empty + len(pairs)} texts are null and are left out"] if empty else []
        return _convert_rows(rows, "an export of the NER annotator for spaCy", notes)
    if all(isinstance(row.values.get("text"), str) for row in rows):
        return _convert_rows(rows, "training data of spaCy", [])
    return None


def _convert_rows(rows: Sequence[Row], format_name: str, notes: Sequence[str]) -> ConvertedExport | None:
    entities = _all_fit(rows, "entities", are_triples)
    cats = _all_fit(rows, "cats", _are_cats)
    if not entities and not cats:
        return None
    name = "cats" if any("label" in row.values for row in rows) else "label"
    columns = [*(["entities"] if entities else []), *([name] if cats else [])]
    readings = [(row, _convert_row(row, entities, name if cats else None)) for row in rows]
    return collect_rows(rows, readings, ExportFormat(format_name, columns, (), notes))


def _all_fit(rows: Sequence[Row], name: str, fits: Callable[[JSON], bool]) -> bool:
    values = [row.values[name] for row in rows if row.values.get(name) is not None]
    return any(values) and all(map(fits, values))


def _are_cats(value: JSON) -> bool:
    return isinstance(value, Mapping) and all(isinstance(odds, (int, float)) for odds in value.values())


def _convert_row(row: Row, entities: bool, name: str | None) -> Values | str:
    values = {key: value for key, value in row.values.items() if key != "cats" or name is None}
    if entities:
        given = row.values.get("entities")
        values["entities"] = [parse_triple(one) for one in given] if isinstance(given, list) else []
    if name is not None:
        cats = row.values.get("cats")
        chosen = [label for label, odds in cats.items() if odds >= 0.5] if isinstance(cats, Mapping) else []
        if not chosen and not entities:
            return UNANSWERED_REASON
        values[name] = unwrap_single(chosen)
    return values
