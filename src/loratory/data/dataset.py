"""One value for the examples of a task: with their texts, labels and groups, each computed once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import chain
from typing import Any, Self, overload

from loratory.protocols import JSON, Conversational, Example, Labelled, Optioned, Task

COMPUTED_COLUMNS = ("texts", "labels")  # what is carried from a data set to its parts, where it is known


@dataclass(frozen=True)
class Dataset(Sequence[Example]):
    """N examples of a task in their order. A part of it, or the same with other groups, computes nothing anew."""

    task: Any  # Task
    examples: tuple[Example, ...]

    @classmethod
    def of(cls, task: Task, examples: Iterable[Example]) -> Self:
        """These examples; a data set of the same task as it is."""
        if isinstance(examples, cls) and examples.task == task:
            return examples
        return cls(task, tuple(examples))

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """What is compared between examples, str[N]: the task's text of an input, else every string of the input."""
        if isinstance(self.task, (Labelled, Conversational, Optioned)):
            return tuple(self.task.text(example.input) for example in self.examples)
        return tuple("\n".join(text for _, text in iterate_strings(one.input, "")) for one in self.examples)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The label of each example, str[N]; the empty label for a task without labels."""
        if isinstance(self.task, Labelled):
            return tuple(self.task.label_of(example.answer) for example in self.examples)
        return ("",) * len(self.examples)

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """The name of each example's group, str[N]; its origin where it is in none."""
        return tuple(example.group or example.origin for example in self.examples)

    def select(self, indices: Sequence[int]) -> Dataset:
        """The examples at these places, in the order given."""
        made = Dataset(self.task, tuple(self.examples[index] for index in indices))
        for name in COMPUTED_COLUMNS:
            if name in self.__dict__:
                known = self.__dict__[name]
                made.__dict__[name] = tuple(known[index] for index in indices)
        return made

    def with_groups(self, names: Sequence[str]) -> Dataset:
        """The same examples in other groups."""
        examples = tuple(replace(one, group=name) for one, name in zip(self.examples, names, strict=True))
        return self._keep_columns(Dataset(self.task, examples))

    def with_task(self, task: Task) -> Dataset:
        """The same examples of the settled task; texts and labels are what they were."""
        return self._keep_columns(Dataset(task, self.examples))

    def _keep_columns(self, made: Dataset) -> Dataset:
        made.__dict__.update({name: self.__dict__[name] for name in COMPUTED_COLUMNS if name in self.__dict__})
        return made

    def __len__(self) -> int:
        return len(self.examples)

    def __iter__(self) -> Iterator[Example]:
        return iter(self.examples)

    @overload
    def __getitem__(self, place: int) -> Example: ...
    @overload
    def __getitem__(self, place: slice) -> Dataset: ...
    def __getitem__(self, place: int | slice) -> Example | Dataset:
        if isinstance(place, slice):
            return self.select(range(len(self.examples))[place])
        return self.examples[place]


@dataclass(frozen=True)
class Parts:
    """The four parts; examples keep the order of their rows."""

    train: Dataset
    validation: Dataset
    calibration: Dataset
    test: Dataset

    @classmethod
    def of(
        cls,
        task: Task,
        train: Iterable[Example],
        validation: Iterable[Example] = (),
        calibration: Iterable[Example] = (),
        test: Iterable[Example] = (),
    ) -> Self:
        """Parts of these examples."""
        return cls(*(Dataset.of(task, part) for part in (train, validation, calibration, test)))

    @property
    def task(self) -> Any:
        """The settled task of all parts."""
        return self.train.task

    def items(self) -> Iterator[tuple[str, Dataset]]:
        """(name, examples) of each part."""
        for field in fields(self):
            yield field.name, getattr(self, field.name)


def join_datasets(datasets: Sequence[Dataset]) -> Dataset:
    """The examples of all, one data set behind another; raises ValueError where there is none."""
    if not datasets:
        raise ValueError("there is no data set to join")
    made = Dataset(datasets[0].task, tuple(chain.from_iterable(datasets)))
    made.__dict__["texts"] = tuple(chain.from_iterable(one.texts for one in datasets))
    return made


def iterate_strings(value: JSON, path: str) -> Iterator[tuple[str, str]]:
    """(dotted path, text) of every string in a JSON value."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from iterate_strings(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, (list, tuple)):
        for position, inner in enumerate(value):
            yield from iterate_strings(inner, f"{path}.{position}")
