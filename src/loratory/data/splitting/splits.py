"""Train, validation, calibration and test: stratified, groups whole, decided by the content and the seed alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from loratory.artifacts.manifests import digest_of
from loratory.data.dataset import Dataset, Parts
from loratory.data.splitting.stratification import SplitUnit, assign_units, build_split_units
from loratory.errors import DataError, format_value
from loratory.protocols import Example, Labelled, Task
from loratory.specs.data import SplitSpec

ASSIGNMENT_ORDER = ("train", "test", "validation", "calibration")  # who goes short first is last


def split_examples(
    examples: Dataset,
    spec: SplitSpec,
    *,
    validation: Sequence[Example] | None = None,
    test: Sequence[Example] | None = None,
) -> Parts:
    """Split examples that carry resolved groups; given validation and test sets stay as they are. Raises DataError."""
    fixed = {name: part for name, part in (("validation", validation), ("test", test)) if part is not None}
    shares = compute_shares(spec, tuple(fixed))
    names = [name for name in ASSIGNMENT_ORDER if name in shares]
    contents = [digest_of(example.content) for example in examples]
    choices = build_split_units(examples.groups, examples.labels, contents)
    if "test" in names:  # else a label with one example is learnt, and what is given is asked
        _check_splittable(examples.task, examples, choices)
    ensured = sum(name in ("train", "test") for name in names)
    chosen = assign_units(choices, [shares[name] for name in names], spec.seed, ensured)
    held: dict[str, list[int]] = defaultdict(list)
    for unit, place in zip(choices, chosen, strict=True):
        held[names[place]].extend(unit.members)
    found = {name: examples.select(sorted(held[name])) for name in names}
    for name in names:
        if not found[name]:
            raise _make_too_few_error(name, len(choices))
    for name, part in fixed.items():
        found[name] = Dataset.of(examples.task, part)
    return Parts.of(examples.task, **found)


def compute_shares(spec: SplitSpec, given: Sequence[str]) -> dict[str, float]:
    """Part -> share of the examples that are split; a given part takes none, and the rest is train."""
    shares = {name: share for name in ASSIGNMENT_ORDER[1:] if name not in given and (share := getattr(spec, name))}
    return {"train": 1 - sum(shares.values()), **shares}


def _check_splittable(task: Task, examples: Sequence[Example], split_units: Sequence[SplitUnit]) -> None:
    if not isinstance(task, Labelled):
        return
    holders: dict[str, list[SplitUnit]] = defaultdict(list)
    for unit in split_units:
        for label in unit.labels:
            holders[label].append(unit)
    for label, holding in sorted(holders.items()):
        if len(holding) > 1:
            continue
        index = next(index for index in holding[0].members if task.label_of(examples[index].answer) == label)
        where, count = examples[index].origin, holding[0].labels[label]
        if count == 1:
            raise DataError(
                f"label {format_value(label)} has one example, which cannot be both learnt and tested",
                where=where,
                allowed="at least two examples of a label, better twenty",
                remedy="add examples of it, or merge it into another label, or remove the row",
            )
        raise DataError(
            f"all {count} examples of label {format_value(label)} are in one group ({examples[index].group}), which no "
            "split may cut",
            where=where,
            allowed="at least two groups of a label",
            remedy="add examples of other groups; where texts were only alike, raise data: near_duplicates; where "
            "groups share some texts, which joins them, set data: duplicates: report",
        )


def _make_too_few_error(name: str, count: int) -> DataError:
    remedy = "add examples" + (", or set data: split: calibration: 0" if name == "calibration" else "")
    return DataError(
        f"{count} example(s) or groups of examples are too few: nothing is left for {name}", where="data", remedy=remedy
    )
