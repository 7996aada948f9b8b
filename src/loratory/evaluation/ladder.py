"""The ladder: every contender with its evidence, the comparisons and the verdict, as one JSON-able dict."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from loratory.evaluation.board import Board
from loratory.evaluation.choice import choose
from loratory.evaluation.comparisons import compare
from loratory.evaluation.contest import Contest, Standing, contest
from loratory.evaluation.gate import hold_all
from loratory.evaluation.leaks import measure_without
from loratory.evaluation.measured import Measured
from loratory.evaluation.metrics import metrics
from loratory.evaluation.verdict import decide, undecided
from loratory.protocols import JSON, Task
from loratory.specs.evidence import EvidenceSpec, GateSpec

FORMAT = 1
ELSEWHERE = ("name", "split", "budget", "leaked_test")  # facts that stand elsewhere in a run


def build(
    task: Task, measured: Sequence[Measured], evidence: EvidenceSpec, gate: GateSpec | None, facts: Mapping[str, JSON]
) -> dict[str, Any]:
    """The whole evidence of a run, contenders in the order given: simplest first.

    facts: name; split and budget (mappings, copied as they are); test_reads, how often test examples were read, this
    time included; leaked_test, origins of test examples that are known from train or validation; quality_warnings;
    anything else is kept under "facts". Raises ValueError where the contenders' test sets differ.
    """
    field = contest(task, measured, evidence) if any(one.fits for one in measured) else None
    comparisons = compare(field) if field else []
    choice = choose(field) if field else None
    failed = [one.name for one in measured if not one.fits]
    gates = hold_all(gate, choice.field, choice.recommended) if choice and gate else {}
    facts = {**facts, "leaks": measure_without(task, measured, evidence, facts.get("leaked_test") or ())}
    ladder = {
        "format": FORMAT,
        "name": facts.get("name", ""),
        "task": task.kind,
        "headline": task.headline,
        "split": dict(facts.get("split", {})),
        "budget": dict(facts.get("budget", {})),
        "evidence": evidence.model_dump(),
        "facts": {key: value for key, value in facts.items() if key not in ELSEWHERE},
        "test": {"examples": len(field.resampling.groups), "groups": field.resampling.count} if field else None,
        "contenders": [_contender(field, one, gates.get(one.name)) for one in measured],
        "comparisons": comparisons,
        "verdict": {**(decide(choice, comparisons, gates, facts) if choice else undecided(evidence)), "failed": failed},
    }
    # through JSON once: tuples become lists now, and NaN is refused here rather than in the user's file
    return dict(json.loads(json.dumps(ladder, allow_nan=False)))


def _contender(field: Contest | None, measured: Measured, gate: Mapping[str, Any] | None) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": measured.name,
        "regime": measured.regime,
        "base": measured.base,
        "adapts": measured.adapts,
    }
    standing = field.find(measured.name) if field else None
    if field is None or standing is None:
        return {**row, "seeds": [], "status": "failed", "failure": measured.failure or "it was not fitted"}
    return {
        **row,
        "seeds": [fit.seed for fit in measured.fits],
        "shipped_seed": measured.shipped,
        "status": "fitted",
        "validation": standing.validation,
        "metrics": metrics(field, standing),
        **_cost(measured),
        **measured.beside,
        "gate": gate,
        "trials": list(measured.trials),
        "facts": _facts(standing),
        **({"stress": list(measured.stress)} if measured.stress else {}),
    }


def _cost(measured: Measured) -> dict[str, Any]:
    return {
        "train_seconds": measured.ship.train_seconds,
        "train_seconds_all": sum(fit.train_seconds for fit in measured.fits),
        "latency_ms": dict(measured.latency_ms),
        "parameters": {"trained": measured.size.trained, "total": measured.size.total},
        "size_bytes": measured.disk_bytes,
    }


def _facts(standing: Standing) -> dict[str, JSON]:
    """The shipped fit's facts, without its history, which the report draws."""
    return {key: value for key, value in standing.measured.ship.facts.items() if key != "history"}


def lines(ladder: Mapping[str, Any]) -> list[str]:
    """The verdict in words: headline, reasons, the gate, warnings."""
    verdict = ladder["verdict"]
    said = [verdict["headline"], *verdict["reason"]]
    if verdict["gate"]:
        holds = "holds" if verdict["gate"]["holds"] else "does not hold"
        said.append(f"The gate {holds} for {verdict['recommended']}.")
        said += [f"{'holds' if check['holds'] else 'fails'}: {check['says']}." for check in verdict["gate"]["checks"]]
    said += [
        f"{one['name']} writes valid JSON {one['json_valid']:.1%} of the time; of {one['unheld_texts']} texts answered "
        f"with nothing to hold it to its contract, {one['json_valid_unheld']:.1%}."
        for one in ladder["contenders"]
        if one.get("unheld_texts")
    ]
    said += [line for one in ladder["contenders"] if one.get("operating") for line in operating_lines(one)]
    said += [
        f"Under stress {one['name']} changes most answers where {one['stress'][0]['name']} is done to the texts: "
        f"{100 * one['stress'][0]['flips']['value']:.1f} % of them."
        for one in ladder["contenders"]
        if one["name"] == verdict["recommended"] and one.get("stress") and one["stress"][0].get("flips")
    ]
    said += [
        f"{one['name']} could not be fitted: {one['failure']}"
        for one in ladder["contenders"]
        if one["status"] == "failed"
    ]
    return said + [f"Warning: {warning}" for warning in verdict["warnings"]]


def operating_lines(one: Mapping[str, Any]) -> list[str]:
    """What an operating point holds and changes, in words."""
    worth, made = one["operating"], one["facts"].get("operating", {})
    before, after, said = worth["before"], worth["after"], []
    if "ece" in before and "ece" in after:
        said.append(
            f"{one['name']} at temperature {made.get('temperature', 1.0):.2f}: log-loss {before['log_loss']:.3f} "
            f"before, {after['log_loss']:.3f} after; calibration error {before['ece']:.3f} before, {after['ece']:.3f} "
            f"after ({after['ece_by_chance']:.3f} by chance)."
        )
    said += [
        _held(one["name"], label, point, worth.get("served", {}).get(label))
        for label, point in made.get("thresholds", {}).items()
    ]
    if "abstained" in worth:
        said.append(f"{one['name']} abstains from {worth['abstained']:.1%} of the test texts, {_by(made)}.")
    said += [
        f"{one['name']} against {name}: AUROC {found['auroc']:.3f}, FPR@95TPR {found['fpr_at_95_tpr']:.3f}, "
        f"abstains from {found['recall']:.1%} of {found['n']}."
        for name, found in worth["out_of_scope"].items()
    ]
    return said


def _held(name: str, label: str, point: Mapping[str, Any], test: Mapping[str, Any] | None) -> str:
    """What a label's threshold has to hold of the answers as they are served, what is proven, and what test shows."""
    of_recall = "recall" in point
    what = (
        f"recall of at least {point['recall']:.1%}"
        if of_recall
        else f"false positives of at most {point['false_positives']:.1%}"
    )
    bound = f"{point['bound']:.1%} or more" if of_recall else f"{1 - point['bound']:.1%} or less"
    why = f": {point['why']}" if point.get("why") else ""
    shown = (
        f"proven on {point['n']} calibration texts ({bound})"
        if point["proven"]
        else f"NOT proven on {point['n']} calibration texts ({bound}){why}"
    )
    said = f"{name} answers {label} from {point['at']:.3f} on; {what} of the answers as served: {shown}."
    if test is None or not test["n"]:
        return said
    return f"{said} On {test['n']} test texts: {test['value']:.1%} [{test['low']:.1%}, {test['high']:.1%}]."


def _by(made: Mapping[str, Any]) -> str:
    """By what a point abstains."""
    if "abstain" not in made:
        return "which reach no label's threshold"
    by, asked = made["abstain"]["score"], made["abstain"].get("asked", made["abstain"]["score"])
    return f"by {by}" + ("" if by == asked else f", because it knows no {asked}")


def table(ladder: Mapping[str, Any]) -> Board:
    """The ladder for a terminal, printed by rich."""
    return Board(ladder)
