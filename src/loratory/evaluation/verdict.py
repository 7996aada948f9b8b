"""The verdict: the cheapest contender that is not worse than the best by more than the margin, in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from loratory.evaluation.bootstrap import column
from loratory.evaluation.cells import listed, points, sure
from loratory.evaluation.comparisons import holm, pair
from loratory.evaluation.contest import Contest, Standing, best
from loratory.evaluation.gate import hold
from loratory.protocols import JSON, Labelled
from loratory.specs.evidence import EvidenceSpec, GateSpec

FEW_GROUPS = 40  # groups below which a percentile bootstrap is known to fall short
FEW = 20  # test examples of a label below which its recall is hardly known


def decide(field: Contest, gate: GateSpec | None, facts: Mapping[str, JSON]) -> dict[str, Any]:
    """The cheapest contender that measured no worse than the best by more than the margin, else the best itself.

    The best is chosen on validation. Whether a simpler one is as good is then *shown* or only *measured*: each is held
    to a one-sided non-inferiority test on the test set, Holm-adjusted over them, so that alpha bounds the chance that
    any of them is wrongly called shown. Where the test set is too small to show it, the simpler one is recommended on
    what was measured, and the words say so: the burden of proof lies with the costlier contender.
    """
    top = best(field.standings)
    rivals = non_inferiority(field, top)
    good = [rival["contender"] for rival in rivals if rival["shown"] or rival["within"]]
    recommended = field.find(good[0]) if good else top
    assert recommended is not None  # its name comes from the field
    return {
        "recommended": recommended.name,
        "best": top.name,
        "shown": _shown(recommended, top, rivals),
        "fine_tune": recommended.measured.adapts,
        "margin": field.evidence.margin,
        "confidence": field.evidence.confidence,
        "headline": _headline(field, recommended, top, rivals),
        "reason": _reasons(field, recommended, top, rivals),
        "gate": hold(gate, field, recommended) if gate else None,
        "non_inferiority": rivals,
        "warnings": _warnings(field, facts),
    }


def undecided(evidence: EvidenceSpec) -> dict[str, Any]:
    """The verdict where no contender could be fitted."""
    return {
        "recommended": None,
        "best": None,
        "shown": False,
        "fine_tune": False,
        "margin": evidence.margin,
        "confidence": evidence.confidence,
        "reason": [],
        "headline": "No contender could be fitted, so there is nothing to recommend.",
        "gate": None,
        "non_inferiority": [],
        "warnings": [],
    }


def non_inferiority(field: Contest, top: Standing) -> list[dict[str, Any]]:
    """Each contender simpler than the best: is it no worse by more than the margin? One-sided, Holm-adjusted."""
    simpler = field.standings[: field.standings.index(top)]
    evidence = field.evidence
    pairs = [pair(field, standing, top) for standing in simpler]
    adjusted = holm([one.p_at_most(-evidence.margin) for one in pairs])
    rows = []
    for standing, one, p in zip(simpler, pairs, adjusted, strict=True):
        low, high = one.interval(2 * evidence.confidence - 1)  # its ends are the one-sided bounds
        rows.append(
            {
                "contender": standing.name,
                "difference": one.difference,
                "low": low,
                "high": high,
                "p_holm": p,
                "shown": p <= 1 - evidence.confidence,
                "within": one.difference >= -evidence.margin,
                "worse": high < -evidence.margin,
                "smallest_margin": _smallest_margin(one.standard_error(), len(pairs), evidence),
            }
        )
    return rows


def _smallest_margin(error: float, family: int, evidence: EvidenceSpec) -> float:
    """The least margin within which this test set would show two equals to be as good, at the spec's power."""
    from scipy.special import ndtri

    return float((ndtri(1 - (1 - evidence.confidence) / family) + ndtri(evidence.power)) * error)


def _headline(field: Contest, recommended: Standing, top: Standing, rivals: list[dict[str, Any]]) -> str:
    name, within = recommended.name, points(field.evidence.margin)
    adapting = any(standing.measured.adapts for standing in field.standings)
    advice = "Fine-tune: " if recommended.measured.adapts else "Do not fine-tune: " if adapting else ""
    if recommended is not top:
        if _shown(recommended, top, rivals):
            return f"{advice}{name} is as good as the best ({top.name}) within {within}."
        return (
            f"{advice}{name} measured as good as the best ({top.name}) within {within} and is cheaper; the test set is "
            "too small to prove it."
        )
    if not rivals:
        return f"{advice}{name}, the simplest contender, is also the best."
    open_ones = [rival["contender"] for rival in rivals if not rival["worse"]]
    if not open_ones:
        return f"{advice}{name} is the best, and every simpler contender is worse by more than {within}."
    return (
        f"{advice}{name} is the best; whether {listed(open_ones, 'or')} would do as well within {within}, "
        "this test set is too small to tell."
    )


def _shown(recommended: Standing, top: Standing, rivals: list[dict[str, Any]]) -> bool:
    """Whether the recommendation rests on a test, not on the measured figures alone; the best needs no showing."""
    return recommended is top or any(rival["shown"] for rival in rivals if rival["contender"] == recommended.name)


def _reasons(field: Contest, recommended: Standing, top: Standing, rivals: list[dict[str, Any]]) -> list[str]:
    headline, within = field.task.headline, points(field.evidence.margin)
    on_test = top.scores[top.measured.shipped][headline]
    reasons = [
        f"{top.name} has the best {headline} on validation, {100 * top.validation:.1f} %; the choice does not "
        f"look at the test set, where its shipped fit has {100 * on_test:.1f} %."
    ]
    reasons += [_reason(field, rival, top, within) for rival in rivals]
    if recommended is not top:
        how = "was shown to be" if _shown(recommended, top, rivals) else "measured"
        reasons.append(f"{recommended.name} is the cheapest contender that {how} as good.")
    return reasons


def _reason(field: Contest, rival: Mapping[str, Any], top: Standing, within: str) -> str:
    name, difference = rival["contender"], 100 * rival["difference"]
    certainty = f"{sure(field.evidence.confidence)} confidence"
    apart = f"{abs(difference):.1f} points {'worse than' if difference < 0 else 'better than'} {top.name}"
    if abs(difference) < 0.05:
        apart = f"level with {top.name}"
    if rival["shown"]:
        return f"{name} is shown to be as good: {apart} on test, and with {certainty} not worse by more than {within}."
    if rival["worse"]:
        return f"{name} is not as good: {apart} on test, with {certainty} by {-100 * rival['high']:.1f} or more."
    said = f"{name} is not shown to be as good: {apart} on test"
    if rival["smallest_margin"] <= field.evidence.margin:
        return f"{said}, and with {certainty} it may be worse by {-100 * rival['low']:.1f} points."
    return (
        f"{said}, but the test set is too small to tell: two equals it could show to be within "
        f"{100 * rival['smallest_margin']:.1f} points of each other, not within {within}."
    )


def _warnings(field: Contest, facts: Mapping[str, JSON]) -> list[str]:
    reads = facts.get("test_reads")
    warnings = []
    if isinstance(reads, int) and reads > 1:
        warnings.append(
            f"The test set was read {reads} times, this one included. Whatever was changed after an "
            "earlier look may fit the test set by chance; the intervals do not allow for that."
        )
    return warnings + _groups(field) + _few(field) + _spread(field)


def _groups(field: Contest) -> list[str]:
    count = field.resampling.count
    if count >= FEW_GROUPS:
        return []
    return [
        f"The test set holds only {count} independent groups: its intervals are a little too narrow (with 25 "
        "groups, those of 95% held the truth in 93% of simulated worlds)."
    ]


def _few(field: Contest) -> list[str]:
    if not isinstance(field.task, Labelled):
        return []
    marks = field.standings[0].test.marks
    support = {label: int(column(marks, f"support/{label}").sum()) for label in field.task.labels or ()}
    rare = [f"{label} ({n})" for label, n in support.items() if n < FEW]
    if not rare:
        return []
    some = ", ".join(rare[:6]) + (f" and {len(rare) - 6} more" if len(rare) > 6 else "")
    return [f"Few test examples, so that figures of the label are hardly known (under {FEW}): {some}."]


def _spread(field: Contest) -> list[str]:
    wide = []
    for standing in field.standings:
        values = [scores[field.task.headline] for scores in standing.scores.values()]
        if (spread := max(values) - min(values)) > max(2 * field.evidence.margin, 0.01):
            wide.append(f"{standing.name} ({100 * spread:.1f} points)")
    if not wide:
        return []
    return [
        f"Seeds lie far apart: {listed(wide, 'and')}. Comparisons speak of the fit that ships; another seed might "
        "have changed them."
    ]
