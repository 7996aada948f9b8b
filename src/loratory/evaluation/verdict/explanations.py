"""The verdict in words: why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from loratory.evaluation.statistics.comparison_set import Rank
from loratory.evaluation.table_cells import format_confidence, format_points, format_seconds, join_names_with_verb
from loratory.evaluation.verdict.headlines import VerdictInputs
from loratory.specs.evidence import EvidenceSpec

Row = Mapping[str, Any]


def explain_verdict(inputs: VerdictInputs, gate: Row | None) -> list[str]:
    """Why: a sentence for the best, for every other contender, for what was learnt, for fine-tuning, for the gate."""
    choice, top, name = inputs.selection, inputs.best, inputs.name
    field = choice.comparison_set
    score, on_test = field.task.headline, top.scores[top.result.shipped_seed][field.task.headline]
    said = [
        f"{top.name} has the best {score} on validation ({top.validation:.1%}); on the test set, which this choice "
        f"does not use, it has {on_test:.1%}."
    ]
    said += [_explain_simpler_contender(field.evidence, rival, top) for rival in choice.simpler_vs_best]
    # every contender after the best is planned to be compared with it, because it is the best of those before
    said += [_explain_later_contender(row, top) for row in inputs.comparisons if row["against"] == top.name]
    if choice.recommended is not top:
        said.append(
            f"{name} is recommended: it is the simplest contender within {format_points(field.evidence.margin)} "
            "of the best "
            f"on validation ({choice.recommended.validation:.1%})."
        )
    said += _explain_learning(inputs.learning_result, name)
    if inputs.fine_tuning_gain is not None:
        said.append(_explain_fine_tuning_gain(inputs.fine_tuning_gain))
    if gate is not None and gate["holders"] and not gate["holds"]:
        said.append(f"{name} fails the gate; {gate['holders'][0]} is the simplest contender that passes it.")
    return said


def _explain_learning(learning_result: Row | None, recommended: str) -> list[str]:
    """Who is better than the commonest answer, where it is not the recommended contender."""
    if (
        learning_result is None
        or recommended in (learning_result["baseline"], *learning_result["better"])
        or not learning_result["learnt"]
    ):
        return []
    return [
        f"{recommended} itself is not shown to be better than {learning_result['baseline']}; of the others "
        f"{join_names_with_verb(learning_result['better'])}."
    ]


def _explain_fine_tuning_gain(fine_tuning_gain: Row) -> str:
    longer, shorter = fine_tuning_gain["seconds"]
    return (
        f"Fine-tuning is worth {100 * fine_tuning_gain['difference']:+.1f} points "
        f"[{100 * fine_tuning_gain['low']:+.1f}, "
        f"{100 * fine_tuning_gain['high']:+.1f}] on test: {fine_tuning_gain['contender']} (trained in "
        f"{format_seconds(longer)}) against "
        f"{fine_tuning_gain['against']} ({format_seconds(shorter)}). Both were chosen on validation."
    )


def _format_by_margin(evidence: EvidenceSpec) -> str:
    return f" by more than {format_points(evidence.margin)}" if evidence.margin else ""


def _explain_simpler_contender(evidence: EvidenceSpec, row: Row, best_rank: Rank) -> str:
    """A contender simpler than the best."""
    said, certainty = (
        f"{format_difference(row['difference'], best_rank.name)} on test",
        f"with {format_confidence(evidence.confidence)} confidence",
    )
    if row["shown"]:
        return (
            f"{row['contender']} is shown to be as good: {said}, and {certainty} not "
            f"worse{_format_by_margin(evidence)}."
        )
    if row["worse"]:
        return f"{row['contender']} is worse: {said}, {certainty} by {-100 * row['high']:.1f} or more."
    if not row["within"]:
        worse = f"worse{_format_by_margin(evidence)}"
        return f"{row['contender']} measured worse: {said}; the test set does not prove that it is {worse}."
    said = f"{row['contender']} measured {'no worse' if row['difference'] >= 0 else 'as good'}: {said}"
    if row["smallest_margin"] <= evidence.margin:
        return f"{said}; it is not proven (p = {row['p_holm']:.2g}, needed: at most {1 - evidence.confidence:.2g})."
    asked = f"within {format_points(evidence.margin)}" if evidence.margin else "equal"
    return (
        f"{said}, but the test set is too small to prove it: it could show that two equal contenders are within "
        f"{100 * row['smallest_margin']:.1f} points of each other, not that they are {asked}."
    )


def _explain_later_contender(row: Row, best_rank: Rank) -> str:
    """A contender after the best in the ladder, from their planned comparison."""
    how = {
        "better": "is better on test, but not on validation",
        "worse": "is worse",
        "undecided": "is not shown to be better",
    }[row["decision"]]
    return (
        f"{row['contender']} (later in the ladder) {how}: "
        f"{format_difference(row['difference'], best_rank.name)} on test."
    )


def format_difference(difference: float, other: str) -> str:
    """`1.2 points worse than lora`; two decimals where one would show none."""
    away = abs(100 * difference)
    if away < 1e-6:
        return f"equal to {other}"
    return f"{away:.{1 if away >= 0.05 else 2}f} points {'worse' if difference < 0 else 'better'} than {other}"
