"""Whether the fit that ships holds what the spec's gate demands."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from loratory.errors import SpecError, nearest
from loratory.evaluation.bootstrap import column
from loratory.evaluation.cells import sure
from loratory.evaluation.comparisons import pair
from loratory.evaluation.contest import Contest, Standing
from loratory.evaluation.proportions import Proportion, clopper_pearson, proportion
from loratory.evaluation.stress import kept
from loratory.specs.evidence import Ceiling, Floor, GateSpec

Check = dict[str, Any]


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
            _known(named, labels or (), f"gate: {measure}", "label")
    _known(gate.not_worse_than, contenders, "gate: not_worse_than", "contender")
    _known_flips(gate, labels or (), perturbations)


def _known_flips(gate: GateSpec, labels: Sequence[str], perturbations: Sequence[str]) -> None:
    if gate.flips and not perturbations:
        raise SpecError(
            "nothing is perturbed in this run", where="gate: flips", remedy="add stress: {} for all perturbations"
        )
    _known((one for one in gate.flips if "/" not in one), perturbations, "gate: flips", "perturbation")
    both = [f"{perturbation}/{label}" for perturbation in perturbations for label in labels]
    _known((one for one in gate.flips if "/" in one), both, "gate: flips", "perturbation and label")


def _known(named: Iterable[str], known: Sequence[str], where: str, noun: str) -> None:
    for name in named:
        if name not in known:
            listed = ", ".join(known[:12]) + (f" and {len(known) - 12} more" if len(known) > 12 else "")
            raise SpecError(
                f"{name!r} is no {noun} of this spec{nearest(name, known)}",
                where=f"{where}: {name}",
                allowed=listed or "nothing",
                remedy=f"name one of these {noun}s, or remove the line",
            )


def hold(gate: GateSpec, field: Contest, standing: Standing) -> dict[str, Any]:
    """Every check of the gate on a contender's shipped fit: {holds, checks}."""
    marks, groups = standing.test.marks, field.resampling.groups
    checks = []
    if gate.accuracy is not None:
        share = proportion(column(marks, "reward"), column(marks, "n"), groups)
        checks.append(_floor("accuracy", gate.accuracy, share))
    for label, floor in gate.recall.items():
        right, there = column(marks, f"tp/{label}"), column(marks, f"support/{label}")
        checks.append(_floor(f"recall/{label}", floor, proportion(right, there, groups)))
    for label, floor in gate.precision.items():
        right, wrong = column(marks, f"tp/{label}"), column(marks, f"fp/{label}")
        checks.append(_floor(f"precision/{label}", floor, proportion(right, right + wrong, groups)))
    checks += [_not_worse(field, standing, other, margin) for other, margin in gate.not_worse_than.items()]
    checks += [_ceiling(name, ceiling, standing) for name, ceiling in gate.flips.items()]
    return {"holds": all(check["holds"] for check in checks), "checks": checks}


def _floor(what: str, floor: Floor, share: Proportion) -> Check:
    bound = share.lower(floor.confidence)
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
    return {**check, "says": _says_floor(what, floor, share, bound, holds)}


def _says_floor(what: str, floor: Floor, share: Proportion, bound: float, holds: bool) -> str:
    noun = what.replace("/", " of ")
    if not share.n:
        return f"{noun} cannot be measured: the test set holds no such case"
    effective = share.effective(floor.confidence)
    worth = f", worth {effective:.0f} independent ones" if effective < 0.95 * share.n else ""
    said = (
        f"{noun} is {share.value:.1%} on {share.n:.0f} examples{worth}; with {sure(floor.confidence)} confidence "
        f"it is at least {bound:.1%}, {'and' if holds else 'but'} {floor.at_least:.1%} is asked"
    )
    perfect = clopper_pearson(1.0, effective, 1 - floor.confidence)[0]
    if not holds and perfect < floor.at_least:
        said += f" (even without a mistake so few could show no more than {perfect:.1%}: a larger test set is needed)"
    return said


def _ceiling(name: str, ceiling: Ceiling, standing: Standing) -> Check:
    perturbation, of_label, label = name.partition("/")
    row = next((one for one in standing.measured.stress if one["name"] == perturbation), None)
    facts: Any = row and (row.get("labels", {}).get(label, {}).get("broken") if of_label else row.get("flips"))
    check = {"what": f"flips/{name}", "at_most": ceiling.at_most, "confidence": ceiling.confidence}
    if not facts or not facts["n"]:
        why = "no text that counts was changed" if row else "it was not done to these fits (loratory run does it)"
        said = f"flips under {name} cannot be measured: {why}"
        return {**check, "value": None, "bound": None, "n": 0, "holds": False, "says": said}
    share = kept(facts)
    bound = share.upper(ceiling.confidence)
    holds = bound <= ceiling.at_most
    whose = f"right answers {label} turn wrong" if of_label else "answers change"
    said = (
        f"under {perturbation} {share.value:.1%} of {share.n:.0f} {whose}; with {sure(ceiling.confidence)} confidence "
        f"it is at most {bound:.1%}, {'and' if holds else 'but'} {ceiling.at_most:.1%} is asked"
    )
    return {**check, "value": share.value, "bound": bound, "n": int(share.n), "holds": holds, "says": said}


def _not_worse(field: Contest, standing: Standing, name: str, margin: float) -> Check:
    confidence, other = field.evidence.confidence, field.find(name)
    check = {
        "what": f"not_worse_than/{name}",
        "at_least": -margin,
        "confidence": confidence,
        "n": len(field.resampling.groups),
    }
    if other is None:
        said = f"{name} was not fitted, so nothing was compared"
        return {**check, "value": None, "bound": None, "holds": False, "says": said}
    if other is standing:
        return {**check, "value": 0.0, "bound": 0.0, "holds": True, "says": f"this is {name} itself"}
    one = pair(field, standing, other)
    bound = one.interval(2 * confidence - 1)[0]  # a two-sided interval at 2c - 1 ends at the one-sided bound at c
    holds = bound >= -margin
    said = (
        f"{field.task.headline} is {100 * one.difference:+.1f} points against {name}; with {sure(confidence)} "
        f"confidence at least {100 * bound:+.1f}, {'and' if holds else 'but'} {-100 * margin or 0.0:+.1f} is asked"
    )
    return {**check, "value": one.difference, "bound": bound, "holds": holds, "says": said}
