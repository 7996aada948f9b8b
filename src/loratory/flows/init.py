"""`loratory init`: a commented spec for somebody's examples, or a copy of a recipe's."""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

from loratory.artifacts.files import write_text
from loratory.data.columns import Matching, match
from loratory.data.examples import to_examples
from loratory.data.readers import Source, read_source
from loratory.errors import SpecError
from loratory.flows.specs import SPEC, parser_of, recipe_folder
from loratory.protocols import Example, Task
from loratory.specs.data import DataSpec
from loratory.specs.frame import NAME, NAMED, parse
from loratory.specs.reading import dump, load_yaml, read_yaml
from loratory.tasks.classify import Classify
from loratory.tasks.generate import Generate
from loratory.tasks.tag import Tag, holds_spans

LOOKED_AT = 50  # rows that may show what the data is
MANY = 30  # labels that are written into the spec; more are read from train

TEMPLATE = """\
# {about}
# Check it with `loratory check {file}`, run it with `loratory run {file}`. Every key is explained in docs/spec.md.
name: {name}

task:
  kind: classify
{labels}  # headline: accuracy       # the score that early stopping and the verdict go by; or macro_f1 for rare labels
  # descriptions: {{}}          # label: what it means in words; used by zero-shot

data:
  path: {path}
{columns}  # test: held-out.csv       # a test file of your own is respected and never mended
  split: {{test: 0.2, validation: 0.1, seed: 6}}   # near-duplicates stay together

base: minilm                # embedded, no network; or a folder, or a hub id such as microsoft/deberta-v3-base

# Simplest first: each contender is compared with the first and with the best simpler one.
ladder:
  - rules
  - tfidf
  - zero-shot
  - prototype
  - head
  - lora
  # - lora-stock: {{regime: lora, head: stock}}    # opens wholly in AutoModelForSequenceClassification
  # - full

lora: {{rank: 16, alpha: 32}}

training:
  epochs: 8
  seeds: 1                  # 3 shows how much chance there is in a fit
  trials: 1                 # learning rates (and tf-idf penalties) tried on validation, as many for each contender

evidence:
  margin: 0.005             # half a point worse than the best is still as good

# gate:                     # what must hold before it may be used
#   recall: {{{some_label}: {{at_least: 0.9, confidence: 0.95}}}}
#   not_worse_than: {{tfidf: 0.0}}
"""


TALK = """\
# {about}
# Check it with `loratory check {file}`, run it with `loratory run {file}`. Every key is explained in docs/spec.md.
name: {name}

task:
  kind: generate
  # answer_schema: {{type: object, properties: {{...}}, required: [...]}}   # JSON that every answer is held to
  checks: [overlap]         # exact, overlap, fields, numbers, words, bullets, hashtags, contains, refuses, or your own

data:
  path: {path}
{columns}  # test: held-out.jsonl     # a test file of your own is respected and never mended
  split: {{test: 0.2, validation: 0.1, seed: 6}}   # near-duplicates stay together

base: seedling              # embedded, no network, tiny; better: a folder or a hub id of an instruction model

# Simplest first: each contender is compared with the first and with the best simpler one.
ladder:
  - prompted: {{shots: 2}}
  - lora
  # - full

lora: {{rank: 16, alpha: 32}}

training:
  epochs: 3
  max_tokens: {tokens}          # of a conversation and its answer; longer ones are an error, nothing is cut
  seeds: 1                  # 3 shows how much chance there is in a fit
"""
SPANS = """\
# {about}
# Check it with `loratory check {file}`, run it with `loratory run {file}`. Every key is explained in docs/spec.md.
name: {name}

task:
  kind: tag
{labels}  # headline: strict_f1      # the score that early stopping and the verdict go by; or f2: a miss costs more

data:
  path: {path}
{columns}  # test: held-out.jsonl     # a test file of your own is respected and never mended
  split: {{test: 0.2, validation: 0.1, seed: 6}}   # near-duplicates stay together

base: minilm                # embedded, no network; or a folder, or a hub id such as microsoft/deberta-v3-base

# Simplest first: each contender is compared with the first and with the best simpler one.
ladder:
  - rules                   # patterns and keywords of yours; recognisers of cards, accounts, mail; wordings of train
  - head
  - lora
  # - lora-stock: {{regime: lora, head: stock}}    # opens wholly in AutoModelForTokenClassification
  # - full

lora: {{rank: 16, alpha: 32}}

training:
  epochs: 8
  seeds: 1                  # 3 shows how much chance there is in a fit
"""
TALKING = ("messages", "conversations", "conversation")
TOKENS = 512  # as many as the embedded base reads


def from_data(data: str, output: Path, name: str | None) -> list[str]:
    """Write a commented spec for the examples at `data`; returns what was guessed. Raises DataError and SpecError."""
    if name is not None and not NAME.fullmatch(name):
        raise SpecError(f"{name!r} is no name", where="--name", allowed=NAMED)
    local = Path(data).expanduser()
    source = read_source(DataSpec(path=str(local.resolve()) if local.exists() else data), Path.cwd())
    path = os.path.relpath(local.resolve(), output.resolve().parent) if local.exists() else data
    about = {"file": output, "path": _yaml(path)}
    about["name"] = _yaml(name or _name(local.resolve() if local.exists() else Path(data)))
    if _talks(source):
        return _of_conversations(source, about, output)
    if any(holds_spans(row.values) for row in source.train[:LOOKED_AT]):
        return _of_spans(source, about, output)
    task = Classify()
    examples, matching = _read(source, task)
    settled = task.settle(examples)
    counts = Counter(task.label_of(example.answer) for example in examples)
    text = TEMPLATE.format(
        **about,
        about=f"{len(examples)} examples of {len(counts)} labels",
        labels=_labels(settled.labels),
        columns=_columns(matching.columns),
        some_label=_yaml(min(counts, key=lambda label: (counts[label], label))),
    )
    _keep(text, output)
    return [*source.said, *matching.said, _counted(source, counts)]


def _talks(source: Source) -> bool:
    """Whether the rows are conversations, or prompts with completions."""
    first = {key.casefold(): value for key, value in source.train[0].values.items()}
    return any(key in first for key in TALKING) or {"prompt", "completion"} <= first.keys()


def _of_conversations(source: Source, about: dict[str, Any], output: Path) -> list[str]:
    examples, matching = _read(source, Generate())
    said = f"{len(examples)} conversations with an answer"
    _keep(TALK.format(**about, about=said, columns=_columns(matching.columns), tokens=TOKENS), output)
    return [*source.said, *matching.said, said]


def _of_spans(source: Source, about: dict[str, Any], output: Path) -> list[str]:
    task = Tag()
    examples, matching = _read(source, task)
    settled = task.settle(examples)
    counts = Counter(span["label"] for example in examples for span in (example.answer or {"spans": ()})["spans"])
    said = f"{len(examples)} texts with {counts.total()} spans of {len(counts)} labels"
    _keep(SPANS.format(**about, about=said, labels=_labels(settled.labels), columns=_columns(matching.columns)), output)
    return [*source.said, *matching.said, said]


def _read(source: Source, task: Task) -> tuple[list[Example], Matching]:
    matching = match(source.train, task.columns, {})
    return to_examples(source.train, task, matching, DataSpec(path=source.name).max_characters), matching


def _keep(text: str, output: Path) -> None:
    parse(*_read_back(text, output), output.parent)  # what init writes, run takes
    write_text(output, text)


def from_recipe(recipe: str, output: Path) -> list[str]:
    """Copy a recipe's spec; paths of what is shipped with it, its data and its prompts, are made absolute."""
    folder = recipe_folder(recipe)
    text = (folder / SPEC).read_text(encoding="utf-8")
    path = load_yaml(folder / SPEC)[0]["data"]["path"]
    if (folder / path).exists():
        text = text.replace(f"path: {path}", f"path: {_yaml(str(folder / path))}", 1)
    for prompt in folder.glob("*.yaml"):
        text = text.replace(f"prompt: {prompt.name}", f"prompt: {_yaml(str(prompt))}")
    write_text(output, text)
    return [f"copied the recipe {recipe}"]


def _read_back(text: str, output: Path) -> tuple[dict[str, Any], Any]:
    values, lines = read_yaml(text, output)
    return values, parser_of(output, lines)


def _yaml(value: Any) -> str:
    """One line of YAML that may stand in a block and between brackets and braces."""
    return dump([value], flow=True).strip()[1:-1]


def _labels(labels: tuple[str, ...] | None) -> str:
    labels = labels or ()
    if len(labels) > MANY:
        return f"  # labels: {len(labels)} of them, read from train\n"
    return f"  labels: {_yaml(list(labels))}\n"


def _columns(columns: Any) -> str:
    return "".join(f"  {key}: {_yaml(path)}\n" for key, path in columns.items())


def _name(path: Path) -> str:
    stem = path.name.split(".")[0]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._").lower()[:64] or "task"


def _counted(source: Source, counts: Counter[str]) -> str:
    most, least = counts.most_common()[0], counts.most_common()[-1]
    return f"{counts.total()} examples of {len(counts)} labels, from {least[1]} ({least[0]}) to {most[1]} ({most[0]})"
