"""The verdict in words: why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from loratory.evaluation.cells import points, seconds, sure, those_are
from loratory.evaluation.contest import Standing
from loratory.evaluation.headlines import Situation
from loratory.specs.evidence import EvidenceSpec

Row = Mapping[str, Any]


def reasons(situation: Situation, gate: Row | None) -> list[str]:
    """Why: a sentence for the best, for every other contender, for what was learnt, for fine-tuning, for the gate."""
    choice, top, name = situation.choice, situation.top, situation.name
    field = choice.field
    score, on_test = field.task.headline, top.scores[top.measured.shipped][field.task.headline]
    said = [
        f"{top.name} has the best {score} on validation, {top.validation:.1%}; this choice does not look at the test "
        f"set, where its shipped fit has {on_test:.1%}."
    ]
    said += [_rival(field.evidence, rival, top) for rival in choice.rivals]
    # every contender after the best is planned to be compared with it, because it is the best of those before
    said += [_later(row, top) for row in situation.comparisons if row["against"] == top.name]
    if choice.recommended is not top:
        said.append(
            f"{name} is recommended: it is the simplest contender within {points(field.evidence.margin)} of the best "
            f"on validation ({choice.recommended.validation:.1%})."
        )
    said += _learnt(situation.learning, name)
    if situation.gain is not None:
        said.append(_gain(situation.gain))
    if gate is not None and gate["holders"] and not gate["holds"]:
        said.append(f"{name} does not hold the gate; {gate['holders'][0]} is the simplest contender that does.")
    return said


def _learnt(learning: Row | None, recommended: str) -> list[str]:
    """Who is better than the commonest answer, where it is not the recommended contender."""
    if learning is None or recommended in (learning["baseline"], *learning["better"]) or not learning["learnt"]:
        return []
    return [
        f"{recommended} itself is not shown to be better than {learning['baseline']}; of the others "
        f"{those_are(learning['better'])}."
    ]


def _gain(gain: Row) -> str:
    longer, shorter = gain["seconds"]
    return (
        f"Fine-tuning is worth {100 * gain['difference']:+.1f} points [{100 * gain['low']:+.1f}, "
        f"{100 * gain['high']:+.1f}] on test: {gain['contender']} (trained in {seconds(longer)}) against "
        f"{gain['against']} ({seconds(shorter)}). Both were chosen on validation."
    )


def _by(evidence: EvidenceSpec) -> str:
    return f" by more than {points(evidence.margin)}" if evidence.margin else ""


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
