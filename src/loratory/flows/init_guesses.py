"""What `loratory init` takes a file for: the kind of the task, and the column of its answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from loratory.data.column_suggestions import (
    Candidate,
    add_gains,
    as_json,
    find_close,
    find_json_column,
    suggest_labels,
    suggest_texts,
)
from loratory.data.columns import match, pick, sample
from loratory.data.rows import Row
from loratory.errors import DataError, SpecError
from loratory.protocols import JSON
from loratory.tasks.classify import Classify
from loratory.tasks.generate import Generate
from loratory.tasks.tag import holds_spans

Ask = Callable[[str, Sequence[str]], str]  # a question and its answers to the one that is chosen
TALKING = ("messages", "conversations", "conversation", "dialog")
CLEAR = 0.8  # score of a column of labels from which another column of JSON is no answer
TRIED = 1000  # rows that a model of a label learns from and is asked
COLUMNS = {  # what --text and --label mean for each kind of task
    "classify": ("text", "label"),
    "tag": ("text", "spans"),
    "generate": ("prompt", "completion"),
}


@dataclass(frozen=True)
class Wishes:
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


def guess_kind(rows: Sequence[Row], wishes: Wishes) -> tuple[str, str]:
    """The kind of task, and why; raises SpecError for a kind that init writes no spec for."""
    if wishes.task is not None:
        if wishes.task not in COLUMNS:
            raise SpecError(f"{wishes.task!r} is no kind of task", where="--task", allowed=", ".join(COLUMNS))
        return wishes.task, ""
    looked_at = sample(rows)
    names = {key.casefold() for row in looked_at for key in row.values}
    answers = [pick(row, wishes.label) for row in looked_at] if wishes.label else []
    if not answers and names & set(TALKING):
        return "generate", "the rows are conversations"
    if any(isinstance(answer, Mapping) for answer in answers):
        return "generate", f"{wishes.label!r} holds JSON"
    if any(map(holds_spans, (row.values for row in looked_at))) and not _are_plain(answers):
        return "tag", "the rows hold labelled spans"
    if answers:
        return ("classify", "") if _are_labels(answers) else ("generate", f"{wishes.label!r} holds texts")
    if {"chosen", "rejected"} <= names:
        raise DataError(
            "the rows are preferences (chosen and rejected), not examples with an answer",
            where=rows[0].file,
            allowed="a text with its label, spans or answer",
            remedy="to learn what was chosen: --task generate --label chosen",
        )
    return _by_answers(looked_at, names)


def _by_answers(rows: Sequence[Row], names: set[str]) -> tuple[str, str]:
    labelled = _by_name(rows)
    if labelled is not None and "." in labelled:  # {"output": {"label": ...}}
        return "classify", ""
    if {"prompt", "completion"} <= names or {"instruction", "output"} <= names:
        return "generate", "the rows are instructions with their answers"
    exact = labelled is not None and labelled.casefold() not in ("output", "target")
    column = find_json_column(rows)
    labels = suggest_labels(rows, _first(suggest_texts(rows)), [column] if column else [])
    if column is not None and not exact and not (labels and labels[0].score > CLEAR):
        return "generate", f"{column!r} holds JSON"
    written = _written(rows)
    if written is not None and (not labels or (labels[0].score < 0.5 and not exact)):
        return "generate", f"{written!r} holds written answers"
    texts = suggest_texts(rows)
    if not labels and len(texts) > 1 and 2 * texts[1].distinct > len(rows):
        return "generate", f"no column holds labels, and {texts[1].path!r} holds texts"
    return "classify", ""


def _by_name(rows: Sequence[Row]) -> str | None:
    """The column that is the label by its name alone."""
    column = replace(Classify.columns["label"], required=False)
    return match(rows, {"label": column}, {}, by_content=False).columns.get("label")


def _first(candidates: Sequence[Candidate]) -> str | None:
    return candidates[0].path if candidates else None


def _written(rows: Sequence[Row]) -> str | None:
    """A column of written answers beside what is asked."""
    columns = {name: replace(Generate.columns[name], required=False) for name in ("prompt", "completion")}
    found = match(rows, columns, {}, by_content=False).columns
    return found.get("completion") if "prompt" in found else None


def _are_plain(answers: Sequence[JSON]) -> bool:
    return bool(answers) and not any(isinstance(answer, list) for answer in answers)


def _are_labels(answers: Sequence[JSON]) -> bool:
    """Whether values recur as labels do."""
    values = [str(answer) for answer in answers if answer is not None]
    return len(set(values)) <= max(2, len(values) // 2)


def choose_columns(rows: Sequence[Row], kind: str, wishes: Wishes, ask: Ask | None) -> tuple[dict[str, str], list[str]]:
    """The columns that the person named and those that take more than a name to tell; and what was guessed."""
    text, label = COLUMNS[kind]
    given = {text: wishes.text, label: wishes.label, "group": wishes.group}
    if kind == "tag" and wishes.label and _holds_tags(rows, wishes.label):
        given = {"tokens": wishes.text, "tags": wishes.label, "group": wishes.group}
    if kind == "generate" and wishes.label and _holds_messages(rows, wishes.label):
        given = {"messages": wishes.label, "group": wishes.group}
    found = {name: path for name, path in given.items() if path}
    more: dict[str, str] = {}
    if kind == "classify" and "label" not in found and (chosen := _choose_label(rows, found, ask)) is not None:
        more = {"label": chosen}
    why = "guessed from its name and what it holds"
    return {**more, **found}, [f"column {path!r} is read as {name} ({why})" for name, path in more.items()]


def _holds_tags(rows: Sequence[Row], path: str) -> bool:
    values = [value for row in sample(rows) if isinstance(value := pick(row, path), list)]
    return bool(values) and all(isinstance(one, (str, int)) for value in values for one in value)


def _holds_messages(rows: Sequence[Row], path: str) -> bool:
    value = as_json(pick(rows[0], path))
    return isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)


def _choose_label(rows: Sequence[Row], given: Mapping[str, str], ask: Ask | None) -> str | None:
    """The label's column; None where its name alone has to tell. Raises SpecError where two could be meant."""
    looked_at = sample(rows)
    named = _by_name(looked_at)
    if named is not None and "." in named and named not in looked_at[0].values:
        return named
    columns = {name: Classify.columns[name] for name in ("text", "group")}
    others = match(looked_at, columns, {name: given[name] for name in columns if name in given}).columns
    taken = [others["group"]] if "group" in others else []
    labels = suggest_labels(looked_at, others["text"], taken)
    if len(find_close(labels)) > 1:
        labels = add_gains(labels, len(looked_at), lambda path: _gain(looked_at, others["text"], path))
    close = find_close(labels)
    return _asked(close, rows[0].file, ask) if len(close) > 1 else _first(labels)


def _asked(close: Sequence[Candidate], file: str, ask: Ask | None) -> str:
    listed = ", ".join(f"{one.path!r} ({one.distinct} values)" for one in close)
    if ask is not None:
        return ask(f"{file}: several columns could be the label: {listed}. Which one?", [one.path for one in close])
    raise SpecError(
        f"several columns could be the label: {listed}",
        where=file,
        remedy=f"say which: --label {_quoted(close[0].path)}, or --label {_quoted(close[1].path)}",
    )


def _quoted(name: str) -> str:
    return name if name.replace("_", "").replace(".", "").isalnum() else f'"{name}"'


def _gain(rows: Sequence[Row], text: str, path: str) -> float:
    """Of what the commonest value gets wrong, the share that TF-IDF gets right in rows it has not seen: 0 to 1."""
    from loratory.flows.preparing import suspected
    from loratory.protocols import Example

    pairs = [(pick(row, text), pick(row, path)) for row in rows]
    plain = [(t, str(v)) for t, v in pairs if isinstance(t, str) and t.strip() and v is not None and str(v).strip()]
    plain = plain[:: -(-len(plain) // TRIED) or 1]
    labels = tuple(sorted({label for _, label in plain}))
    if len(labels) < 2 or len(plain) < 20:
        return 0.0
    examples = [Example({"text": t}, {"label": v}, origin=str(i)) for i, (t, v) in enumerate(plain)]
    found = suspected(Classify(labels=labels), examples, 0)
    return float(max(0.0, (found.accuracy - found.majority) / max(1e-9, 1 - found.majority)))
