"""Whether the fit that ships holds what the spec's gate demands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from loratory.errors import SpecError, suggest_nearest
from loratory.evaluation.statistics.bootstrap import Integers, extract_count, index_groups
from loratory.evaluation.statistics.comparison_set import ComparisonSet, Rank
from loratory.evaluation.statistics.comparisons import pair_contenders
from loratory.evaluation.statistics.proportions import Proportion, compute_clopper_pearson, estimate_proportion
from loratory.evaluation.stress_test import share_from_json
from loratory.evaluation.table_cells import format_confidence
from loratory.specs.evidence import Ceiling, Floor, GateSpec

GateCheck = dict[str, Any]


def check_gate(
    gate: GateSpec, labels: Sequence[str] | None, contenders: Sequence[str], perturbations: Sequence[str] = ()
) -> None:
    """Refuse a gate that no fit could be held to, before anything is trained; raises SpecError.

    `labels` is None for a task without labels, where recall, precision and flips have no meaning.
    """
    for measure in ("recall", "precision", "flips"):
        named = getattr(gate, measure)
        if named and labels is None:
            raise SpecError("this task has no labels", where=f"gate: {measure}", remedy="remove it from the gate")
        if measure != "flips":
            _check_names(named, labels or (), f"gate: {measure}", "label")
    _check_names(gate.not_worse_than, contenders, "gate: not_worse_than", "contender")
    _check_flip_names(gate, labels or (), perturbations)


def _check_flip_names(gate: GateSpec, labels: Sequence[str], perturbations: Sequence[str]) -> None:
    if gate.flips and not perturbations:
        raise SpecError(
            "nothing is perturbed in this run", where="gate: flips", remedy="add stress: {} for all perturbations"
        )
    _check_names((one for one in gate.flips if "/" not in one), perturbations, "gate: flips", "perturbation")
    both = [f"{perturbation}/{label}" for perturbation in perturbations for label in labels]
    _check_names((one for one in gate.flips if "/" in one), both, "gate: flips", "perturbation and label")


def _check_names(named: Iterable[str], known: Sequence[str], where: str, noun: str) -> None:
    for name in named:
        if name not in known:
            listed = ", ".join(known[:12]) + (f" and {len(known) - 12} more" if len(known) > 12 else "")
            raise SpecError(
                f"{name!r} is no {noun} of this spec{suggest_nearest(name, known)}",
                where=f"{where}: {name}",
                allowed=listed or "nothing",
                remedy=f"name one of these {noun}s, or remove the line",
            )


def evaluate_all_gates(
    gate: GateSpec, comparison_set: ComparisonSet, recommended_rank: Rank
) -> dict[str, dict[str, Any]]:
    """Contender -> {holds, together, checks}, so that alpha bounds the chance that any of them passes wrongly.

    Holm (1979), step by step: with m contenders tested together each is tested at alpha / m; those that hold are
    taken out, and the others are tested again at alpha over their number. Tested are the recommended contender and
    those that validation does not rule out; a contender that is ruled out fails without a test.
    """
    ruled_out = {
        one.name: _rule_out_on_validation(gate, comparison_set, one)
        for one in comparison_set.ranks
        if one is not recommended_rank
    }
    waiting = [one for one in comparison_set.ranks if not ruled_out.get(one.name)]
    found: dict[str, dict[str, Any]] = {}
    while waiting:
        tried = {one.name: evaluate_gate(gate, comparison_set, one, len(waiting)) for one in waiting}
        found |= tried
        left = [one for one in waiting if not tried[one.name]["holds"]]
        if len(left) == len(waiting):
            break
        waiting = left
    for standing in comparison_set.ranks:
        if standing.name not in found:
            made = evaluate_gate(gate, comparison_set, standing, 1)
            found[standing.name] = {**made, "holds": False, "checks": [*ruled_out[standing.name], *made["checks"]]}
    return {standing.name: found[standing.name] for standing in comparison_set.ranks}


def evaluate_gate(gate: GateSpec, comparison_set: ComparisonSet, rank: Rank, family_size: int) -> dict[str, Any]:
    """Every check of the gate on a contender's shipped fit, as one of so many that are tested together."""
    marks, groups = rank.test.counts, comparison_set.resampling.groups
    checks = [_check_floor(*one, family_size) for one in _measure_shares(gate, marks, groups)]
    checks += [
        _check_not_worse(comparison_set, rank, other, margin, family_size)
        for other, margin in gate.not_worse_than.items()
    ]
    checks += [_check_ceiling(name, ceiling, rank, family_size) for name, ceiling in gate.flips.items()]
    return {"holds": all(check["holds"] for check in checks), "together": family_size, "checks": checks}


def _measure_shares(
    gate: GateSpec, counts: Sequence[Mapping[str, float]], groups: Integers
) -> list[tuple[str, Floor, Proportion]]:
    """What has a floor: its name, the floor, and the share that is measured."""
    found = []
    if gate.accuracy is not None:
        found.append(
            (
                "accuracy",
                gate.accuracy,
                estimate_proportion(extract_count(counts, "reward"), extract_count(counts, "n"), groups),
            )
        )
    for label, floor in gate.recall.items():
        right, there = extract_count(counts, f"tp/{label}"), extract_count(counts, f"support/{label}")
        found.append((f"recall/{label}", floor, estimate_proportion(right, there, groups)))
    for label, floor in gate.precision.items():
        right, wrong = extract_count(counts, f"tp/{label}"), extract_count(counts, f"fp/{label}")
        found.append((f"precision/{label}", floor, estimate_proportion(right, right + wrong, groups)))
    return found


def _rule_out_on_validation(gate: GateSpec, comparison_set: ComparisonSet, rank: Rank) -> list[GateCheck]:
    """Checks that a contender is shown to miss on validation already; the test set is not asked."""
    outcome = rank.result.shipped_fit.validation
    missed = []
    for what, floor, share in _measure_shares(gate, outcome.counts, index_groups(outcome.examples)):
        if share.n and (most := share.upper_bound(floor.confidence)) < floor.at_least:
            said = (
                f"it was not tested: on validation {what.replace('/', ' of ')} is {share.value:.1%}, and with "
                f"{format_confidence(floor.confidence)} confidence at most {most:.1%}, but {floor.at_least:.1%} "
                "is required"
            )
            missed.append({"what": f"validation/{what}", "value": share.value, "holds": False, "says": said})
    return missed


def adjust_confidence(confidence: float, family_size: int) -> float:
    """The confidence of each of so many that leaves all together the one asked for (Bonferroni)."""
    return 1 - (1 - confidence) / family_size


def _describe_confidence(confidence: float, family_size: int) -> str:
    """`with 95% confidence`, and for how many at once."""
    return f"with {format_confidence(confidence)} confidence" + (
        f" for {family_size} contenders together" if family_size > 1 else ""
    )


def _check_floor(what: str, floor: Floor, share: Proportion, family_size: int) -> GateCheck:
    bound = share.lower_bound(adjust_confidence(floor.confidence, family_size))
    holds = share.n > 0 and bound >= floor.at_least
    check = {
        "what": what,
        "value": share.value if share.n else None,
        "bound": bound,
        "at_least": floor.at_least,
        "confidence": floor.confidence,
        "n": int(share.n),
        "holds": holds,
    }
    return {**check, "says": _explain_floor(check, floor, share, family_size)}


def _explain_floor(check: GateCheck, floor: Floor, share: Proportion, family_size: int) -> str:
    noun, bound, holds = check["what"].replace("/", " of "), check["bound"], check["holds"]
    if not share.n:
        return f"{noun} cannot be measured: the test set has no such example"
    confidence = adjust_confidence(floor.confidence, family_size)
    effective = share.compute_effective_size(confidence)
    worth = f" (they count as {effective:.0f} independent ones)" if effective < 0.95 * share.n else ""
    said = (
        f"{noun} is {share.value:.1%} on {share.n:.0f} examples{worth}; "
        f"{_describe_confidence(floor.confidence, family_size)} "
        f"it is at least {bound:.1%}, {'and' if holds else 'but'} {floor.at_least:.1%} is required"
    )
    perfect = compute_clopper_pearson(1.0, effective, 1 - confidence)[0]
    if not holds and perfect < floor.at_least:
        said += f" (even with no mistake, so few examples can prove at most {perfect:.1%}: a larger test set is needed)"
    return said


def _check_ceiling(name: str, ceiling: Ceiling, rank: Rank, family_size: int) -> GateCheck:
    perturbation, of_label, label = name.partition("/")
    row = next((one for one in rank.result.stress_rows if one["name"] == perturbation), None)
    facts: Any = row and (row.get("labels", {}).get(label, {}).get("broken") if of_label else row.get("flips"))
    check = {"what": f"flips/{name}", "at_most": ceiling.at_most, "confidence": ceiling.confidence}
    if not facts or not facts["n"]:
        why = "it changed no text that counts" if row else "these fits were not tested with it (loratory run does this)"
        said = f"flips under {name} cannot be measured: {why}"
        return {**check, "value": None, "bound": None, "n": 0, "holds": False, "says": said}
    share = share_from_json(facts)
    bound = share.upper_bound(adjust_confidence(ceiling.confidence, family_size))
    holds = bound <= ceiling.at_most
    whose = f"right answers {label} turn wrong" if of_label else "answers change"
    said = (
        f"under {perturbation} {share.value:.1%} of {share.n:.0f} {whose}; "
        f"{_describe_confidence(ceiling.confidence, family_size)} it is at most {bound:.1%}, "
        f"{'and' if holds else 'but'} "
        f"{ceiling.at_most:.1%} is required"
    )
    return {**check, "value": share.value, "bound": bound, "n": int(share.n), "holds": holds, "says": said}


def _check_not_worse(
    comparison_set: ComparisonSet, rank: Rank, name: str, margin: float, family_size: int
) -> GateCheck:
    confidence, other = comparison_set.evidence.confidence, comparison_set.find_rank(name)
    check = {
        "what": f"not_worse_than/{name}",
        "at_least": -margin,
        "confidence": confidence,
        "n": len(comparison_set.resampling.groups),
    }
    if other is None:
        said = f"{name} was not fitted, so nothing was compared"
        return {**check, "value": None, "bound": None, "holds": False, "says": said}
    if other is rank:
        return {
            **check,
            "value": 0.0,
            "bound": 0.0,
            "holds": True,
            "says": f"it is compared with {name}, and this is {name} itself",
        }
    one = pair_contenders(comparison_set, rank, other)
    # a two-sided interval at 2c - 1 ends at the one-sided bound at c
    bound = one.interval(2 * adjust_confidence(confidence, family_size) - 1)[0]
    holds = bound >= -margin
    said = (
        f"{comparison_set.task.headline} is {100 * one.difference:+.1f} points against {name}; "
        f"{_describe_confidence(confidence, family_size)} at least {100 * bound:+.1f}, {'and' if holds else 'but'} "
        f"{-100 * margin or 0.0:+.1f} is required"
    )
    return {**check, "value": one.difference, "bound": bound, "holds": holds, "says": said}
