"""`loratory init`: a commented spec for somebody's examples, or a copy of a recipe's."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loratory.artifacts.durable_files import write_text
from loratory.data.column_suggestions import as_json
from loratory.data.columns import ColumnMapping, match_columns
from loratory.data.examples import to_examples
from loratory.data.offset_detection import detect_offset_unit
from loratory.data.quality.joined_labels import describe_joined_labels
from loratory.data.readers.source_reader import Source, read_source
from loratory.errors import SpecError
from loratory.experiment.editor_schema import MODELINE, write_schema_beside
from loratory.experiment.init import spec_templates
from loratory.experiment.init.task_inference import (
    COLUMNS_BY_KIND,
    ChoiceAsker,
    InitOptions,
    choose_columns,
    infer_task_kind,
)
from loratory.experiment.recipes import find_recipe_folder
from loratory.experiment.spec_loading import make_parser
from loratory.measures.offset_formats import OffsetFormat
from loratory.protocols import JSON, Example, Task
from loratory.protocols.recipes import SPEC_FILE
from loratory.schemas import infer_schema
from loratory.specs.data import DataSpec
from loratory.specs.spec import NAME_PATTERN, NAME_RULE, parse_spec
from loratory.specs.yaml_files import load_yaml, parse_yaml
from loratory.specs.yaml_writer import dump_yaml
from loratory.tasks.classify import Classify
from loratory.tasks.generate import Generate
from loratory.tasks.tag import Tag

MAX_WRITTEN_LABELS = 30  # labels that are written into the spec; more are read from train
DEFAULT_MAX_TOKENS = 512  # as many as the embedded base reads
MAX_SCHEMA_KEYS = 60  # keys of an answer from which they are no fields any more but content
DEFAULT_OPTIONS = InitOptions()


@dataclass(frozen=True)
class DatasetSummary:
    """What was read of the data, and what every spec says about it."""

    source: Source
    matching: ColumnMapping
    examples: list[Example]  # of train
    held_out_examples: list[Example]  # of given validation and test sets
    template_values: Mapping[str, Any]


def write_spec_for_data(
    data: str,
    output: Path,
    name: str | None,
    init_options: InitOptions = DEFAULT_OPTIONS,
    ask: ChoiceAsker | None = None,
) -> list[str]:
    """Write a commented spec for the examples at `data`, and its schema beside it; returns what was guessed.

    `ask` is asked where two columns could be meant; without it that is an error. Raises DataError and SpecError.
    """
    if name is not None and not NAME_PATTERN.fullmatch(name):
        raise SpecError(f"{name!r} is no name", where="--name", allowed=NAME_RULE)
    local = Path(data).expanduser()
    options = _reading_options(init_options)
    source = read_source(DataSpec(path=str(local.resolve()) if local.exists() else data, **options), Path.cwd())
    path = os.path.relpath(local.resolve(), output.resolve().parent) if local.exists() else data
    about: dict[str, Any] = {"file": output, "path": _to_yaml(path), "options": _format_lines(options)}
    names = [name.strip() for name in (init_options.tag_names or "").split(",") if name.strip()]
    about["tag_names"] = {"tag_names": names} if names else {}
    about["name"] = _to_yaml(name or _name_from_path(local.resolve() if local.exists() else Path(data)))
    kind, why = infer_task_kind(source.train, init_options)
    given, chosen = choose_columns(source.train, kind, init_options, ask)
    text, said = SPEC_WRITERS[kind](source, given, about)
    text = MODELINE + text
    parse_spec(*_parse_back(text, output), output.parent)  # what init writes, run takes
    write_text(output, text)
    said += write_schema_beside(output)
    others = [other for other in COLUMNS_BY_KIND if other != kind]
    taken = (
        [f"the task is {kind}, because {why}; if that is wrong, use --task {' or --task '.join(others)}"] if why else []
    )
    return [*source.messages, *taken, *chosen, *said]


def _reading_options(init_options: InitOptions) -> dict[str, str]:
    """What the person said of how the data are read, as keys under `data:`."""
    options = {key: getattr(init_options, key) for key in ("encoding", "config", "revision", "sheet")}
    return {key: value for key, value in options.items() if value is not None}


def _write_classify(source: Source, given: Mapping[str, str], about: Mapping[str, Any]) -> tuple[str, list[str]]:
    found = _read_examples(source, Classify(), given, about)
    settled = Classify().resolve_options(found.examples, found.held_out_examples)
    counts = Counter(settled.label_of(example.answer) for example in found.examples)
    only = [label for label in settled.labels or () if label not in counts]
    said = _describe_counts(counts)
    if only:
        said.append(f"{len(only)} label(s) are only in the validation or test file: {_join_labels(only)}")
    if joined := describe_joined_labels({*counts, *only}):
        said.append(joined)
    text = spec_templates.CLASSIFY_SPEC.format(
        **about,
        about=f"{len(found.examples)} examples of {len(counts)} labels",
        labels=_format_labels(settled.labels),
        columns=_format_lines(found.matching.columns),
        some_label=_to_yaml(min(counts, key=lambda label: (counts[label], label))),
    )
    return text, [*found.matching.messages, *_describe_unused_columns(found), *said]


def _write_tag(source: Source, given: Mapping[str, str], about: Mapping[str, Any]) -> tuple[str, list[str]]:
    reading = _detect_offset_reading(source, given)
    options = {**reading.options, **about["tag_names"]}
    task = Tag(**options)
    found = _read_examples(source, task, given, about)
    settled = task.resolve_options(found.examples, found.held_out_examples)
    counts = Counter(span["label"] for example in found.examples for span in (example.answer or {"spans": ()})["spans"])
    said = f"{len(found.examples)} texts with {counts.total()} spans of {len(counts)} labels"
    text = spec_templates.TAG_SPEC.format(
        **about,
        about=said,
        labels=_format_labels(settled.labels) + _format_lines(options),
        columns=_format_lines(found.matching.columns),
    )
    told = [f"the offsets of the spans are read as {reading.name}: then they begin and end at words"]
    return text, [*found.matching.messages, *(told if reading.options else []), *_describe_unused_columns(found), said]


def _detect_offset_reading(source: Source, given: Mapping[str, str]) -> OffsetFormat:
    """What the offsets of spans count."""
    columns = match_columns(source.train, Tag.columns, given).columns
    if "text" not in columns or "spans" not in columns:
        return OffsetFormat()
    return detect_offset_unit(source.train, columns["text"], columns["spans"])


def _write_generate(source: Source, given: Mapping[str, str], about: Mapping[str, Any]) -> tuple[str, list[str]]:
    found = _read_examples(source, Generate(), given, about)
    schema = _infer_answer_schema(found)
    if schema is not None:  # what was read as text is read again as JSON
        found = _read_examples(source, Generate(answer_schema=schema), given, about)
    said = f"{len(found.examples)} conversations with an answer"
    text = spec_templates.GENERATE_SPEC.format(
        **about,
        about=said,
        schema=_format_schema_line(schema),
        checks=f"{'  checks: [overlap]' if schema is None else '  checks: [fields]':<28}",
        columns=_format_lines(found.matching.columns),
        tokens=DEFAULT_MAX_TOKENS,
    )
    more = [] if schema is None else ["every answer is JSON; the schema was inferred from the answers"]
    return text, [*found.matching.messages, *_describe_unused_columns(found), said, *more]


SPEC_WRITERS = {"classify": _write_classify, "tag": _write_tag, "generate": _write_generate}


def _read_examples(source: Source, task: Task, given: Mapping[str, str], about: Mapping[str, Any]) -> DatasetSummary:
    matching = match_columns(source.train, task.columns, given)
    most = DataSpec(path=source.name).max_characters
    others = [
        example
        for rows in (source.validation, source.test)
        if rows is not None
        for example in to_examples(rows, task, matching, most)
    ]
    return DatasetSummary(source, matching, list(to_examples(source.train, task, matching, most)), others, about)


def _infer_answer_schema(found: DatasetSummary) -> dict[str, Any] | None:
    """The schema of answers that are all JSON objects, None where they are not."""
    answers = [as_json(example.answer) for example in (*found.examples, *found.held_out_examples)]
    if not answers or not all(isinstance(answer, Mapping) for answer in answers):
        return None
    return infer_schema(answers) if len({key for answer in answers for key in answer}) <= MAX_SCHEMA_KEYS else None


def _format_schema_line(schema: Mapping[str, Any] | None) -> str:
    if schema is None:
        return "  # answer_schema: {type: object, properties: {...}, required: [...]}   # the schema of the answers\n"
    return f"  answer_schema: {_to_yaml(schema)}   # answers are JSON of this schema; narrow it: enum, maxLength ...\n"


def _describe_unused_columns(found: DatasetSummary) -> list[str]:
    """The columns that nothing is read from."""
    used = {path.split(".")[0] for path in found.matching.columns.values()} | set(found.matching.columns.values())
    columns = dict.fromkeys(key for row in found.source.train for key in row.values)
    unused = [repr(key) for key in columns if key not in used]
    return [f"not used: {', '.join(unused)}"] if unused else []


def _join_labels(labels: list[str]) -> str:
    return ", ".join(map(repr, labels[:5])) + (" and more" if len(labels) > 5 else "")


def copy_recipe_spec(recipe: str, output: Path) -> list[str]:
    """Copy a recipe's spec, with its schema beside it; paths of the recipe's data and prompts are made absolute."""
    folder = find_recipe_folder(recipe)
    text = (folder / SPEC_FILE).read_text(encoding="utf-8")
    path = load_yaml(folder / SPEC_FILE)[0]["data"]["path"]
    if (folder / path).exists():
        text = text.replace(f"path: {path}", f"path: {_to_yaml(str(folder / path))}", 1)
    for prompt in folder.glob("*.yaml"):
        text = text.replace(f"prompt: {prompt.name}", f"prompt: {_to_yaml(str(prompt))}")
    write_text(output, MODELINE + text)
    return [f"copied the recipe {recipe}", *write_schema_beside(output)]


def _parse_back(text: str, output: Path) -> tuple[dict[str, Any], Any]:
    values, lines = parse_yaml(text, output)
    return values, make_parser(output, lines)


def _to_yaml(value: JSON) -> str:
    """One line of YAML that may stand in a block and between brackets and braces."""
    return dump_yaml([value], flow=True).strip()[1:-1]


def _format_labels(labels: tuple[str, ...] | None) -> str:
    labels = labels or ()
    if len(labels) > MAX_WRITTEN_LABELS:
        return f"  # labels: the {len(labels)} labels are read from the training data\n"
    return f"  labels: {_to_yaml(list(labels))}\n"


def _format_lines(values: Mapping[str, Any]) -> str:
    return "".join(f"  {key}: {_to_yaml(value)}\n" for key, value in values.items())


def _name_from_path(path: Path) -> str:
    stem = path.name.split(".")[0]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._").lower()[:64] or "task"


def _describe_counts(counts: Counter[str]) -> list[str]:
    most, least = counts.most_common()[0], counts.most_common()[-1]
    few = f"from {least[1]} ({least[0]}) to {most[1]} ({most[0]})"
    return [f"{counts.total()} examples of {len(counts)} labels, {few}"]
