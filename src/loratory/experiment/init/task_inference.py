"""What `loratory init` takes a file for: the kind of the task, and the column of its answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from loratory.data.column_suggestions import (
    ColumnCandidate,
    add_model_gains,
    as_json,
    find_close_candidates,
    find_json_column,
    suggest_label_columns,
    suggest_text_columns,
)
from loratory.data.columns import get_value_at, match_columns, sample_rows
from loratory.data.dataset import Dataset
from loratory.data.rows import Row
from loratory.errors import DataError, SpecError
from loratory.protocols import JSON
from loratory.tasks.classify import Classify
from loratory.tasks.generate import Generate
from loratory.tasks.tag import has_spans

ChoiceAsker = Callable[[str, Sequence[str]], str]  # a question and its answers to the one that is chosen
CONVERSATION_COLUMNS = ("messages", "conversations", "conversation", "dialog")
MIN_CLEAR_LABEL_SCORE = 0.8  # score of a column of labels from which another column of JSON is no answer
MAX_TRIAL_ROWS = 1000  # rows that a model of a label learns from and is asked
COLUMNS_BY_KIND = {  # what --text and --label mean for each kind of task
    "classify": ("text", "label"),
    "tag": ("text", "spans"),
    "generate": ("prompt", "completion"),
}


@dataclass(frozen=True)
class InitOptions:
    """What the person said about the data; None where it is to be guessed."""

    task: str | None = None
    text: str | None = None
    label: str | None = None
    group: str | None = None
    tag_names: str | None = None  # of tags that are numbers: "O,B-PER,I-PER"
    encoding: str | None = None
    config: str | None = None
    revision: str | None = None
    sheet: str | None = None


def infer_task_kind(rows: Sequence[Row], init_options: InitOptions) -> tuple[str, str]:
    """The kind of task, and why; raises SpecError for a kind that init writes no spec for."""
    if init_options.task is not None:
        if init_options.task not in COLUMNS_BY_KIND:
            raise SpecError(
                f"{init_options.task!r} is no kind of task", where="--task", allowed=", ".join(COLUMNS_BY_KIND)
            )
        return init_options.task, ""
    looked_at = sample_rows(rows)
    names = {key.casefold() for row in looked_at for key in row.values}
    answers = [get_value_at(row, init_options.label) for row in looked_at] if init_options.label else []
    if not answers and names & set(CONVERSATION_COLUMNS):
        return "generate", "the rows are conversations"
    if any(isinstance(answer, Mapping) for answer in answers):
        return "generate", f"{init_options.label!r} holds JSON"
    if any(map(has_spans, (row.values for row in looked_at))) and not _are_plain(answers):
        return "tag", "the rows hold labelled spans"
    if answers:
        return ("classify", "") if _are_labels(answers) else ("generate", f"{init_options.label!r} holds texts")
    if {"chosen", "rejected"} <= names:
        raise DataError(
            "the rows are preferences (chosen and rejected), not examples with an answer",
            where=rows[0].file,
            allowed="a text with its label, spans or answer",
            remedy="to learn what was chosen: --task generate --label chosen",
        )
    return _infer_kind_from_answers(looked_at, names)


def _infer_kind_from_answers(rows: Sequence[Row], names: set[str]) -> tuple[str, str]:
    labelled = _find_label_by_name(rows)
    if labelled is not None and "." in labelled:  # {"output": {"label": ...}}
        return "classify", ""
    if {"prompt", "completion"} <= names or {"instruction", "output"} <= names:
        return "generate", "the rows are instructions with their answers"
    exact = labelled is not None and labelled.casefold() not in ("output", "target")
    column = find_json_column(rows)
    labels = suggest_label_columns(rows, _first_path(suggest_text_columns(rows)), [column] if column else [])
    if column is not None and not exact and not (labels and labels[0].score > MIN_CLEAR_LABEL_SCORE):
        return "generate", f"{column!r} holds JSON"
    written = _find_completion_column(rows)
    if written is not None and (not labels or (labels[0].score < 0.5 and not exact)):
        return "generate", f"{written!r} holds written answers"
    texts = suggest_text_columns(rows)
    if not labels and len(texts) > 1 and 2 * texts[1].distinct > len(rows):
        return "generate", f"no column holds labels, and {texts[1].path!r} holds texts"
    return "classify", ""


def _find_label_by_name(rows: Sequence[Row]) -> str | None:
    """The column that is the label by its name alone."""
    column = replace(Classify.columns["label"], required=False)
    return match_columns(rows, {"label": column}, {}, by_content=False).columns.get("label")


def _first_path(candidates: Sequence[ColumnCandidate]) -> str | None:
    return candidates[0].path if candidates else None


def _find_completion_column(rows: Sequence[Row]) -> str | None:
    """A column of written answers beside what is asked."""
    columns = {name: replace(Generate.columns[name], required=False) for name in ("prompt", "completion")}
    found = match_columns(rows, columns, {}, by_content=False).columns
    return found.get("completion") if "prompt" in found else None


def _are_plain(answers: Sequence[JSON]) -> bool:
    return bool(answers) and not any(isinstance(answer, list) for answer in answers)


def _are_labels(answers: Sequence[JSON]) -> bool:
    """Whether values recur as labels do."""
    values = [str(answer) for answer in answers if answer is not None]
    return len(set(values)) <= max(2, len(values) // 2)


def choose_columns(
    rows: Sequence[Row], kind: str, init_options: InitOptions, ask: ChoiceAsker | None
) -> tuple[dict[str, str], list[str]]:
    """The columns that the person named and those that take more than a name to tell; and what was guessed."""
    text, label = COLUMNS_BY_KIND[kind]
    given = {text: init_options.text, label: init_options.label, "group": init_options.group}
    if kind == "tag" and init_options.label and _holds_tags(rows, init_options.label):
        given = {"tokens": init_options.text, "tags": init_options.label, "group": init_options.group}
    if kind == "generate" and init_options.label and _holds_messages(rows, init_options.label):
        given = {"messages": init_options.label, "group": init_options.group}
    found = {name: path for name, path in given.items() if path}
    more: dict[str, str] = {}
    if kind == "classify" and "label" not in found and (chosen := _choose_label(rows, found, ask)) is not None:
        more = {"label": chosen}
    why = "guessed from its name and what it holds"
    return {**more, **found}, [f"column {path!r} is read as {name} ({why})" for name, path in more.items()]


def _holds_tags(rows: Sequence[Row], path: str) -> bool:
    values = [value for row in sample_rows(rows) if isinstance(value := get_value_at(row, path), list)]
    return bool(values) and all(isinstance(one, (str, int)) for value in values for one in value)


def _holds_messages(rows: Sequence[Row], path: str) -> bool:
    value = as_json(get_value_at(rows[0], path))
    return isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)


def _choose_label(rows: Sequence[Row], given: Mapping[str, str], ask: ChoiceAsker | None) -> str | None:
    """The label's column; None where its name alone has to tell. Raises SpecError where two could be meant."""
    looked_at = sample_rows(rows)
    named = _find_label_by_name(looked_at)
    if named is not None and "." in named and named not in looked_at[0].values:
        return named
    columns = {name: Classify.columns[name] for name in ("text", "group")}
    others = match_columns(looked_at, columns, {name: given[name] for name in columns if name in given}).columns
    taken = [others["group"]] if "group" in others else []
    labels = suggest_label_columns(looked_at, others["text"], taken)
    if len(find_close_candidates(labels)) > 1:
        labels = add_model_gains(
            labels, len(looked_at), lambda path: _measure_label_gain(looked_at, others["text"], path)
        )
    close = find_close_candidates(labels)
    return _ask_for_column(close, rows[0].file, ask) if len(close) > 1 else _first_path(labels)


def _ask_for_column(close: Sequence[ColumnCandidate], file: str, ask: ChoiceAsker | None) -> str:
    listed = ", ".join(f"{one.path!r} ({one.distinct} values)" for one in close)
    if ask is not None:
        return ask(f"{file}: several columns could be the label: {listed}. Which one?", [one.path for one in close])
    raise SpecError(
        f"several columns could be the label: {listed}",
        where=file,
        remedy=f"say which: --label {_quote_column(close[0].path)}, or --label {_quote_column(close[1].path)}",
    )


def _quote_column(name: str) -> str:
    return name if name.replace("_", "").replace(".", "").isalnum() else f'"{name}"'


def _measure_label_gain(rows: Sequence[Row], text: str, path: str) -> float:
    """Of what the commonest value gets wrong, the share that TF-IDF gets right in rows it has not seen: 0 to 1."""
    from loratory.experiment.prepare import find_label_errors
    from loratory.protocols import Example

    pairs = [(get_value_at(row, text), get_value_at(row, path)) for row in rows]
    plain = [(t, str(v)) for t, v in pairs if isinstance(t, str) and t.strip() and v is not None and str(v).strip()]
    plain = plain[:: -(-len(plain) // MAX_TRIAL_ROWS) or 1]
    labels = tuple(sorted({label for _, label in plain}))
    if len(labels) < 2 or len(plain) < 20:
        return 0.0
    examples = [Example({"text": t}, {"label": v}, origin=str(i)) for i, (t, v) in enumerate(plain)]
    found = find_label_errors(Dataset.of(Classify(labels=labels), examples), 0)
    return float(max(0.0, (found.accuracy - found.majority) / max(1e-9, 1 - found.majority)))
