"""The whole way from `data:` to a split: readers, columns, examples, groups, splits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from loratory.data.columns import ColumnMapping, match_columns
from loratory.data.examples import extract_texts, to_examples
from loratory.data.readers.source_reader import Source, read_source
from loratory.data.rows import Row
from loratory.data.splitting.groups import DuplicatePairs, group_examples, name_pairs_by_origin
from loratory.data.splitting.splits import Parts, compute_shares, split_examples
from loratory.protocols import JSON, Example, Task
from loratory.specs.data import DataSpec


@dataclass(frozen=True)
class PreparedData:
    """A settled task and its parts, with what was found on the way."""

    task: Task
    parts: Parts
    column_mapping: ColumnMapping
    pairs: DuplicatePairs
    given_parts: tuple[str, ...]  # parts that came with files of their own
    source: str
    messages: tuple[str, ...]  # every line on what was guessed or passed over

    def describe_split(self, spec: DataSpec) -> dict[str, JSON]:
        """What split.json says beside the parts themselves."""
        return {
            "source": self.source,
            "seed": spec.split.seed,
            "requested": compute_shares(spec.split, self.given_parts),
            "given": list(self.given_parts),
            "columns": dict(self.column_mapping.columns),
            "near_duplicates": spec.near_duplicates,
            "duplicates": spec.duplicates,
            "messages": list(self.messages),
        }


def prepare_data(task: Task, spec: DataSpec, folder: Path) -> PreparedData:
    """Read, match, check, group and split; nothing is dropped. Raises DataError.

    `folder` is where relative paths start: the spec's own.
    """
    source = read_source(spec, folder)
    matching = match_columns(source.train, task.columns, spec.columns)
    read = {name: to_examples(rows, task, matching, spec.max_characters) for name, rows in _list_given_parts(source)}
    others = [example for part, examples in read.items() if part != "train" for example in examples]
    task = task.resolve_options(read["train"], others)
    resolved, pairs = _resolve_groups(task, read, spec)
    parts = split_examples(
        task, resolved["train"], spec.split, validation=resolved.get("validation"), test=resolved.get("test")
    )
    if spec.duplicates == "report":  # no part is kept whole, so what they share is known only now
        pairs = _find_pairs_across_parts(task, parts, spec)
    given = tuple(name for name in resolved if name != "train")
    return PreparedData(task, parts, matching, pairs, given, source.name, (*source.messages, *matching.messages))


def _list_given_parts(source: Source) -> list[tuple[str, tuple[Row, ...]]]:
    parts = (("train", source.train), ("validation", source.validation), ("test", source.test))
    return [(name, rows) for name, rows in parts if rows is not None]


def _resolve_groups(
    task: Task, examples_by_part: dict[str, list[Example]], spec: DataSpec
) -> tuple[dict[str, list[Example]], DuplicatePairs]:
    """Groups over all parts together, so that what leaks into a given test set is found."""
    everything = [example for examples in examples_by_part.values() for example in examples]
    names = [name for name, examples in examples_by_part.items() for _ in examples]
    alike = spec.duplicates == "join"
    threshold = spec.near_duplicates if alike else 1.0  # what is not joined is looked for in the parts
    grouping = group_examples(
        everything, extract_texts(task, everything), threshold, join_duplicates=alike, parts=names
    )
    grouped = iter([replace(example, group=name) for example, name in zip(everything, grouping.groups, strict=True)])
    return {
        name: [next(grouped) for _ in examples] for name, examples in examples_by_part.items()
    }, name_pairs_by_origin(everything, grouping)


def _find_pairs_across_parts(task: Task, parts: Parts, spec: DataSpec) -> DuplicatePairs:
    """The pairs that are alike, complete in what they tell of any two parts."""
    everything = [example for _, examples in parts.items() for example in examples]
    names = [name for name, examples in parts.items() for _ in examples]
    return name_pairs_by_origin(
        everything, group_examples(everything, extract_texts(task, everything), spec.near_duplicates, parts=names)
    )
