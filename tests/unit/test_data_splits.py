"""Splits: groups whole, shares held, nothing but content and seed decides, bad data refused with its line."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loratory.data.dataset import Dataset, Parts
from loratory.data.splitting.splits import compute_shares, split_examples
from loratory.errors import DataError
from loratory.protocols import Example
from loratory.specs.data import SplitSpec
from loratory.tasks.classify import Classify

SPEC = SplitSpec(test=0.2, validation=0.1, calibration=0.1, seed=6)
SHARES = {"train": 0.6, "test": 0.2, "validation": 0.1, "calibration": 0.1}


def example(number: int, label: str, group: str = "") -> Example:
    origin = f"a.csv:{number + 2}"
    return Example({"text": f"text {number}"}, {"label": label}, group=group or origin, origin=origin)


def many(**counts: int) -> list[Example]:
    labels = [label for label, count in counts.items() for _ in range(count)]
    return [example(number, label) for number, label in enumerate(labels)]


def cut(
    examples: Sequence[Example],
    spec: SplitSpec = SPEC,
    validation: Sequence[Example] | None = None,
    test: Sequence[Example] | None = None,
) -> Parts:
    return split_examples(Dataset.of(Classify(), examples), spec, validation=validation, test=test)


def members(parts: Parts) -> dict[str, set[str]]:
    return {name: {example.origin for example in examples} for name, examples in parts.items()}


def labels(examples: Sequence[Example]) -> Counter[str]:
    return Counter(example.answer["label"] for example in examples if example.answer)


def test_every_example_is_in_one_part_and_keeps_its_order() -> None:
    rows = [replace(row, group=f"g{number % 27}") for number, row in enumerate(many(a=50, b=30))]
    parts = cut(rows)
    together = [example for _, examples in parts.items() for example in examples]
    assert sorted(together, key=rows.index) == rows
    for _, examples in parts.items():
        assert list(examples) == sorted(examples, key=rows.index)


@pytest.mark.parametrize(
    "counts", [{"a": 100, "b": 50}, {"a": 997, "b": 61, "c": 55}, {f"l{n}": 53 for n in range(20)}]
)
def test_shares_are_within_two_points_for_every_label(counts: dict[str, int]) -> None:
    parts = cut(many(**counts))
    for name, examples in parts.items():
        assert abs(len(examples) / sum(counts.values()) - SHARES[name]) < 0.02, name
        for label, count in labels(examples).items():
            assert abs(count / counts[label] - SHARES[name]) < 0.02, (name, label)


def test_small_labels_do_not_all_round_the_same_way() -> None:
    parts = cut(many(**{f"l{n}": 13 for n in range(77)}))
    for name, examples in parts.items():
        assert abs(len(examples) / (13 * 77) - SHARES[name]) < 0.02, name


@pytest.mark.parametrize("seed", range(5))
def test_a_few_large_groups_are_evened_out_by_small_ones(seed: int) -> None:
    groups = [f"small {n}" for n in range(60)] + [f"large {n // 15}" for n in range(90)]
    parts = cut([example(n, "a", group) for n, group in enumerate(groups)], SPEC.model_copy(update={"seed": seed}))
    for name, examples in parts.items():
        assert abs(len(examples) / 150 - SHARES[name]) < 0.02, name


def test_groups_of_uneven_size_keep_the_shares() -> None:
    draw = random.Random(6)
    rows: list[Example] = []
    for family in range(300):
        rows += [example(len(rows) + n, "abcd"[family % 4], f"family {family}") for n in range(draw.randint(1, 15))]
    parts = cut(rows)
    sizes = {name: len(examples) / len(rows) for name, examples in parts.items()}
    assert all(abs(sizes[name] - share) < 0.02 for name, share in SHARES.items()), sizes
    # Large families are spread too, not all put where most room is.
    large = {name: max(Counter(one.group for one in examples).values()) for name, examples in parts.items()}
    assert min(large.values()) >= 12, large


@st.composite
def draw_grouped_examples(draw: st.DrawFn) -> list[Example]:
    """Rows whose groups may hold several labels, each label in at least two groups."""
    picks = draw(st.lists(st.tuples(st.integers(0, 30), st.sampled_from("abc")), min_size=10, max_size=120))
    rows = [example(number, label, f"g{group}") for number, (group, label) in enumerate(picks)]
    return rows + [example(1000 + n, "abc"[n % 3], f"extra {n}") for n in range(30)]


@settings(max_examples=60, deadline=None)
@given(draw_grouped_examples(), st.integers(0, 5), st.randoms(use_true_random=False))
def test_groups_never_cross_and_the_order_of_rows_does_not_matter(
    rows: list[Example], seed: int, draw: random.Random
) -> None:
    spec = SplitSpec(test=0.2, validation=0.1, calibration=0.1, seed=seed)
    parts = cut(rows, spec)
    homes = defaultdict(set)
    for name, examples in parts.items():
        for one in examples:
            homes[one.group].add(name)
    assert all(len(inside) == 1 for inside in homes.values())
    assert set(labels(parts.train)) == set(labels(parts.test)) == set("abc")
    shuffled = list(rows)
    draw.shuffle(shuffled)
    # Neither do file names and lines: only what the rows say.
    moved = [replace(one, origin=f"b.csv:{line}", group="g" + one.group) for line, one in enumerate(shuffled)]
    again = cut(moved, spec)
    for name, examples in parts.items():
        assert Counter(str(one.input) for one in examples) == Counter(str(one.input) for one in getattr(again, name))


def test_another_seed_gives_another_split_and_the_same_the_same() -> None:
    rows = many(a=100, b=100)
    assert members(cut(rows)) == members(cut(rows))
    assert members(cut(rows))["test"] != members(cut(rows, SPEC.model_copy(update={"seed": 7})))["test"]


@pytest.mark.parametrize(
    ("count", "seen"),
    [
        (2, {"train", "test"}),
        (3, {"train", "test"}),
        (5, {"train", "test"}),
        (8, {"train", "test", "validation", "calibration"}),
    ],
)
def test_a_rare_label_is_in_train_and_test_first(count: int, seen: set[str]) -> None:
    parts = cut(many(rare=count, common=200))
    assert {name for name, examples in parts.items() if labels(examples)["rare"]} >= seen


def test_a_given_test_set_is_untouched_and_the_rest_comes_from_train() -> None:
    test = [example(900 + n, "ab"[n % 2]) for n in range(7)][::-1]
    parts = cut(many(a=100, b=100), test=test)
    assert list(parts.test) == test
    assert [len(examples) for _, examples in parts.items()] == [160, 20, 20, 7]
    parts = cut(many(a=100, b=100), test=test, validation=test[:2])
    assert list(parts.validation) == test[:2]
    assert len(parts.train) == 180
    assert compute_shares(SPEC, ("test", "validation")) == {"train": 0.9, "calibration": 0.1}


def test_no_calibration_share_no_calibration_examples() -> None:
    parts = cut(many(a=50, b=50), SPEC.model_copy(update={"calibration": 0.0}))
    assert not parts.calibration
    assert len(parts.train) == 70


def catch_split_error(examples: Sequence[Example], test: Sequence[Example] | None = None) -> DataError:
    with pytest.raises(DataError) as caught:
        cut(examples, test=test)
    return caught.value


def test_a_label_with_one_example_is_refused_with_its_line() -> None:
    rows = many(a=20, lonely=1, b=20)
    error = catch_split_error(rows)
    assert error.where == "a.csv:22"
    assert "'lonely' has one example" in error.problem
    assert "two examples" in error.allowed
    assert error.remedy
    # Nothing is cut from train here, so one example can be learnt.
    spec = SPEC.model_copy(update={"calibration": 0.0})
    assert len(split_examples(Dataset.of(Classify(), rows), spec, validation=rows[:1], test=rows[:1]).train) == 41


def test_a_label_in_one_group_is_refused_with_the_groups_name() -> None:
    rows = many(a=20, b=20) + [example(100 + n, "c", "family 7") for n in range(6)]
    error = catch_split_error(rows)
    assert "all 6 examples of label 'c' are in one group (family 7)" in error.problem
    assert error.where == "a.csv:102"


def test_a_label_that_stands_only_in_a_given_test_set_is_no_error() -> None:
    parts = cut(many(fraud=20, info=20), test=[example(5, "fraud"), example(6, "other")])
    assert [one.answer["label"] for one in parts.test if one.answer] == ["fraud", "other"]


def test_a_label_with_one_example_is_learnt_where_the_test_set_is_given() -> None:
    parts = cut([*many(fraud=20, info=20), example(99, "rare")], test=[example(5, "fraud")])
    assert "rare" in [one.answer["label"] for one in parts.train if one.answer]
    assert "one example" in catch_split_error([*many(fraud=20, info=20), example(99, "rare")]).problem


def test_too_few_examples_to_fill_every_part_are_refused() -> None:
    assert "nothing is left for" in catch_split_error(many(a=2, b=2)).problem
    assert all(examples for _, examples in cut(many(a=5, b=5)).items())
