"""The whole way from `data:` to a split: readers, columns, examples, groups, splits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from loratory.data.columns import Matching, match
from loratory.data.examples import texts_of, to_examples
from loratory.data.groups import Pairs, group, pairs_of
from loratory.data.readers import Source, read_source
from loratory.data.rows import Row
from loratory.data.splits import Parts, asked, split
from loratory.protocols import JSON, Example, Task
from loratory.specs.data import DataSpec


@dataclass(frozen=True)
class Prepared:
    """A settled task and its parts, with what was found on the way."""

    task: Task
    parts: Parts
    matching: Matching
    pairs: Pairs
    given: tuple[str, ...]  # parts that came with files of their own
    source: str
    said: tuple[str, ...]  # every line on what was guessed or passed over

    def facts(self, spec: DataSpec) -> dict[str, JSON]:
        """What split.json says beside the parts themselves."""
        return {
            "source": self.source,
            "seed": spec.split.seed,
            "asked": asked(spec.split, self.given),
            "given": list(self.given),
            "columns": dict(self.matching.columns),
            "near_duplicates": spec.near_duplicates,
            "duplicates": spec.duplicates,
            "said": list(self.said),
        }


def prepare(task: Task, spec: DataSpec, folder: Path) -> Prepared:
    """Read, match, check, group and split; nothing is dropped. Raises DataError.

    `folder` is where relative paths start: the spec's own.
    """
    source = read_source(spec, folder)
    matching = match(source.train, task.columns, spec.columns)
    read = {name: to_examples(rows, task, matching, spec.max_characters) for name, rows in _rows(source)}
    others = [example for part, examples in read.items() if part != "train" for example in examples]
    task = task.settle(read["train"], others)
    resolved, pairs = _resolve(task, read, spec)
    parts = split(task, resolved["train"], spec.split, validation=resolved.get("validation"), test=resolved.get("test"))
    if spec.duplicates == "report":  # no part is kept whole, so what they share is known only now
        pairs = _compare(task, parts, spec)
    given = tuple(name for name in resolved if name != "train")
    return Prepared(task, parts, matching, pairs, given, source.name, (*source.said, *matching.said))


def _rows(source: Source) -> list[tuple[str, tuple[Row, ...]]]:
    parts = (("train", source.train), ("validation", source.validation), ("test", source.test))
    return [(name, rows) for name, rows in parts if rows is not None]


def _resolve(task: Task, read: dict[str, list[Example]], spec: DataSpec) -> tuple[dict[str, list[Example]], Pairs]:
    """Groups over all parts together, so that what leaks into a given test set is found."""
    everything = [example for examples in read.values() for example in examples]
    names = [name for name, examples in read.items() for _ in examples]
    alike = spec.duplicates == "join"
    threshold = spec.near_duplicates if alike else 1.0  # what is not joined is looked for in the parts
    grouping = group(everything, texts_of(task, everything), threshold, alike=alike, parts=names)
    grouped = iter([replace(example, group=name) for example, name in zip(everything, grouping.groups, strict=True)])
    return {name: [next(grouped) for _ in examples] for name, examples in read.items()}, pairs_of(everything, grouping)


def _compare(task: Task, parts: Parts, spec: DataSpec) -> Pairs:
    """The pairs that are alike, complete in what they tell of any two parts."""
    everything = [example for _, examples in parts.items() for example in examples]
    names = [name for name, examples in parts.items() for _ in examples]
    return pairs_of(everything, group(everything, texts_of(task, everything), spec.near_duplicates, parts=names))
