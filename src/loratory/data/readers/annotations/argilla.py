"""Argilla: version 2 (nested or flat columns), FeedbackDataset of version 1, and the records of version 1.

Forms: argilla's records/_io/_generic.py (to_list, flat and nested), the data set card of FeedbackDataset, and the
models of version 1. Suggestions and predictions are a model's and never read as answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from loratory.data.readers.annotations.conversion import (
    DISAGREEMENT_REASON,
    UNANSWERED_REASON,
    ConvertedExport,
    ExportFormat,
    Values,
    collect_rows,
    find_majority_answer,
    find_present_columns,
    make_span,
    parse_spans,
    parse_triple,
    unwrap_single,
)
from loratory.data.rows import Row
from loratory.errors import DataError, format_value
from loratory.protocols import JSON

SUBMITTED_STATUSES = ("submitted", "validated")
PENDING_REASON = "are pending, drafts or discarded"
RECORD_STATUSES = {"Validated", "Default", "Discarded", "Edited"}
TOOL_COLUMNS = (
    "_server_id",
    "status",
    "inserted_at",
    "updated_at",
    "vectors",
    "suggestions",
    "responses",
    "explanation",
    "metrics",
)
TOOL_COLUMNS_V1 = (
    "prediction",
    "prediction_agent",
    "annotation_agent",
    "multi_label",
    "event_timestamp",
    "search_keywords",
)


def convert(rows: Sequence[Row]) -> ConvertedExport | None:
    """Plain rows of an export; None where the file is none. Raises DataError where a row is broken."""
    if all(_is_nested(row) for row in rows):
        return _convert_answers(
            rows,
            "an export of Argilla (records)",
            [_read_nested_answers(row) for row in rows],
            [*TOOL_COLUMNS, "fields"],
        )
    if questions := _find_flat_questions(rows):
        own = [*TOOL_COLUMNS, *(key for row in rows for key in row.values if _is_question_column(key, questions, "."))]
        return _convert_answers(
            rows, "an export of Argilla (flat records)", [_read_flat_answers(row, questions) for row in rows], own
        )
    if questions := _find_feedback_questions(rows):
        own = [
            *TOOL_COLUMNS,
            *questions,
            *(key for row in rows for key in row.values if _is_question_column(key, questions, "-")),
        ]
        return _convert_answers(
            rows,
            "an export of Argilla (FeedbackDataset)",
            [_read_feedback_answers(row, questions) for row in rows],
            own,
        )
    return _convert_version_1(rows) if all(map(_is_version_1, rows)) else None


ResponsesByQuestion = Mapping[str, list[tuple[JSON, Any]]]  # question -> value and status of each response


def _convert_answers(
    rows: Sequence[Row], format_name: str, answers_by_row: Sequence[ResponsesByQuestion], tool_columns: Sequence[str]
) -> ConvertedExport:
    """Rows with a column for each question; the fields of nested records are columns too."""
    names = list(dict.fromkeys(name for answers in answers_by_row for name in answers))
    spans = {
        name for name in names if any(_are_spans(v) for answers in answers_by_row for v, _ in answers.get(name, ()))
    }
    unread = find_present_columns(rows, tool_columns)
    readings = [
        (row, _resolve_answers(row, answers, names, spans, set(tool_columns)))
        for row, answers in zip(rows, answers_by_row, strict=True)
    ]
    unread = [name for name in unread if name not in (*names, "fields") and not name.endswith("responses")]
    return collect_rows(rows, readings, ExportFormat(format_name, names, unread))


def _resolve_answers(
    row: Row, responses: ResponsesByQuestion, names: Sequence[str], spans: set[str], tool_columns: set[str]
) -> Values | str:
    state = row.values.get("status")
    usable = {name: [v for v, status in responses.get(name, ()) if _is_submitted(status, state)] for name in names}
    if not any(usable.values()):
        return PENDING_REASON if any(responses.values()) or state == "discarded" else UNANSWERED_REASON
    fields = row.values.get("fields") if "fields" in tool_columns else None
    values: Values = dict(fields) if isinstance(fields, Mapping) else {}
    values |= {key: value for key, value in row.values.items() if key not in tool_columns and key not in values}
    for name in names:
        answers = [parse_spans(v, row, name) if name in spans else _unwrap_strings(v) for v in usable[name]]
        alike, answer = find_majority_answer(answers) if answers else (True, [] if name in spans else None)
        if not alike:
            return DISAGREEMENT_REASON
        values[name] = answer
    return values


def _is_submitted(status: JSON, state: JSON) -> bool:
    """Whether a response is a submitted one. Nested records do not tell: there the record has to be completed."""
    if status is None:
        return state not in ("pending", "discarded", "draft")
    return str(status).rpartition(".")[2].lower() in SUBMITTED_STATUSES


def _are_spans(value: JSON) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(one, Mapping) and {"start", "end", "label"} <= set(one) for one in value)
    )


def _unwrap_strings(value: JSON) -> JSON:
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return unwrap_single(value)
    return value


# -- version 2
def _is_nested(row: Row) -> bool:
    return isinstance(row.values.get("fields"), Mapping) and isinstance(row.values.get("responses"), (Mapping, list))


def _read_nested_answers(row: Row) -> ResponsesByQuestion:
    given = row.values["responses"]
    made: dict[str, list[tuple[JSON, Any]]] = {}
    if isinstance(given, list):  # as the server's API writes them: one response of a user holds all questions
        for response in given:
            values = response.get("values") if isinstance(response, Mapping) else None
            for name, value in values.items() if isinstance(values, Mapping) else ():
                made.setdefault(name, []).append((_get_response_value(value, row, name), response.get("status")))
    else:
        for name, responses in given.items() if isinstance(given, Mapping) else ():
            made[name] = [
                (_get_response_value(one, row, name), one.get("status"))
                for one in _list_responses(responses, row, name)
            ]
    return made


def _list_responses(responses: JSON, row: Row, name: str) -> list[Any]:
    listed = [] if responses is None else responses if isinstance(responses, list) else [responses]
    for one in listed:
        _get_response_value(one, row, name)
    return listed


def _get_response_value(response: JSON, row: Row, name: str) -> JSON:
    if not isinstance(response, Mapping) or "value" not in response:
        raise DataError(
            f"a response is {format_value(response)}",
            where=f"{row.origin}: {name}",
            allowed="{value, user_id}",
            remedy="export the records again, or remove the row",
        )
    found: JSON = response["value"]
    return found


def _find_flat_questions(rows: Sequence[Row]) -> list[str]:
    names = dict.fromkeys(key for row in rows for key in row.values)
    found = [key.removesuffix(".responses") for key in names if key.endswith(".responses")]
    return [
        name for name in found if all(isinstance(r.values.get(f"{name}.responses"), (list, type(None))) for r in rows)
    ]


def _is_question_column(key: str, questions: Sequence[str], mark: str) -> bool:
    """Whether a column is about the answers of a question: label.responses.users, label-suggestion-metadata, ..."""
    return key.split(f"{mark}responses")[0] in questions or key.split(f"{mark}suggestion")[0] in questions


def _read_flat_answers(row: Row, questions: Sequence[str]) -> ResponsesByQuestion:
    made = {}
    for name in questions:
        values, states = (row.values.get(f"{name}.responses{end}") for end in ("", ".status"))
        listed = values if isinstance(values, list) else []
        known = states if isinstance(states, list) and len(states) == len(listed) else [None] * len(listed)
        made[name] = [(value, status) for value, status in zip(listed, known, strict=True) if value is not None]
    return made


# -- FeedbackDataset
def _find_feedback_questions(rows: Sequence[Row]) -> list[str]:
    names = dict.fromkeys(key for row in rows for key in row.values)
    lists = {name: [_to_response_list(row.values.get(name)) for row in rows] for name in names}
    return [
        name
        for name, values in lists.items()
        if any(values) and all(value is not None and all(map(_is_response, value)) for value in values)
    ]


def _to_response_list(value: JSON) -> list[Any] | None:
    """A list of responses; from a mapping of lists, as Parquet has it, too. None where the value is neither."""
    if isinstance(value, Mapping) and {"user_id", "value", "status"} <= set(value):
        columns = [value[key] if isinstance(value[key], list) else [] for key in ("value", "user_id", "status")]
        if len({len(column) for column in columns}) == 1:
            return [dict(zip(("value", "user_id", "status"), one, strict=True)) for one in zip(*columns, strict=True)]
    return [] if value is None else value if isinstance(value, list) else None


def _is_response(value: JSON) -> bool:
    return isinstance(value, Mapping) and {"user_id", "value", "status"} <= set(value)


def _read_feedback_answers(row: Row, questions: Sequence[str]) -> ResponsesByQuestion:
    return {
        name: [
            (one["value"], one["status"])
            for one in _to_response_list(row.values.get(name)) or ()
            if one["value"] is not None
        ]
        for name in questions
    }


# -- version 1
def _is_version_1(row: Row) -> bool:
    state = row.values.get("status")
    told = "annotation" in row.values and ("prediction" in row.values or "annotation_agent" in row.values)
    return (
        told
        and (state is None or (isinstance(state, str) and state in RECORD_STATUSES))
        and ("inputs" in row.values or "text" in row.values)
    )


def _convert_version_1(rows: Sequence[Row]) -> ConvertedExport:
    tokens = any("tokens" in row.values and "inputs" not in row.values for row in rows)
    classes = any("inputs" in row.values or "multi_label" in row.values for row in rows)
    name = "spans" if tokens else "label" if classes else "annotation"
    if any(name in row.values or name in _get_inputs(row) for row in rows):
        name = "annotation"
    own = {*TOOL_COLUMNS, *TOOL_COLUMNS_V1, "inputs", "annotation", *(["tokens"] if tokens else [])}
    readings = [(row, _convert_version_1_row(row, name, own, tokens)) for row in rows]
    unread = [key for key in find_present_columns(rows, own) if key not in ("inputs", "annotation")]
    return collect_rows(rows, readings, ExportFormat("an export of Argilla 1", [name], unread))


def _get_inputs(row: Row) -> Mapping[str, JSON]:
    inputs = row.values.get("inputs")
    return inputs if isinstance(inputs, Mapping) else {} if inputs is None else {"text": inputs}


def _convert_version_1_row(row: Row, name: str, tool_columns: set[str], tokens: bool) -> Values | str:
    state, given = row.values.get("status"), row.values.get("annotation")
    if state not in (None, "Validated"):
        return PENDING_REASON if given is not None or state == "Discarded" else UNANSWERED_REASON
    if given is None:
        return UNANSWERED_REASON
    values: Values = {**_get_inputs(row)}
    values |= {key: value for key, value in row.values.items() if key not in tool_columns and values.get(key) is None}
    values[name] = _parse_entities(given, row) if tokens else _unwrap_strings(given)
    return UNANSWERED_REASON if values[name] is None else values


def _parse_entities(given: JSON, row: Row) -> list[JSON]:
    if not isinstance(given, list):
        raise _make_entity_error(given, row)
    return [_parse_entity(one, row) for one in given]


def _parse_entity(one: JSON, row: Row) -> JSON:
    if isinstance(one, Mapping) and {"start", "end", "label"} <= set(one):
        return make_span(one["start"], one["end"], one["label"])
    if isinstance(one, list) and len(one) >= 3 and isinstance(one[0], str):
        made = parse_triple([one[1], one[2], one[0]])
        if made is not None:
            return made
    raise _make_entity_error(one, row)


def _make_entity_error(value: JSON, row: Row) -> DataError:
    return DataError(
        f"an entity is {format_value(value)}",
        where=f"{row.origin}: annotation",
        allowed="a list of [label, start, end] or {label, start, end}",
        remedy="mend the row or remove it",
    )
