"""Label Studio: JSON, JSON-MIN and CSV or TSV. Its CoNLL2003 export is read as every other CoNLL file.

Forms: https://labelstud.io/guide/export and label_studio_sdk's converter. JSON-MIN and CSV hold a row for each
annotation, so a task with several annotators stands in several rows of one id.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from loratory.data.readers.annotations.conversion import (
    DISAGREEMENT_REASON,
    UNANSWERED_REASON,
    ConvertedExport,
    ExportFormat,
    RowOrReason,
    Values,
    collect_rows,
    drop_columns,
    find_majority_answer,
    find_present_columns,
    is_offset,
    make_span,
    unwrap_single,
)
from loratory.data.rows import Row
from loratory.errors import DataError, format_value
from loratory.protocols import JSON

SPAN_KINDS = ("labels", "hypertextlabels", "paragraphlabels")
CHOICE_KINDS = ("choices", "taxonomy", "text", "rating", "number", "datetime", "selected")
TOOL_COLUMNS = (
    "annotator",
    "annotation_id",
    "created_at",
    "updated_at",
    "lead_time",
    "agreement",
    "completed_by",
    "history",
)
SKIPPED_REASON = "were skipped by their annotators"


def convert(rows: Sequence[Row]) -> ConvertedExport | None:
    """Plain rows of an export; None where the file is none. Raises DataError where a row is broken."""
    if all(map(_is_task, rows)) and any(_get_annotations(row) for row in rows):
        return _convert_tasks(rows)
    parsed = [(row, {key: _parse_cell(value) for key, value in row.values.items()}) for row in rows]
    return _convert_records(rows, parsed) if _are_records(parsed) else None


# -- JSON: a task with its annotations
@dataclass
class _Controls:
    """The controls that the annotations of a file use, and what in them is not read."""

    spans: dict[str, None] = field(default_factory=dict)  # in the order of their first result
    choices: dict[str, None] = field(default_factory=dict)
    unread: dict[str, None] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        return list(self.spans | self.choices)


def _is_task(row: Row) -> bool:
    given = row.values.get("annotations", row.values.get("completions"))
    told = isinstance(given, list) and all(isinstance(a, Mapping) and isinstance(a.get("result"), list) for a in given)
    return told and isinstance(row.values.get("data"), Mapping)


def _get_annotations(row: Row) -> list[Any]:
    given = row.values.get("annotations", row.values.get("completions"))
    return list(given) if isinstance(given, list) else []


def _convert_tasks(rows: Sequence[Row]) -> ConvertedExport:
    controls = _Controls()
    dialogues = any(
        "paragraphlabels" in _get_result_value(r) for row in rows for a in _get_annotations(row) for r in a["result"]
    )
    texts = [_TaskTexts.from_row(row, dialogues) for row in rows]
    answers = [
        [_collect_answers(a, text, controls) for a in _select_annotations(row)]
        for row, text in zip(rows, texts, strict=True)
    ]
    readings = [
        (row, _convert_task(row, text, given, controls)) for row, text, given in zip(rows, texts, answers, strict=True)
    ]
    known = {"data", "id", "meta", "annotations", "completions"}
    unread = [key for key in dict.fromkeys(key for row in rows for key in row.values) if key not in known]
    notes = [f"results that are not read: {', '.join(controls.unread)}"] if controls.unread else []
    clash = [name for name in controls.names if any(name in text.data for text in texts)]
    notes += [f"the data field {name!r} is called 'data.{name}', since a control has its name" for name in clash]
    return collect_rows(rows, readings, ExportFormat("an export of Label Studio (JSON)", controls.names, unread, notes))


def _select_annotations(row: Row) -> list[Any]:
    """The annotations that count: not skipped ones, and the ground truth alone where there is one."""
    given = [a for a in _get_annotations(row) if not (a.get("was_cancelled") or a.get("skipped"))]
    return [a for a in given if a.get("ground_truth")] or given


def _collect_answers(annotation: Mapping[str, Any], texts: _TaskTexts, controls: _Controls) -> dict[str, list[JSON]]:
    """Control -> its answers, of one annotation."""
    made: dict[str, list[JSON]] = {}
    for result in annotation["result"]:
        if not isinstance(result, Mapping) or not isinstance(result.get("from_name", ""), str):
            raise DataError(
                f"a result is {format_value(result)}",
                where=f"{texts.origin}: annotations",
                allowed="{from_name, to_name, type, value}",
                remedy="export the tasks again, or remove the row",
            )
        name, value = result.get("from_name"), _get_result_value(result)
        kind = next((key for key in (*SPAN_KINDS, *CHOICE_KINDS) if key in value), None)
        regional = kind in CHOICE_KINDS and "start" in value
        if name is None or kind is None or (kind == "text" and result.get("type") == "labels") or regional:
            what = str(result.get("type", "unknown"))
            controls.unread[what + (" of single regions" if regional and kind != "text" else "")] = None
        elif kind in SPAN_KINDS:
            controls.spans[name] = None
            made.setdefault(name, []).extend(_read_spans(value, texts, name))
        else:
            controls.choices[name] = None
            made.setdefault(name, []).extend(_read_choices(value, kind))
    return made


def _get_result_value(result: JSON) -> Mapping[str, Any]:
    value = result.get("value") if isinstance(result, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def _convert_task(
    row: Row, texts: _TaskTexts, given: Sequence[dict[str, list[JSON]]], controls: _Controls
) -> Values | str:
    if not given:
        return SKIPPED_REASON if _get_annotations(row) else UNANSWERED_REASON
    if not controls.spans and not any(given):
        return UNANSWERED_REASON
    values: Values = {f"data.{key}" if key in controls.names else key: value for key, value in texts.data.items()}
    for name in controls.names:
        alike, answer = find_majority_answer(
            [_unwrap_answer(one.get(name, []), name in controls.spans) for one in given]
        )
        if not alike:
            return DISAGREEMENT_REASON
        values[name] = answer
    values |= {key: row.values[key] for key in ("id", "meta") if row.values.get(key) and key not in values}
    return values


def _unwrap_answer(values: list[JSON], spans: bool) -> JSON:
    return values if spans else unwrap_single(values)


def _read_choices(value: Mapping[str, Any], kind: str) -> list[JSON]:
    given = value[kind]
    if kind == "taxonomy":
        return [" / ".join(map(str, path)) if isinstance(path, list) else path for path in given]
    return list(given) if isinstance(given, list) else [given]


# -- spans
@dataclass(frozen=True)
class _TaskTexts:
    """The data of a task, with dialogues as one text, and where in it each of their lines begins."""

    data: Values
    line_starts: Sequence[int]
    origin: str

    @classmethod
    def from_row(cls, row: Row, dialogues: bool) -> _TaskTexts:
        given = row.values["data"]
        data: Values = dict(given) if isinstance(given, Mapping) else {}
        dialogue = next((key for key, value in data.items() if _is_dialogue(value)), None) if dialogues else None
        if dialogue is None:
            return cls(data, (), row.origin)
        turns = data[dialogue]
        lines = [str(turn.get("text", "")) for turn in turns] if isinstance(turns, list) else []
        begins = [sum(len(line) + 1 for line in lines[:place]) for place in range(len(lines))]
        return cls({**data, dialogue: "\n".join(lines)}, begins, row.origin)


def _is_dialogue(value: JSON) -> bool:
    return (
        isinstance(value, list) and bool(value) and all(isinstance(turn, Mapping) and "text" in turn for turn in value)
    )


def _read_spans(value: Mapping[str, Any], texts: _TaskTexts, name: str) -> list[JSON]:
    """A span for each label of a region; raises DataError where it has none, or where its place is not in the text."""
    labels = next(value[key] for key in SPAN_KINDS if key in value)
    if not isinstance(labels, list) or not labels or not all(isinstance(label, str) for label in labels):
        raise DataError(
            f"a region has the labels {format_value(labels)}",
            where=f"{texts.origin}: {name}",
            allowed="at least one label for each region",
            remedy="label the region in Label Studio or delete it, and export again",
        )
    start, end = _find_span_offsets(value, texts, name)
    return [make_span(start, end, label, value.get("text")) for label in labels]


def _find_span_offsets(value: Mapping[str, Any], texts: _TaskTexts, name: str) -> tuple[int, int]:
    start, end = value.get("start"), value.get("end")
    if is_offset(start) and is_offset(end):
        return start, end
    both = value.get("globalOffsets")
    if isinstance(both, Mapping) and _matches_text(value.get("text"), both.get("start"), both.get("end"), texts):
        return both["start"], both["end"]
    if texts.line_starts and str(start).isdecimal() and str(end).isdecimal():
        lines = (int(str(start)), int(str(end)))
        offsets = (value.get("startOffset"), value.get("endOffset"))
        if max(lines) < len(texts.line_starts) and all(map(is_offset, offsets)):
            return texts.line_starts[lines[0]] + offsets[0], texts.line_starts[lines[1]] + offsets[1]  # type: ignore[operator]
    raise DataError(
        f"a region goes from {format_value(start)} to {format_value(end)}, which is no place in the text",
        where=f"{texts.origin}: {name}",
        allowed="start and end as numbers of characters; of HTML only where the page's text is the text of the task",
        remedy="label the plain text (a <Text> tag instead of <HyperText>), and export again",
    )


def _matches_text(span_text: JSON, start: JSON, end: JSON, texts: _TaskTexts) -> bool:
    whole = is_offset(start) and is_offset(end) and isinstance(span_text, str)
    return whole and any(isinstance(text, str) and text[start:end] == span_text for text in texts.data.values())


# -- JSON-MIN and CSV: a row for each annotation
def _parse_cell(value: JSON) -> JSON:
    """The value of a cell that holds JSON."""
    if not isinstance(value, str) or not value.startswith(("[{", '{"', '["')):
        return value
    try:
        made: JSON = json.loads(value)
    except (ValueError, RecursionError):
        return value
    return made


def _are_records(parsed: Sequence[tuple[Row, Values]]) -> bool:
    told = all("annotation_id" in values and ("annotator" in values or "lead_time" in values) for _, values in parsed)
    return told or bool(_find_span_columns(values for _, values in parsed))


def _find_span_columns(records: Iterable[Values]) -> list[str]:
    """The columns that hold lists of regions, and nothing else."""
    columns: dict[str, list[JSON]] = {}
    for values in records:
        for key, value in values.items():
            if value is not None and value != "":
                columns.setdefault(key, []).append(value)
    return [key for key, values in columns.items() if any(values) and all(map(_are_regions, values))]


def _are_regions(value: JSON) -> bool:
    return isinstance(value, list) and all(
        isinstance(one, Mapping)
        and "start" in one
        and "end" in one
        and any(isinstance(one.get(k), list) for k in SPAN_KINDS)
        for one in value
    )


def _convert_records(rows: Sequence[Row], parsed: Sequence[tuple[Row, Values]]) -> ConvertedExport:
    spans = _find_span_columns(values for _, values in parsed)
    own = find_present_columns(rows, TOOL_COLUMNS)
    made: list[tuple[Row, Values | str]] = []
    for row, values in parsed:
        blank = "annotation_id" in values and values["annotation_id"] in (None, "")
        made.append((row, UNANSWERED_REASON if blank else _convert_record(row, drop_columns(values, own), spans)))
    names = dict.fromkeys(key for _, values in made if not isinstance(values, str) for key in values)
    every = [name for name in names if all(isinstance(v, str) or name in v for _, v in made)]
    optional = [name for name in names if name not in every and name not in spans]
    readings: list[RowOrReason] = []
    for row, one in made:
        bare = not isinstance(one, str) and not spans and optional and not any(name in one for name in optional)
        readings.append((row, UNANSWERED_REASON if bare else one))
    answered = [*spans, *(name for name in optional), *_find_choice_columns(parsed)]
    form = ExportFormat("an export of Label Studio (JSON-MIN or CSV)", list(dict.fromkeys(answered)), own)
    return collect_rows(rows, _merge_annotators(readings, spans), form)


def _find_choice_columns(parsed: Sequence[tuple[Row, Values]]) -> list[str]:
    return [
        key for key in dict.fromkeys(k for _, v in parsed for k, one in v.items() if _read_options(one) is not None)
    ]


def _convert_record(row: Row, values: Values, spans: Sequence[str]) -> Values:
    texts = _TaskTexts(values, (), row.origin)
    made: Values = {}
    for key, value in values.items():
        options = _read_options(value)
        if key in spans:
            regions = value if isinstance(value, list) else []
            made[key] = [
                one for region in regions if isinstance(region, Mapping) for one in _read_spans(region, texts, key)
            ]
        else:
            made[key] = value if options is None else unwrap_single(options)
            if options is None and made[key] != row.values.get(key):
                made[key] = row.values.get(key)  # JSON that is no answer stays as the cell has it
    return made | {key: [] for key in spans if key not in made}


def _read_options(value: JSON) -> list[JSON] | None:
    """The answers of a control that is no plain string: {choices: [...]}, [{rating: 4}], ...; None where it is none."""
    results = value if isinstance(value, list) else [value]
    made: list[JSON] = []
    for result in results:
        kind = next((key for key in CHOICE_KINDS if isinstance(result, Mapping) and set(result) == {key}), None)
        if kind is None or not isinstance(result, Mapping) or (kind == "text" and not isinstance(result["text"], list)):
            return None
        made += _read_choices(result, kind)
    return made if made else None


def _merge_annotators(readings: Sequence[RowOrReason], spans: Sequence[str]) -> list[RowOrReason]:
    """One reading for each task: where annotators agree, the first of its rows with their answer."""
    tasks: dict[str, list[tuple[Row, Values]]] = {}
    made: list[RowOrReason] = []
    for number, (row, values) in enumerate(readings):
        if isinstance(values, str):
            made.append((row, values))
        else:
            known = "annotation_id" in row.values and values.get("id") not in (None, "")
            tasks.setdefault(json.dumps(values["id"]) if known else f"row {number}", []).append((row, values))
    for given in tasks.values():
        row, joined = given[0][0], dict[str, JSON]()
        agreed = True
        for key in dict.fromkeys(key for _, values in given for key in values):
            alike, joined[key] = find_majority_answer([values.get(key) for _, values in given])
            agreed = agreed and alike
        made.append((row, joined if agreed else DISAGREEMENT_REASON))
    return sorted(made, key=lambda reading: reading[0].line)
