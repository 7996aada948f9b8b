"""The verdict: what to use, whether that means fine-tuning, and how sure that is; in words and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from loratory.evaluation.fine_tuning_gain import assess_learning, measure_fine_tuning_gain
from loratory.evaluation.model_selection import Selection
from loratory.evaluation.verdict.explanations import explain_verdict
from loratory.evaluation.verdict.headlines import VerdictInputs, compose_headline
from loratory.evaluation.verdict.run_warnings import collect_run_warnings
from loratory.protocols import JSON
from loratory.specs.evidence import EvidenceSpec

Row = Mapping[str, Any]


def decide_verdict(
    selection: Selection, comparisons: Sequence[Row], gates: Mapping[str, Row], facts: Mapping[str, JSON]
) -> dict[str, Any]:
    """The verdict over fitted contenders; `comparisons` are the planned ones, `gates` what gate.hold_all found."""
    field = selection.comparison_set
    gain, learning = measure_fine_tuning_gain(selection), assess_learning(field, comparisons)
    situation = VerdictInputs(selection, comparisons, gain, learning)
    case, sentence = compose_headline(situation)
    gated = _summarise_gate(selection.recommended.name, gates)
    return {
        "recommended": selection.recommended.name,
        "best": selection.best.name,
        "shown": selection.is_supported,
        "case": case,
        "learnt": learning,
        "fine_tune": situation.fine_tune,
        "fine_tuning": gain,
        "margin": field.evidence.margin,
        "confidence": field.evidence.confidence,
        "headline": sentence,
        "reason": explain_verdict(situation),
        "gate": gated,
        "non_inferiority": list(selection.simpler_vs_best),
        "warnings": collect_run_warnings(situation, gated, facts),
    }


def make_empty_verdict(evidence: EvidenceSpec) -> dict[str, Any]:
    """The verdict where no contender could be fitted."""
    return {
        "recommended": None,
        "best": None,
        "shown": False,
        "case": "none-fitted",
        "learnt": None,
        "fine_tune": None,
        "fine_tuning": None,
        "margin": evidence.margin,
        "confidence": evidence.confidence,
        "headline": "No contender could be fitted, so there is nothing to recommend.",
        "reason": [],
        "gate": None,
        "non_inferiority": [],
        "warnings": [],
    }


def _summarise_gate(recommended: str, gates: Mapping[str, Row]) -> dict[str, Any] | None:
    """The gate on the recommended contender: {holds, checks, ...}, and who holds it, simplest first: {holders}."""
    if not gates:
        return None
    return {**gates[recommended], "holders": [name for name, one in gates.items() if one["holds"]]}
