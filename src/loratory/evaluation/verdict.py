"""The verdict: what to use, whether that means fine-tuning, and how sure that is; in words and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from loratory.evaluation.caveats import caveats
from loratory.evaluation.choice import Choice
from loratory.evaluation.headlines import Situation, compose_headline
from loratory.evaluation.learning import weigh_fine_tuning, weigh_learning
from loratory.evaluation.reasons import reasons
from loratory.protocols import JSON
from loratory.specs.evidence import EvidenceSpec

Row = Mapping[str, Any]


def decide(
    choice: Choice, comparisons: Sequence[Row], gates: Mapping[str, Row], facts: Mapping[str, JSON]
) -> dict[str, Any]:
    """The verdict over fitted contenders; `comparisons` are the planned ones, `gates` what gate.hold_all found."""
    field = choice.field
    gain, learning = weigh_fine_tuning(choice), weigh_learning(field, comparisons)
    situation = Situation(choice, comparisons, gain, learning)
    case, sentence = compose_headline(situation)
    gated = _gate(choice.recommended.name, gates)
    return {
        "recommended": choice.recommended.name,
        "best": choice.top.name,
        "shown": choice.shown,
        "case": case,
        "learnt": learning,
        "fine_tune": situation.fine_tune,
        "fine_tuning": gain,
        "margin": field.evidence.margin,
        "confidence": field.evidence.confidence,
        "headline": sentence,
        "reason": reasons(situation, gated),
        "gate": gated,
        "non_inferiority": list(choice.rivals),
        "warnings": caveats(situation, gated, facts),
    }


def undecided(evidence: EvidenceSpec) -> dict[str, Any]:
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


def _gate(recommended: str, gates: Mapping[str, Row]) -> dict[str, Any] | None:
    """The gate on the recommended contender: {holds, checks, ...}, and who holds it, simplest first: {holders}."""
    if not gates:
        return None
    return {**gates[recommended], "holders": [name for name, one in gates.items() if one["holds"]]}
