"""The verdict's one sentence: a table of cases, the first that applies is said."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loratory.evaluation.cells import points, those_are
from loratory.evaluation.choice import Choice
from loratory.evaluation.contest import Standing
from loratory.evaluation.learning import advise_fine_tuning, find_baseline
from loratory.specs.evidence import EvidenceSpec

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Situation:
    """All that the sentence follows from."""

    choice: Choice
    comparisons: Sequence[Row]
    gain: Row | None  # learning.weigh_fine_tuning
    learning: Row | None  # learning.weigh_learning

    @property
    def name(self) -> str:
        return self.choice.recommended.name

    @property
    def top(self) -> Standing:
        return self.choice.top

    @property
    def evidence(self) -> EvidenceSpec:
        return self.choice.field.evidence

    @property
    def rival(self) -> Row:
        """The recommended contender against the best on test; only asked where it is another."""
        found = self.choice.rival
        assert found is not None
        return found

    @property
    def simpler(self) -> list[Row]:
        """The contenders before the best in the ladder, without the one that learns nothing."""
        baseline = find_baseline(self.choice.field)
        return [row for row in self.choice.rivals if baseline is None or row["contender"] != baseline.name]

    @property
    def fine_tune(self) -> bool | None:
        """What the verdict advises; see learning.advise_fine_tuning."""
        return advise_fine_tuning(self.choice, self.gain, self.learning)

    @property
    def better_on_test(self) -> list[str]:
        """Contenders that a planned comparison shows to be better on test than the best on validation."""
        top = self.top.name
        later = [row["contender"] for row in self.comparisons if row["against"] == top and row["decision"] == "better"]
        earlier = [row["against"] for row in self.comparisons if row["contender"] == top and row["decision"] == "worse"]
        return list(dict.fromkeys([*earlier, *later]))


@dataclass(frozen=True)
class Case:
    """When a sentence is said, and which."""

    name: str
    about: str  # for the docs: when it is said
    applies: Callable[[Situation], bool]
    says: Callable[[Situation], str]


def compose_headline(situation: Situation) -> tuple[str, str]:
    """(the case's name, the sentence)."""
    case = next(case for case in CASES if case.applies(situation))
    prefix = "" if case.name == "nothing-learnt" else _advise(situation)
    return case.name, prefix + case.says(situation)


def _advise(situation: Situation) -> str:
    """What the ladder says about fine-tuning; nothing where it holds only contenders of one kind."""
    if situation.gain is None:
        return ""
    if situation.fine_tune is not None:
        return "Fine-tune: " if situation.fine_tune else "Do not fine-tune: "
    if situation.choice.recommended.measured.adapts:
        return "Fine-tuning is not shown to pay: "
    return "Validation and test disagree on fine-tuning: "


def _nothing_learnt(situation: Situation) -> str:
    learning = situation.learning
    assert learning is not None
    score = situation.choice.field.task.headline
    return (
        "Nothing is shown to be learnt: on test no contender is better, by more than chance, than "
        f"{learning['baseline']}, which gives the commonest answer of train every time "
        f"({score} {100 * learning['value']:.1f})."
    )


def _as_good(situation: Situation) -> str:
    return f"{situation.name} is as good as the best ({situation.top.name}) on validation{_within(situation)}"


def _disagree(situation: Situation) -> str:
    rival = situation.rival
    return (
        f"{_as_good(situation)}, but on test it is worse, by {-100 * rival['high']:.1f} points or more: the validation "
        "set may be too small."
    )


def _shown(situation: Situation) -> str:
    return f"{situation.name} is as good as the best ({situation.top.name}){_within(situation)}, and simpler."


def _too_small(situation: Situation) -> str:
    return _unproven(situation, "is too small to prove it")


def _not_proven(situation: Situation) -> str:
    return _unproven(situation, "does not prove it")


def _unproven(situation: Situation, how: str) -> str:
    return f"{_as_good(situation)}, and simpler; the test set {how} ({_apart(situation.rival)} on test)."


def _overtaken(situation: Situation) -> str:
    return (
        f"{situation.name} is the best on validation, but on test {those_are(situation.better_on_test)} better, by "
        "more than chance: the validation set may be too small, or unlike the test set."
    )


def _simplest(situation: Situation) -> str:
    return f"{situation.name}, the simplest contender that learns, is also the best on validation."


def _best_shown(situation: Situation) -> str:
    return f"{situation.name} is the best, and every simpler contender is worse{_by(situation)}."


def _best_not_shown(situation: Situation) -> str:
    unproven = [rival["contender"] for rival in situation.simpler if not rival["worse"]]
    return (
        f"{situation.name} is the best on validation; that {those_are(unproven)} worse{_by(situation)} is not shown on "
        "test."
    )


def _is_top(situation: Situation) -> bool:
    return situation.choice.recommended is situation.choice.top


CASES: tuple[Case, ...] = (
    Case(
        "nothing-learnt",
        "No contender is shown to be better on test than `majority`, the commonest answer of train.",
        lambda s: s.learning is not None and not s.learning["learnt"],
        _nothing_learnt,
    ),
    Case(
        "worse-on-test",
        "A simpler contender is as good on validation, but on test it is shown to be worse by more than the margin.",
        lambda s: not _is_top(s) and s.rival["worse"],
        _disagree,
    ),
    Case(
        "as-good-shown",
        "A simpler contender is as good as the best: validation says so, and the test set proves it.",
        lambda s: not _is_top(s) and s.choice.shown,
        _shown,
    ),
    Case(
        "as-good-too-small",
        "A simpler contender is as good on validation; the test set is too small to prove such a margin.",
        lambda s: not _is_top(s) and s.rival["smallest_margin"] > s.evidence.margin,
        _too_small,
    ),
    Case(
        "as-good-not-proven",
        "A simpler contender is as good on validation; the test set could have proven it and does not.",
        lambda s: not _is_top(s),
        _not_proven,
    ),
    Case(
        "overtaken",
        "The best on validation is recommended, but on test another contender is shown to be better.",
        lambda s: bool(s.better_on_test),
        _overtaken,
    ),
    Case(
        "simplest-is-best",
        "The first contender after `majority` is the best on validation.",
        lambda s: not s.simpler,
        _simplest,
    ),
    Case(
        "best-shown",
        "The best on validation is recommended, and on test every simpler one is shown to be worse by more than the "
        "margin.",
        lambda s: all(rival["worse"] for rival in s.simpler),
        _best_shown,
    ),
    Case(
        "best-not-shown",
        "The best on validation is recommended; that the simpler ones are worse is not shown for all of them.",
        lambda s: True,
        _best_not_shown,
    ),
)


def _within(situation: Situation) -> str:
    margin = situation.evidence.margin
    return f" within {points(margin)}" if margin else ""


def _by(situation: Situation) -> str:
    margin = situation.evidence.margin
    return f" by more than {points(margin)}" if margin else ""


def _apart(rival: Row) -> str:
    """`-0.5 [-2.1, 1.1] points`."""
    return f"{100 * rival['difference']:+.1f} [{100 * rival['low']:+.1f}, {100 * rival['high']:+.1f}] points"
