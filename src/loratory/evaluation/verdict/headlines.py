"""The verdict's one sentence: a table of cases, the first that applies is said."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loratory.evaluation.fine_tuning_gain import advise_fine_tuning, find_baseline
from loratory.evaluation.model_selection import Selection
from loratory.evaluation.statistics.comparison_set import Rank
from loratory.evaluation.table_cells import format_points, join_names_with_verb
from loratory.specs.evidence import EvidenceSpec

Row = Mapping[str, Any]


@dataclass(frozen=True)
class VerdictInputs:
    """All that the sentence follows from."""

    selection: Selection
    comparisons: Sequence[Row]
    fine_tuning_gain: Row | None  # learning.weigh_fine_tuning
    learning_result: Row | None  # learning.weigh_learning

    @property
    def name(self) -> str:
        return self.selection.recommended.name

    @property
    def best(self) -> Rank:
        return self.selection.best

    @property
    def evidence(self) -> EvidenceSpec:
        return self.selection.comparison_set.evidence

    @property
    def recommended_vs_best(self) -> Row:
        """The recommended contender against the best on test; only asked where it is another."""
        found = self.selection.recommended_vs_best
        assert found is not None
        return found

    @property
    def simpler_vs_best(self) -> list[Row]:
        """The contenders before the best in the ladder, without the one that learns nothing."""
        baseline = find_baseline(self.selection.comparison_set)
        return [row for row in self.selection.simpler_vs_best if baseline is None or row["contender"] != baseline.name]

    @property
    def fine_tune(self) -> bool | None:
        """What the verdict advises; see learning.advise_fine_tuning."""
        return advise_fine_tuning(self.selection, self.fine_tuning_gain, self.learning_result)

    @property
    def better_on_test(self) -> list[str]:
        """Contenders that a planned comparison shows to be better on test than the best on validation."""
        top = self.best.name
        later = [row["contender"] for row in self.comparisons if row["against"] == top and row["decision"] == "better"]
        earlier = [row["against"] for row in self.comparisons if row["contender"] == top and row["decision"] == "worse"]
        return list(dict.fromkeys([*earlier, *later]))


@dataclass(frozen=True)
class HeadlineCase:
    """When a sentence is said, and which."""

    name: str
    description: str  # for the docs: when it is said
    applies: Callable[[VerdictInputs], bool]
    compose: Callable[[VerdictInputs], str]


def compose_headline(inputs: VerdictInputs) -> tuple[str, str]:
    """(the case's name, the sentence)."""
    case = next(case for case in HEADLINE_CASES if case.applies(inputs))
    prefix = "" if case.name == "nothing-learnt" else _compose_advice(inputs)
    return case.name, prefix + case.compose(inputs)


def _compose_advice(inputs: VerdictInputs) -> str:
    """What the ladder says about fine-tuning; nothing where it holds only contenders of one kind."""
    if inputs.fine_tuning_gain is None:
        return ""
    if inputs.fine_tune is not None:
        return "Fine-tune: " if inputs.fine_tune else "Do not fine-tune: "
    if inputs.selection.recommended.result.is_fine_tuned:
        return "Fine-tuning shows no clear gain: "
    return "Validation and test disagree on fine-tuning: "


def _compose_nothing_learnt(inputs: VerdictInputs) -> str:
    learning = inputs.learning_result
    assert learning is not None
    score = inputs.selection.comparison_set.task.headline
    return (
        "Nothing is shown to be learned: on test no contender is better, by more than chance, than "
        f"{learning['baseline']}, which always gives the most common answer of train "
        f"({score} {100 * learning['value']:.1f})."
    )


def _compose_as_good(inputs: VerdictInputs) -> str:
    return f"{inputs.name} is as good as the best ({inputs.best.name}) on validation{_format_within_margin(inputs)}"


def _compose_worse_on_test(inputs: VerdictInputs) -> str:
    rival = inputs.recommended_vs_best
    return (
        f"{_compose_as_good(inputs)}, but on test it is worse, by {-100 * rival['high']:.1f} points or more: the "
        "validation "
        "set may be too small."
    )


def _compose_as_good_shown(inputs: VerdictInputs) -> str:
    return f"{inputs.name} is as good as the best ({inputs.best.name}){_format_within_margin(inputs)}, and simpler."


def _compose_too_small(inputs: VerdictInputs) -> str:
    return _compose_unproven(inputs, "is too small to prove it")


def _compose_not_proven(inputs: VerdictInputs) -> str:
    return _compose_unproven(inputs, "does not prove it")


def _compose_unproven(inputs: VerdictInputs, how: str) -> str:
    return (
        f"{_compose_as_good(inputs)}, and simpler; the test set {how} "
        f"({_format_difference(inputs.recommended_vs_best)} on test)."
    )


def _compose_better_on_test(inputs: VerdictInputs) -> str:
    return (
        f"{inputs.name} is the best on validation, but on test {join_names_with_verb(inputs.better_on_test)} "
        "better, by "
        "more than chance: the validation set may be too small, or unlike the test set."
    )


def _compose_simplest_is_best(inputs: VerdictInputs) -> str:
    return f"{inputs.name}, the simplest contender that learns, is also the best on validation."


def _compose_best_shown(inputs: VerdictInputs) -> str:
    return f"{inputs.name} is the best, and every simpler contender is worse{_format_by_margin(inputs)}."


def _compose_best_not_shown(inputs: VerdictInputs) -> str:
    unproven = [rival["contender"] for rival in inputs.simpler_vs_best if not rival["worse"]]
    return (
        f"{inputs.name} is the best on validation; the test set does not show that "
        f"{join_names_with_verb(unproven)} worse{_format_by_margin(inputs)}."
    )


def _is_best(inputs: VerdictInputs) -> bool:
    return inputs.selection.recommended is inputs.selection.best


HEADLINE_CASES: tuple[HeadlineCase, ...] = (
    HeadlineCase(
        "nothing-learnt",
        "No contender is shown to be better on test than `majority`, the commonest answer of train.",
        lambda s: s.learning_result is not None and not s.learning_result["learnt"],
        _compose_nothing_learnt,
    ),
    HeadlineCase(
        "worse-on-test",
        "A simpler contender is as good on validation, but on test it is shown to be worse by more than the margin.",
        lambda s: not _is_best(s) and s.recommended_vs_best["worse"],
        _compose_worse_on_test,
    ),
    HeadlineCase(
        "as-good-shown",
        "A simpler contender is as good as the best: validation says so, and the test set proves it.",
        lambda s: not _is_best(s) and s.selection.is_supported,
        _compose_as_good_shown,
    ),
    HeadlineCase(
        "as-good-too-small",
        "A simpler contender is as good on validation; the test set is too small to prove such a margin.",
        lambda s: not _is_best(s) and s.recommended_vs_best["smallest_margin"] > s.evidence.margin,
        _compose_too_small,
    ),
    HeadlineCase(
        "as-good-not-proven",
        "A simpler contender is as good on validation; the test set could have proven it and does not.",
        lambda s: not _is_best(s),
        _compose_not_proven,
    ),
    HeadlineCase(
        "overtaken",
        "The best on validation is recommended, but on test another contender is shown to be better.",
        lambda s: bool(s.better_on_test),
        _compose_better_on_test,
    ),
    HeadlineCase(
        "simplest-is-best",
        "The first contender after `majority` is the best on validation.",
        lambda s: not s.simpler_vs_best,
        _compose_simplest_is_best,
    ),
    HeadlineCase(
        "best-shown",
        "The best on validation is recommended, and on test every simpler one is shown to be worse by more than the "
        "margin.",
        lambda s: all(rival["worse"] for rival in s.simpler_vs_best),
        _compose_best_shown,
    ),
    HeadlineCase(
        "best-not-shown",
        "The best on validation is recommended; that the simpler ones are worse is not shown for all of them.",
        lambda s: True,
        _compose_best_not_shown,
    ),
)


def _format_within_margin(inputs: VerdictInputs) -> str:
    margin = inputs.evidence.margin
    return f" within {format_points(margin)}" if margin else ""


def _format_by_margin(inputs: VerdictInputs) -> str:
    margin = inputs.evidence.margin
    return f" by more than {format_points(margin)}" if margin else ""


def _format_difference(row: Row) -> str:
    """`-0.5 [-2.1, 1.1] points`."""
    return f"{100 * row['difference']:+.1f} [{100 * row['low']:+.1f}, {100 * row['high']:+.1f}] points"
