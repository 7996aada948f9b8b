"""Argilla: version 2 (nested or flat columns), FeedbackDataset of version 1, and the records of version 1.

Forms: argilla's records/_io/_generic.py (to_list, flat and nested), the data set card of FeedbackDataset, and the
models of version 1. Suggestions and predictions are a model's and never read as answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from loratory.data.annotations.answers import (
    DISAGREE,
    UNANSWERED,
    Converted,
    Form,
    Values,
    collect,
    marked_spans,
    one_or_all,
    seen,
    settle,
    span,
    triple,
)
from loratory.data.rows import Row
from loratory.errors import DataError, shown
from loratory.protocols import JSON

SUBMITTED = ("submitted", "validated")
PENDING = "are pending, drafts or discarded"
STATES = {"Validated", "Default", "Discarded", "Edited"}
OWN = (
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
OWN1 = ("prediction", "prediction_agent", "annotation_agent", "multi_label", "event_timestamp", "search_keywords")


def convert(rows: Sequence[Row]) -> Converted | None:
    """Plain rows of an export; None where the file is none. Raises DataError where a row is broken."""
    if all(_is_nested(row) for row in rows):
        return _from_answers(rows, "an export of Argilla (records)", [_nested(row) for row in rows], [*OWN, "fields"])
    if questions := _flat_questions(rows):
        own = [*OWN, *(key for row in rows for key in row.values if _belongs(key, questions, "."))]
        return _from_answers(rows, "an export of Argilla (flat records)", [_flat(row, questions) for row in rows], own)
    if questions := _feedback_questions(rows):
        own = [*OWN, *questions, *(key for row in rows for key in row.values if _belongs(key, questions, "-"))]
        return _from_answers(
            rows, "an export of Argilla (FeedbackDataset)", [_feedback(row, questions) for row in rows], own
        )
    return _from_first(rows) if all(map(_is_first, rows)) else None


Answers = Mapping[str, list[tuple[JSON, Any]]]  # question -> value and status of each response


def _from_answers(rows: Sequence[Row], form: str, given: Sequence[Answers], own: Sequence[str]) -> Converted:
    """Rows with a column for each question; the fields of nested records are columns too."""
    names = list(dict.fromkeys(name for answers in given for name in answers))
    spans = {name for name in names if any(_aremarked_spans(v) for answers in given for v, _ in answers.get(name, ()))}
    unread = seen(rows, own)
    readings = [(row, _settled(row, answers, names, spans, set(own))) for row, answers in zip(rows, given, strict=True)]
    unread = [name for name in unread if name not in (*names, "fields") and not name.endswith("responses")]
    return collect(rows, readings, Form(form, names, unread))


def _settled(row: Row, given: Answers, names: Sequence[str], spans: set[str], own: set[str]) -> Values | str:
    state = row.values.get("status")
    usable = {name: [v for v, status in given.get(name, ()) if _counts(status, state)] for name in names}
    if not any(usable.values()):
        return PENDING if any(given.values()) or state == "discarded" else UNANSWERED
    fields = row.values.get("fields") if "fields" in own else None
    values: Values = dict(fields) if isinstance(fields, Mapping) else {}
    values |= {key: value for key, value in row.values.items() if key not in own and key not in values}
    for name in names:
        answers = [marked_spans(v, row, name) if name in spans else _plain(v) for v in usable[name]]
        alike, answer = settle(answers) if answers else (True, [] if name in spans else None)
        if not alike:
            return DISAGREE
        values[name] = answer
    return values


def _counts(status: Any, state: Any) -> bool:
    """Whether a response is a submitted one. Nested records do not tell: there the record has to be completed."""
    if status is None:
        return state not in ("pending", "discarded", "draft")
    return str(status).rpartition(".")[2].lower() in SUBMITTED


def _aremarked_spans(value: JSON) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(one, Mapping) and {"start", "end", "label"} <= set(one) for one in value)
    )


def _plain(value: JSON) -> JSON:
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return one_or_all(value)
    return value


# -- version 2
def _is_nested(row: Row) -> bool:
    return isinstance(row.values.get("fields"), Mapping) and isinstance(row.values.get("responses"), (Mapping, list))


def _nested(row: Row) -> Answers:
    given = row.values["responses"]
    made: dict[str, list[tuple[JSON, Any]]] = {}
    if isinstance(given, list):  # as the server's API writes them: one response of a user holds all questions
        for response in given:
            values = response.get("values") if isinstance(response, Mapping) else None
            for name, value in values.items() if isinstance(values, Mapping) else ():
                made.setdefault(name, []).append((_value(value, row, name), response.get("status")))
    else:
        for name, responses in given.items() if isinstance(given, Mapping) else ():
            made[name] = [(_value(one, row, name), one.get("status")) for one in _responses(responses, row, name)]
    return made


def _responses(responses: JSON, row: Row, name: str) -> list[Any]:
    listed = [] if responses is None else responses if isinstance(responses, list) else [responses]
    for one in listed:
        _value(one, row, name)
    return listed


def _value(response: Any, row: Row, name: str) -> JSON:
    if not isinstance(response, Mapping) or "value" not in response:
        raise DataError(
            f"a response is {shown(response)}",
            where=f"{row.place}: {name}",
            allowed="{value, user_id}",
            remedy="export the records again, or remove the row",
        )
    found: JSON = response["value"]
    return found


def _flat_questions(rows: Sequence[Row]) -> list[str]:
    names = dict.fromkeys(key for row in rows for key in row.values)
    found = [key.removesuffix(".responses") for key in names if key.endswith(".responses")]
    return [
        name for name in found if all(isinstance(r.values.get(f"{name}.responses"), (list, type(None))) for r in rows)
    ]


def _belongs(key: str, questions: Sequence[str], mark: str) -> bool:
    """Whether a column is about the answers of a question: label.responses.users, label-suggestion-metadata, ..."""
    return key.split(f"{mark}responses")[0] in questions or key.split(f"{mark}suggestion")[0] in questions


def _flat(row: Row, questions: Sequence[str]) -> Answers:
    made = {}
    for name in questions:
        values, states = (row.values.get(f"{name}.responses{end}") for end in ("", ".status"))
        listed = values if isinstance(values, list) else []
        known = states if isinstance(states, list) and len(states) == len(listed) else [None] * len(listed)
        made[name] = [(value, status) for value, status in zip(listed, known, strict=True) if value is not None]
    return made


# -- FeedbackDataset
def _feedback_questions(rows: Sequence[Row]) -> list[str]:
    names = dict.fromkeys(key for row in rows for key in row.values)
    lists = {name: [_rotated(row.values.get(name)) for row in rows] for name in names}
    return [
        name
        for name, values in lists.items()
        if any(values) and all(value is not None and all(map(_is_response, value)) for value in values)
    ]


def _rotated(value: JSON) -> list[Any] | None:
    """A list of responses; from a mapping of lists, as Parquet has it, too. None where the value is neither."""
    if isinstance(value, Mapping) and {"user_id", "value", "status"} <= set(value):
        columns = [value[key] if isinstance(value[key], list) else [] for key in ("value", "user_id", "status")]
        if len({len(column) for column in columns}) == 1:
            return [dict(zip(("value", "user_id", "status"), one, strict=True)) for one in zip(*columns, strict=True)]
    return [] if value is None else value if isinstance(value, list) else None


def _is_response(value: Any) -> bool:
    return isinstance(value, Mapping) and {"user_id", "value", "status"} <= set(value)


def _feedback(row: Row, questions: Sequence[str]) -> Answers:
    return {
        name: [
            (one["value"], one["status"]) for one in _rotated(row.values.get(name)) or () if one["value"] is not None
        ]
        for name in questions
    }


# -- version 1
def _is_first(row: Row) -> bool:
    state = row.values.get("status")
    told = "annotation" in row.values and ("prediction" in row.values or "annotation_agent" in row.values)
    return (
        told
        and (state is None or (isinstance(state, str) and state in STATES))
        and ("inputs" in row.values or "text" in row.values)
    )


def _from_first(rows: Sequence[Row]) -> Converted:
    tokens = any("tokens" in row.values and "inputs" not in row.values for row in rows)
    classes = any("inputs" in row.values or "multi_label" in row.values for row in rows)
    name = "spans" if tokens else "label" if classes else "annotation"
    if any(name in row.values or name in _inputs(row) for row in rows):
        name = "annotation"
    own = {*OWN, *OWN1, "inputs", "annotation", *(["tokens"] if tokens else [])}
    readings = [(row, _first(row, name, own, tokens)) for row in rows]
    unread = [key for key in seen(rows, own) if key not in ("inputs", "annotation")]
    return collect(rows, readings, Form("an export of Argilla 1", [name], unread))


def _inputs(row: Row) -> Mapping[str, JSON]:
    inputs = row.values.get("inputs")
    return inputs if isinstance(inputs, Mapping) else {} if inputs is None else {"text": inputs}


def _first(row: Row, name: str, own: set[str], tokens: bool) -> Values | str:
    state, given = row.values.get("status"), row.values.get("annotation")
    if state not in (None, "Validated"):
        return PENDING if given is not None or state == "Discarded" else UNANSWERED
    if given is None:
        return UNANSWERED
    values: Values = {**_inputs(row)}
    values |= {key: value for key, value in row.values.items() if key not in own and values.get(key) is None}
    values[name] = _entities(given, row) if tokens else _plain(given)
    return UNANSWERED if values[name] is None else values


def _entities(given: JSON, row: Row) -> list[JSON]:
    if not isinstance(given, list):
        raise _no_entity(given, row)
    return [_entity(one, row) for one in given]


def _entity(one: Any, row: Row) -> JSON:
    if isinstance(one, Mapping) and {"start", "end", "label"} <= set(one):
        return span(one["start"], one["end"], one["label"])
    if isinstance(one, list) and len(one) >= 3 and isinstance(one[0], str):
        made = triple([one[1], one[2], one[0]])
        if made is not None:
            return made
    raise _no_entity(one, row)


def _no_entity(value: Any, row: Row) -> DataError:
    return DataError(
        f"an entity is {shown(value)}",
        where=f"{row.place}: annotation",
        allowed="a list of [label, start, end] or {label, start, end}",
        remedy="mend the row or remove it",
    )
