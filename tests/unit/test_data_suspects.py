"""Suspected labels: folds that hold groups whole, and confident learning."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from loratory.data.quality.label_errors import (
    MIN_ACCURACY,
    LabelErrors,
    describe_label_errors,
    find_label_errors,
    make_folds,
    rank_label_errors,
)
from loratory.protocols import Example


def examples(labels: list[str], groups: list[str] | None = None) -> list[Example]:
    return [
        Example({"text": f"t{n}"}, {"label": label}, group=groups[n] if groups else "", origin=f"a:{n}")
        for n, label in enumerate(labels)
    ]


def test_folds_cover_every_example_once_with_groups_whole_and_labels_even() -> None:
    labels = ["a"] * 60 + ["b"] * 40
    groups = [f"g{n // 2}" for n in range(100)]
    held = make_folds(examples(labels, groups), labels, 5, 6)
    assert sorted(index for fold in held for index in fold) == list(range(100))
    assert [Counter(labels[index] for index in fold) for fold in held] == [Counter(a=12, b=8)] * 5
    for n in range(0, 100, 2):
        assert len({number for number, fold in enumerate(held) if set(fold) & {n, n + 1}}) == 1
    assert held == make_folds(examples(labels, groups), labels, 5, 6)
    assert held != make_folds(examples(labels, groups), labels, 5, 7)


def test_planted_wrong_labels_are_the_most_suspected() -> None:
    draw = random.Random(6)
    true = [draw.choice("abc") for _ in range(300)]
    wrong = set(draw.sample(range(300), 15))
    given = ["abc"["abc".index(label) - 1] if n in wrong else label for n, label in enumerate(true)]
    odds = []
    for label in true:
        best = draw.uniform(0.6, 0.95)
        odds.append({name: best if name == label else (1 - best) / 2 for name in "abc"})
    found = rank_label_errors(list("abc"), examples(given), given, [f"t{n}" for n in range(300)], odds)
    assert {int(one.origin[2:]) for one in found} <= wrong  # the others' own label is the most probable
    assert len(found) >= 10
    assert all(one.suggested == true[int(one.origin[2:])] and one.label == given[int(one.origin[2:])] for one in found)
    margins = [one.suggested_probability - one.given_probability for one in found]
    assert margins == sorted(margins, reverse=True)


def test_thresholds_are_each_labels_own_mean_confidence() -> None:
    # "b" is predicted timidly (mean 0.4), so 0.45 is belief in it; "a" boldly (mean 0.8), so 0.45 is none in "a".
    given = ["a", "a", "b", "b", "a", "b"]
    odds = [{"a": p, "b": 1 - p} for p in (0.9, 0.95, 0.6, 0.6, 0.55, 0.6)]
    found = rank_label_errors(["a", "b"], examples(given), given, ["t"] * 6, odds)
    assert [(one.origin, one.suggested) for one in found] == [("a:4", "b")]
    assert (found[0].given_probability, found[0].suggested_probability) == pytest.approx((0.55, 0.45))


# ---- whether the model that disputes labels knows enough
@pytest.mark.parametrize(
    ("accuracy", "majority", "useful"),
    [
        (0.95, 0.5, True),
        (MIN_ACCURACY, 0.1, True),
        (0.84, 0.1, False),  # most of what it disputes are its own mistakes
        (0.87, 0.85, False),  # it hardly knows more than which label is the commonest
        (0.93, 0.86, True),
    ],
)
def test_a_weak_model_disputes_nothing(accuracy: float, majority: float, useful: bool) -> None:
    assert LabelErrors((), accuracy, majority).is_useful is useful


def test_the_accuracy_is_out_of_fold_and_the_majority_that_of_the_labels() -> None:
    given = ["a", "a", "a", "b"]
    odds = [{"a": 0.9, "b": 0.1}, {"a": 0.8, "b": 0.2}, {"a": 0.3, "b": 0.7}, {"a": 0.4, "b": 0.6}]
    made = find_label_errors(["a", "b"], examples(given), given, ["t"] * 4, odds)
    assert (made.accuracy, made.majority) == (0.75, 0.75)
    assert [one.origin for one in made.suspects] == ["a:2"]
    nothing = find_label_errors(["a", "b"], examples(given), given, ["t"] * 4, [{}] * 4)
    assert (nothing.suspects, nothing.accuracy, nothing.is_useful) == ((), 0.0, False)


def test_what_is_told() -> None:
    report = {"count": 3, "out_of_fold_accuracy": 0.912, "majority": 0.5, "useful": True}
    assert (
        describe_label_errors(report) == "3 labels in train look wrong to a cross-validated model with accuracy 91.2%"
    )
    weak = describe_label_errors({**report, "count": 0, "out_of_fold_accuracy": 0.41, "useful": False})
    assert weak.startswith("not listed: a cross-validated model with accuracy 41.0%")
    assert "the most common label: 50.0%" in weak


def test_a_label_that_was_hardly_learnt_is_neither_suggested_nor_disputed() -> None:
    given = ["a"] * 20 + ["b"] * 20 + ["rare"]
    likely = [{"a": 0.9 - n / 100, "b": 0.09, "rare": 0.01 + n / 100} for n in range(20)]
    others = [{"a": 0.09, "b": 0.9 - n / 100, "rare": 0.01 + n / 100} for n in range(20)]
    odds = [*likely, *others, {"a": 0.6, "b": 0.4, "rare": 0.0}]
    assert rank_label_errors(["a", "b", "rare"], examples(given), given, ["t"] * 41, odds) == []
