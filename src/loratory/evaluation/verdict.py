"""The verdict: what to use, whether that means fine-tuning, and how sure that is; in words and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from loratory.evaluation.caveats import caveats
from loratory.evaluation.choice import Choice, choose
from loratory.evaluation.comparisons import pair
from loratory.evaluation.contest import Contest, Standing, best
from loratory.evaluation.gate import hold
from loratory.evaluation.reasons import headline, reasons
from loratory.protocols import JSON
from loratory.specs.evidence import EvidenceSpec, GateSpec

Row = Mapping[str, Any]


def decide(
    field: Contest, comparisons: Sequence[Row], gate: GateSpec | None, facts: Mapping[str, JSON]
) -> dict[str, Any]:
    """The verdict over fitted contenders; `comparisons` are the planned ones."""
    choice = choose(field)
    gain = fine_tuning(field)
    gated = _gate(choice, gate) if gate else None
    return {
        "recommended": choice.recommended.name,
        "best": choice.top.name,
        "shown": choice.shown,
        "fine_tune": choice.recommended.measured.adapts,
        "fine_tuning": gain,
        "margin": field.evidence.margin,
        "confidence": field.evidence.confidence,
        "headline": headline(choice),
        "reason": reasons(choice, comparisons, gain, gated),
        "gate": gated,
        "non_inferiority": list(choice.rivals),
        "warnings": caveats(choice, comparisons, gated, facts),
    }


def undecided(evidence: EvidenceSpec) -> dict[str, Any]:
    """The verdict where no contender could be fitted."""
    return {
        "recommended": None,
        "best": None,
        "shown": False,
        "fine_tune": False,
        "fine_tuning": None,
        "margin": evidence.margin,
        "confidence": evidence.confidence,
        "headline": "No contender could be fitted, so there is nothing to recommend.",
        "reason": [],
        "gate": None,
        "non_inferiority": [],
        "warnings": [],
    }


def fine_tuning(field: Contest) -> dict[str, Any] | None:
    """What fine-tuning is worth: the best contender with it against the best without, both chosen on validation.

    None where the ladder holds only one of the two kinds.
    """
    kinds: dict[bool, list[Standing]] = {True: [], False: []}
    for standing in field.standings:
        kinds[standing.measured.adapts].append(standing)
    if not kinds[True] or not kinds[False]:
        return None
    tuned, plain = best(kinds[True]), best(kinds[False])
    one = pair(field, tuned, plain)
    low, high = one.interval(field.evidence.confidence)
    return {"contender": tuned.name, "against": plain.name, "difference": one.difference, "low": low, "high": high}


def _gate(choice: Choice, gate: GateSpec) -> dict[str, Any]:
    """The gate on the recommended contender: {holds, checks}, and who holds it, simplest first: {holders}."""
    held = {standing.name: hold(gate, choice.field, standing) for standing in choice.field.standings}
    return {**held[choice.recommended.name], "holders": [name for name, one in held.items() if one["holds"]]}
