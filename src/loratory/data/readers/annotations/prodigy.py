"""Prodigy: what `db-out` writes. Forms: https://prodi.gy/docs/api-interfaces."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from loratory.data.readers.annotations.conversion import (
    DISAGREEMENT_REASON,
    ConvertedExport,
    ExportFormat,
    RowOrReason,
    Values,
    collect_rows,
    drop_columns,
    find_majority_answer,
    parse_spans,
    unwrap_single,
)
from loratory.data.rows import Row
from loratory.errors import DataError, format_value
from loratory.protocols import JSON

ANSWER_VALUES = {"accept", "reject", "ignore"}
REJECTED_REASON = "carry answer reject or ignore"
NO_CHOICE_REASON = "are accepted without a choice"
TOOL_COLUMNS = (
    "answer",
    "tokens",
    "options",
    "accept",
    "config",
    "relations",
    "score",
    "priority",
    "versions",
    "html",
    "image",
)
ANNOTATOR_COLUMNS = ("_annotator_id", "_session_id")


def convert(rows: Sequence[Row]) -> ConvertedExport | None:
    """Plain rows of an export; None where the file is none. Raises DataError where a row is broken."""
    answers = [row.values.get("answer") for row in rows]
    given = {answer for answer in answers if answer is not None} if all(_is_answer(a) for a in answers) else set()
    hashed = all(any(key in row.values for key in ("_task_hash", "_input_hash", "_view_id")) for row in rows)
    held = any(key in row.values for row in rows for key in ("spans", "label", "accept", "options", "cats"))
    if not given or not given <= ANSWER_VALUES or not held or (None in answers and not hashed):
        return None
    name = "label" if any("label" in row.values or "options" in row.values for row in rows) else None
    blocks = any(row.values.get("_view_id") == "blocks" for row in rows)  # spans and a choice of one text
    spans = any(row.values.get("spans") for row in rows) and (name is None or blocks)
    only = _find_only_label(rows)
    readings = _merge_annotators([(row, _convert_row(row, spans, name, only)) for row in rows], rows)
    columns = [column for column, held in (("spans", spans), ("label", name)) if held]
    unread = [
        key
        for key in dict.fromkeys(k for row in rows for k in row.values)
        if key.startswith("_") or key in TOOL_COLUMNS
    ]
    unread = [key for key in unread if key not in ("answer", "accept")]
    if not spans and any(row.values.get("spans") for row in rows):
        unread.append("spans")
    notes = (
        [f"answer reject is read as the label 'not {only}', since {only!r} is the only one asked for"] if only else []
    )
    return collect_rows(rows, readings, ExportFormat("an export of Prodigy", columns, unread, notes))


def _is_answer(value: JSON) -> bool:
    return value is None or isinstance(value, str)


def _find_only_label(rows: Sequence[Row]) -> str | None:
    """The label of a file that asks whether a text is of one label, and says both yes and no."""
    if any("options" in row.values or row.values.get("spans") for row in rows):
        return None
    labels = {label for row in rows if isinstance(label := row.values.get("label"), str)}
    answers = Counter(str(row.values.get("answer")) for row in rows)
    return labels.pop() if len(labels) == 1 and answers["reject"] and answers["accept"] else None


def _convert_row(row: Row, spans: bool, name: str | None, only: str | None) -> Values | str:
    answer = row.values.get("answer")
    refused = answer == "reject" and only is not None
    if answer != "accept" and not refused:
        return REJECTED_REASON if answer is not None else "carry no answer"
    values = drop_columns(row.values, [*TOOL_COLUMNS, *(key for key in row.values if key.startswith("_")), "spans"])
    if spans:
        values["spans"] = _read_spans(row)
    elif "spans" in row.values and name is None:
        values["spans"] = []
    if "accept" in row.values:
        chosen = _read_choices(row)
        if not chosen:
            return NO_CHOICE_REASON
        values["label"] = unwrap_single(chosen)
    elif refused:
        values["label"] = f"not {only}"
    return values


def _read_choices(row: Row) -> list[JSON]:
    given = row.values["accept"]
    if not isinstance(given, list):
        raise DataError(
            f"accept is {format_value(given)}",
            where=f"{row.origin}: accept",
            allowed="a list of the chosen options' ids",
            remedy="mend the row or remove it",
        )
    return [one if isinstance(one, str) else str(one) for one in given]


def _read_spans(row: Row) -> list[JSON]:
    given = row.values.get("spans")
    return [] if given is None else parse_spans(given, row, "spans")


def _merge_annotators(readings: Sequence[RowOrReason], rows: Sequence[Row]) -> list[RowOrReason]:
    """One reading for a text that several annotators have answered."""
    if len({_get_annotator(row) for row in rows}) < 2:
        return list(readings)
    tasks: dict[Any, list[tuple[Row, Values]]] = {}
    made: list[RowOrReason] = []
    for row, values in readings:
        if isinstance(values, str):
            made.append((row, values))
        else:
            tasks.setdefault(str(row.values.get("_input_hash", row.values.get("text"))), []).append((row, values))
    for given in tasks.values():
        if len({_get_annotator(row) for row, _ in given}) < len(
            given
        ):  # one annotator twice: several questions of a text
            made += given
            continue
        alike = [find_majority_answer([values.get(key) for _, values in given])[0] for key in ("spans", "label")]
        if not all(alike):
            made += [(row, DISAGREEMENT_REASON) for row, _ in given]
            continue
        answers = {key: find_majority_answer([values.get(key) for _, values in given])[1] for key in ("spans", "label")}
        row, values = given[0]
        made.append((row, {**values, **{key: answer for key, answer in answers.items() if key in values}}))
    return sorted(made, key=lambda reading: reading[0].line)


def _get_annotator(row: Row) -> str:
    return str(next((row.values[key] for key in ANNOTATOR_COLUMNS if row.values.get(key)), ""))
