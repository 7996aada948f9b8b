"""Whether the fit that ships holds what the spec's gate demands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from loratory.errors import SpecError, nearest
from loratory.evaluation.bootstrap import Integers, column, group_index
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


def hold_all(gate: GateSpec, field: Contest, recommended: Standing) -> dict[str, dict[str, Any]]:
    """Contender -> {holds, together, checks}, so that alpha bounds the chance that any of them passes wrongly.

    Holm (1979), step by step: with m contenders tested together each is tested at alpha / m; those that hold are
    taken out, and the others are tested again at alpha over their number. Tested are the recommended contender and
    those that validation does not rule out; a contender that is ruled out fails without a test.
    """
    ruled_out = {one.name: _rule_out(gate, field, one) for one in field.standings if one is not recommended}
    waiting = [one for one in field.standings if not ruled_out.get(one.name)]
    found: dict[str, dict[str, Any]] = {}
    while waiting:
        tried = {one.name: hold(gate, field, one, len(waiting)) for one in waiting}
        found |= tried
        left = [one for one in waiting if not tried[one.name]["holds"]]
        if len(left) == len(waiting):
            break
        waiting = left
    for standing in field.standings:
        if standing.name not in found:
            made = hold(gate, field, standing, 1)
            found[standing.name] = {**made, "holds": False, "checks": [*ruled_out[standing.name], *made["checks"]]}
    return {standing.name: found[standing.name] for standing in field.standings}


def hold(gate: GateSpec, field: Contest, standing: Standing, together: int) -> dict[str, Any]:
    """Every check of the gate on a contender's shipped fit, as one of so many that are tested together."""
    marks, groups = standing.test.marks, field.resampling.groups
    checks = [_floor(*one, together) for one in _shares(gate, marks, groups)]
    checks += [_not_worse(field, standing, other, margin, together) for other, margin in gate.not_worse_than.items()]
    checks += [_ceiling(name, ceiling, standing, together) for name, ceiling in gate.flips.items()]
    return {"holds": all(check["holds"] for check in checks), "together": together, "checks": checks}


def _shares(
    gate: GateSpec, marks: Sequence[Mapping[str, float]], groups: Integers
) -> list[tuple[str, Floor, Proportion]]:
    """What has a floor: its name, the floor, and the share that is measured."""
    found = []
    if gate.accuracy is not None:
        found.append(("accuracy", gate.accuracy, proportion(column(marks, "reward"), column(marks, "n"), groups)))
    for label, floor in gate.recall.items():
        right, there = column(marks, f"tp/{label}"), column(marks, f"support/{label}")
        found.append((f"recall/{label}", floor, proportion(right, there, groups)))
    for label, floor in gate.precision.items():
        right, wrong = column(marks, f"tp/{label}"), column(marks, f"fp/{label}")
        found.append((f"precision/{label}", floor, proportion(right, right + wrong, groups)))
    return found


def _rule_out(gate: GateSpec, field: Contest, standing: Standing) -> list[Check]:
    """Checks that a contender is shown to miss on validation already; the test set is not asked."""
    outcome = standing.measured.ship.validation
    missed = []
    for what, floor, share in _shares(gate, outcome.marks, group_index(outcome.examples)):
        if share.n and (most := share.upper(floor.confidence)) < floor.at_least:
            said = (
                f"it was not tested: on validation {what.replace('/', ' of ')} is {share.value:.1%}, and with "
                f"{sure(floor.confidence)} confidence at most {most:.1%}, but {floor.at_least:.1%} is asked"
            )
            missed.append({"what": f"validation/{what}", "value": share.value, "holds": False, "says": said})
    return missed


def adjust_confidence(confidence: float, together: int) -> float:
    """The confidence of each of so many that leaves all together the one asked for (Bonferroni)."""
    return 1 - (1 - confidence) / together


def _with_confidence(confidence: float, together: int) -> str:
    """`with 95% confidence`, and for how many at once."""
    return f"with {sure(confidence)} confidence" + (f" for {together} contenders together" if together > 1 else "")


def _floor(what: str, floor: Floor, share: Proportion, together: int) -> Check:
    bound = share.lower(adjust_confidence(floor.confidence, together))
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
    return {**check, "says": _says_floor(check, floor, share, together)}


def _says_floor(check: Check, floor: Floor, share: Proportion, together: int) -> str:
    noun, bound, holds = check["what"].replace("/", " of "), check["bound"], check["holds"]
    if not share.n:
        return f"{noun} cannot be measured: the test set holds no such case"
    confidence = adjust_confidence(floor.confidence, together)
    effective = share.effective(confidence)
    worth = f", worth {effective:.0f} independent ones" if effective < 0.95 * share.n else ""
    said = (
        f"{noun} is {share.value:.1%} on {share.n:.0f} examples{worth}; {_with_confidence(floor.confidence, together)} "
        f"it is at least {bound:.1%}, {'and' if holds else 'but'} {floor.at_least:.1%} is asked"
    )
    perfect = clopper_pearson(1.0, effective, 1 - confidence)[0]
    if not holds and perfect < floor.at_least:
        said += f" (even without a mistake so few could show no more than {perfect:.1%}: a larger test set is needed)"
    return said


def _ceiling(name: str, ceiling: Ceiling, standing: Standing, together: int) -> Check:
    perturbation, of_label, label = name.partition("/")
    row = next((one for one in standing.measured.stress if one["name"] == perturbation), None)
    facts: Any = row and (row.get("labels", {}).get(label, {}).get("broken") if of_label else row.get("flips"))
    check = {"what": f"flips/{name}", "at_most": ceiling.at_most, "confidence": ceiling.confidence}
    if not facts or not facts["n"]:
        why = "no text that counts was changed" if row else "it was not done to these fits (loratory run does it)"
        said = f"flips under {name} cannot be measured: {why}"
        return {**check, "value": None, "bound": None, "n": 0, "holds": False, "says": said}
    share = kept(facts)
    bound = share.upper(adjust_confidence(ceiling.confidence, together))
    holds = bound <= ceiling.at_most
    whose = f"right answers {label} turn wrong" if of_label else "answers change"
    said = (
        f"under {perturbation} {share.value:.1%} of {share.n:.0f} {whose}; "
        f"{_with_confidence(ceiling.confidence, together)} it is at most {bound:.1%}, {'and' if holds else 'but'} "
        f"{ceiling.at_most:.1%} is asked"
    )
    return {**check, "value": share.value, "bound": bound, "n": int(share.n), "holds": holds, "says": said}


def _not_worse(field: Contest, standing: Standing, name: str, margin: float, together: int) -> Check:
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
    # a two-sided interval at 2c - 1 ends at the one-sided bound at c
    bound = one.interval(2 * adjust_confidence(confidence, together) - 1)[0]
    holds = bound >= -margin
    said = (
        f"{field.task.headline} is {100 * one.difference:+.1f} points against {name}; "
        f"{_with_confidence(confidence, together)} at least {100 * bound:+.1f}, {'and' if holds else 'but'} "
        f"{-100 * margin or 0.0:+.1f} is asked"
    )
    return {**check, "value": one.difference, "bound": bound, "holds": holds, "says": said}
