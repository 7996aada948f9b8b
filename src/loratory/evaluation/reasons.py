"""The verdict in words: its headline, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from loratory.evaluation.cells import listed, points, sure
from loratory.evaluation.choice import Choice
from loratory.evaluation.contest import Standing
from loratory.specs.evidence import EvidenceSpec

Row = Mapping[str, Any]


def headline(choice: Choice) -> str:
    """One sentence: what to use, whether it is fine-tuned, and how sure that is."""
    evidence, top, name = choice.field.evidence, choice.top.name, choice.recommended.name
    said = _advice(choice) + name
    if choice.recommended is not choice.top:
        if choice.shown:
            return f"{said} is as good as the best ({top}){_within(evidence)}."
        return (
            f"{said} measured as good as the best ({top}){_within(evidence)} and is simpler; the test set is too small "
            "to prove it."
        )
    if not choice.rivals:
        return f"{said}, the simplest contender, is also the best on validation."
    if choice.shown:
        return f"{said} is the best, and every simpler contender is worse{_by(evidence)}."
    unproven = [rival["contender"] for rival in choice.rivals if not rival["worse"]]
    return (
        f"{said} is the best; {listed(unproven, 'and')} measured worse{_by(evidence)}, which the test set is too small "
        "to prove."
    )


def _advice(choice: Choice) -> str:
    """Nothing where the ladder holds no contender with fine-tuning, or none without: nothing was compared then."""
    if len({standing.measured.adapts for standing in choice.field.standings}) < 2:
        return ""
    return "Fine-tune: " if choice.recommended.measured.adapts else "Do not fine-tune: "


def _within(evidence: EvidenceSpec) -> str:
    return f" within {points(evidence.margin)}" if evidence.margin else ""


def _by(evidence: EvidenceSpec) -> str:
    return f" by more than {points(evidence.margin)}" if evidence.margin else ""


def reasons(choice: Choice, comparisons: Sequence[Row], gain: Row | None, gate: Row | None) -> list[str]:
    """Why: a sentence for the best, for every other contender, for fine-tuning and for the gate."""
    field, top, name = choice.field, choice.top, choice.recommended.name
    score, on_test = field.task.headline, top.scores[top.measured.shipped][field.task.headline]
    said = [
        f"{top.name} has the best {score} on validation, {top.validation:.1%}; this choice does not look at the test "
        f"set, where its shipped fit has {on_test:.1%}."
    ]
    said += [_rival(field.evidence, rival, top) for rival in choice.rivals]
    # every contender after the best is planned to be compared with it, because it is the best of those before
    said += [_later(row, top) for row in comparisons if row["against"] == top.name]
    if choice.recommended is not top:
        how = "was shown to be" if choice.shown else "measured"
        said.append(f"{name} is the simplest contender that {how} as good.")
    if gain is not None:
        said.append(
            f"Fine-tuning is worth {100 * gain['difference']:+.1f} points [{100 * gain['low']:+.1f}, "
            f"{100 * gain['high']:+.1f}] on test: {gain['contender']} against {gain['against']}, the best on "
            "validation with and without it."
        )
    if gate is not None and gate["holders"] and not gate["holds"]:
        said.append(f"{name} does not hold the gate; {gate['holders'][0]} is the simplest contender that does.")
    return said


def _rival(evidence: EvidenceSpec, rival: Row, top: Standing) -> str:
    """A contender simpler than the best."""
    said, certainty = f"{apart(rival['difference'], top.name)} on test", f"with {sure(evidence.confidence)} confidence"
    if rival["shown"]:
        return f"{rival['contender']} is shown to be as good: {said}, and {certainty} not worse{_by(evidence)}."
    if rival["worse"]:
        return f"{rival['contender']} is not as good: {said}, {certainty} by {-100 * rival['high']:.1f} or more."
    if not rival["within"]:
        return f"{rival['contender']} measured worse: {said}; that it is worse{_by(evidence)} is not proven."
    said = f"{rival['contender']} measured {'no worse' if rival['difference'] >= 0 else 'as good'}: {said}"
    if rival["smallest_margin"] <= evidence.margin:
        return f"{said}; it is not proven (p = {rival['p_holm']:.2g}, at most {1 - evidence.confidence:.2g} is asked)."
    asked = f"within {points(evidence.margin)}" if evidence.margin else "equal"
    return (
        f"{said}, but the test set is too small to prove it: two equals it could show to be within "
        f"{100 * rival['smallest_margin']:.1f} points of each other, not {asked}."
    )


def _later(row: Row, top: Standing) -> str:
    """A contender after the best in the ladder, from their planned comparison."""
    how = {
        "better": "is better on test, but not on validation",
        "worse": "is worse",
        "undecided": "is not shown to be better",
    }[row["decision"]]
    return f"{row['contender']}, later in the ladder, {how}: {apart(row['difference'], top.name)} on test."


def apart(difference: float, other: str) -> str:
    """`1.2 points worse than lora`; two decimals where one would show none."""
    away = abs(100 * difference)
    if away < 1e-6:
        return f"level with {other}"
    return f"{away:.{1 if away >= 0.05 else 2}f} points {'worse' if difference < 0 else 'better'} than {other}"
