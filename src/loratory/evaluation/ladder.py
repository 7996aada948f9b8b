"""The ladder: every contender with its evidence, the comparisons and the verdict, as one JSON-able dict."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from loratory.evaluation.contender_metrics import compute_metrics
from loratory.evaluation.contender_result import UNFITTED_STATUSES, ContenderResult
from loratory.evaluation.gate import evaluate_all_gates
from loratory.evaluation.ladder_table import LadderTable
from loratory.evaluation.leakage import measure_without_leaks
from loratory.evaluation.model_selection import select_contender
from loratory.evaluation.statistics.comparison_set import ComparisonSet, Rank, build_comparison_set
from loratory.evaluation.statistics.comparisons import compare_contenders
from loratory.evaluation.verdict.decision import decide_verdict, make_empty_verdict
from loratory.protocols import JSON, Task
from loratory.specs.evidence import EvidenceSpec, GateSpec

LADDER_FORMAT = 1
SEPARATE_FACTS = ("name", "split", "budget", "leaked_test")  # facts that stand elsewhere in a run


def build_ladder(
    task: Task,
    results: Sequence[ContenderResult],
    evidence: EvidenceSpec,
    gate: GateSpec | None,
    facts: Mapping[str, JSON],
) -> dict[str, Any]:
    """The whole evidence of a run, contenders in the order given: simplest first.

    facts: name; split and budget (mappings, copied as they are); test_reads, how often test examples were read, this
    time included; leaked_test, origins of test examples that are known from train or validation; quality_warnings;
    anything else is kept under "facts". Raises ValueError where the contenders' test sets differ.
    """
    field = build_comparison_set(task, results, evidence) if any(one.fits for one in results) else None
    comparisons = compare_contenders(field) if field else []
    choice = select_contender(field) if field else None
    failed = [one.name for one in results if not one.fits]
    gates = evaluate_all_gates(gate, choice.comparison_set, choice.recommended) if choice and gate else {}
    facts = {**facts, "leaks": measure_without_leaks(task, results, evidence, facts.get("leaked_test") or ())}
    ladder = {
        "format": LADDER_FORMAT,
        "name": facts.get("name", ""),
        "task": task.kind,
        "headline": task.headline,
        "split": dict(facts.get("split", {})),
        "budget": dict(facts.get("budget", {})),
        "evidence": evidence.model_dump(),
        "facts": {key: value for key, value in facts.items() if key not in SEPARATE_FACTS},
        "test": {"examples": len(field.resampling.groups), "groups": field.resampling.group_count} if field else None,
        "contenders": [
            _build_contender_row(field, one, gates.get(one.name)) | _describe_start(one, results) for one in results
        ],
        "comparisons": comparisons,
        "verdict": {
            **(decide_verdict(choice, comparisons, gates, facts) if choice else make_empty_verdict(evidence)),
            "failed": failed,
        },
    }
    # through JSON once: tuples become lists now, and NaN is refused here rather than in the user's file
    return dict(json.loads(json.dumps(ladder, allow_nan=False)))


def _build_contender_row(
    comparison_set: ComparisonSet | None, result: ContenderResult, gate: Mapping[str, Any] | None
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": result.name,
        "regime": result.regime,
        "base": result.base,
        "adapts": result.is_fine_tuned,
    }
    standing = comparison_set.find_rank(result.name) if comparison_set else None
    if comparison_set is None or standing is None:
        status = "pruned" if result.is_pruned else "failed"
        return {**row, "seeds": [], "status": status, "failure": result.failure or "it was not fitted"}
    return {
        **row,
        "seeds": [fit.seed for fit in result.fits],
        "shipped_seed": result.shipped_seed,
        "status": "fitted",
        "validation": standing.validation,
        "metrics": compute_metrics(comparison_set, standing),
        **_collect_cost(result),
        **result.extra_columns,
        "gate": gate,
        "trials": list(result.trials),
        "facts": _select_fit_facts(standing),
        **({"stress": list(result.stress_rows)} if result.stress_rows else {}),
    }


def _describe_start(result: ContenderResult, results: Sequence[ContenderResult]) -> dict[str, Any]:
    """The contender that one goes on from, and the seconds that the fits before it took: they are not among its own.

    Of each the fit that ships is counted; none where one of them has no fit.
    """
    if result.start is None:
        return {}
    known = {one.name: one for one in results}
    before = []
    name: str | None = result.start
    while name is not None:
        before.append(known[name])
        name = known[name].start
    seconds = sum(one.shipped_fit.train_seconds for one in before) if all(one.fits for one in before) else None
    return {"start": result.start, "start_seconds": seconds}


def _collect_cost(result: ContenderResult) -> dict[str, Any]:
    return {
        "train_seconds": result.shipped_fit.train_seconds,
        "train_seconds_all": sum(fit.train_seconds for fit in result.fits),
        "latency_ms": dict(result.latency_ms),
        "parameters": {"trained": result.size.trained, "total": result.size.total},
        "size_bytes": result.disk_bytes,
    }


def _select_fit_facts(rank: Rank) -> dict[str, JSON]:
    """The shipped fit's facts, without its history, which the report draws."""
    return {key: value for key, value in rank.result.shipped_fit.facts.items() if key != "history"}


def format_ladder_lines(ladder: Mapping[str, Any]) -> list[str]:
    """The verdict in words: headline, reasons, the gate, warnings."""
    verdict = ladder["verdict"]
    said = [verdict["headline"], *verdict["reason"]]
    if verdict["gate"]:
        said.append(f"{verdict['recommended']} {'passes' if verdict['gate']['holds'] else 'fails'} the gate.")
        said += [f"{'passed' if check['holds'] else 'failed'}: {check['says']}." for check in verdict["gate"]["checks"]]
    said += [
        f"{one['name']} writes valid JSON {one['json_valid']:.1%} of the time; of {one['unconstrained_texts']} texts "
        f"answered with nothing to hold it to its contract, {one['json_valid_unconstrained']:.1%}."
        for one in ladder["contenders"]
        if one.get("unconstrained_texts")
    ]
    said += [line for one in ladder["contenders"] if one.get("operating") for line in format_operating_lines(one)]
    said += [
        f"Under stress {one['name']} changes most answers where {one['stress'][0]['name']} is done to the texts: "
        f"{100 * one['stress'][0]['flips']['value']:.1f} % of them."
        for one in ladder["contenders"]
        if one["name"] == verdict["recommended"] and one.get("stress") and one["stress"][0].get("flips")
    ]
    said += [
        f"{one['name']} starts from {one['start']}: the {one['start_seconds']:.1f} s of fitting that one are not among "
        "its own seconds."
        for one in ladder["contenders"]
        if one.get("start_seconds") is not None
    ]
    said += [
        f"{one['name']} {UNFITTED_STATUSES[one['status']]}: {one['failure']}"
        for one in ladder["contenders"]
        if one["status"] in UNFITTED_STATUSES
    ]
    return said + [f"Warning: {warning}" for warning in verdict["warnings"]]


def format_operating_lines(one: Mapping[str, Any]) -> list[str]:
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
        _describe_threshold(one["name"], label, point, worth.get("served", {}).get(label))
        for label, point in made.get("thresholds", {}).items()
    ]
    if "abstained" in worth:
        said.append(
            f"{one['name']} abstains from {worth['abstained']:.1%} of the test texts, {_describe_abstention(made)}."
        )
    said += [
        f"{one['name']} against {name}: AUROC {found['auroc']:.3f}, FPR@95TPR {found['fpr_at_95_tpr']:.3f}, "
        f"abstains from {found['recall']:.1%} of {found['n']}."
        for name, found in worth["out_of_scope"].items()
    ]
    return said


def _describe_threshold(name: str, label: str, threshold: Mapping[str, Any], test: Mapping[str, Any] | None) -> str:
    """What a label's threshold has to hold of the answers as they are served, what is proven, and what test shows."""
    of_recall = "recall" in threshold
    what = (
        f"recall of at least {threshold['recall']:.1%}"
        if of_recall
        else f"false positives of at most {threshold['false_positives']:.1%}"
    )
    bound = f"{threshold['bound']:.1%} or more" if of_recall else f"{1 - threshold['bound']:.1%} or less"
    why = f": {threshold['reason']}" if threshold.get("reason") else ""
    shown = (
        f"proven on {threshold['n']} calibration texts ({bound})"
        if threshold["proven"]
        else f"NOT proven on {threshold['n']} calibration texts ({bound}){why}"
    )
    said = f"{name} answers {label} from {threshold['at']:.3f} on; {what} of the answers as served: {shown}."
    if test is None or not test["n"]:
        return said
    return f"{said} On {test['n']} test texts: {test['value']:.1%} [{test['low']:.1%}, {test['high']:.1%}]."


def _describe_abstention(point: Mapping[str, Any]) -> str:
    """By what a point abstains."""
    if "abstain" not in point:
        return "which reach no label's threshold"
    by, asked = point["abstain"]["score"], point["abstain"].get("asked", point["abstain"]["score"])
    return f"by {by}" + ("" if by == asked else f", because it knows no {asked}")


def make_ladder_table(ladder: Mapping[str, Any]) -> LadderTable:
    """The ladder for a terminal, printed by rich."""
    return LadderTable(ladder)
