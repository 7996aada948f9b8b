"""Warnings of the verdict: what makes its evidence weaker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from loratory.evaluation.statistics.comparison_set import ComparisonSet
from loratory.evaluation.statistics.intervals import MIN_CASE_GROUPS, find_ratios, split_sparse_ratios
from loratory.evaluation.table_cells import join_names, join_names_with_verb
from loratory.evaluation.verdict.headlines import VerdictInputs
from loratory.protocols import JSON, Decomposable, Labelled, Spanned

MIN_EFFECTIVE_GROUPS = 40  # effective groups (Kish); fewer give a warning
MIN_LABEL_EXAMPLES = 20  # test examples of a label; fewer give a warning


def collect_run_warnings(inputs: VerdictInputs, gate: Mapping[str, Any] | None, facts: Mapping[str, JSON]) -> list[str]:
    """Sentences, the most serious first. `gate` is the verdict's; `facts` are those of build_ladder."""
    choice = inputs.selection
    found = _warn_of_gate(inputs, gate)
    found += _warn_of_leaks(inputs, facts)
    found += _warn_of_better_on_test(inputs)
    found += _warn_of_test_reads(facts)
    return (
        found
        + _warn_of_few_groups(choice.comparison_set)
        + _warn_of_rare_labels(choice.comparison_set)
        + _warn_of_seed_spread(choice.comparison_set)
        + _repeat_quality_warnings(facts)
    )


def _warn_of_gate(inputs: VerdictInputs, gate: Mapping[str, Any] | None) -> list[str]:
    """That the recommended contender fails the gate, and which contender passes it."""
    if gate is None or gate["holds"]:
        return []
    if not gate["holders"]:
        return ["No contender passes the gate."]
    return [f"{inputs.name} fails the gate. {gate['holders'][0]} is the simplest contender that passes it."]


def _warn_of_leaks(inputs: VerdictInputs, facts: Mapping[str, JSON]) -> list[str]:
    """The score of the recommended contender without test examples that also stand in train or validation."""
    leaks = facts.get("leaks")
    if not leaks:
        return []
    score, many = inputs.selection.comparison_set.task.headline, leaks["leaked"]
    said = (
        f"{many:,} of {leaks['examples']:,} test examples ({many / leaks['examples']:.1%}) are duplicates or "
        "near-duplicates of training or validation examples, so the scores are too high."
    )
    without = leaks["without"].get(inputs.name)
    if without is None:
        return [f"{said} Without them the test set is empty."]
    return [
        f"{said} Without them, the {score} of {inputs.name} is {100 * without['value']:.1f} "
        f"[{100 * without['low']:.1f}, {100 * without['high']:.1f}] on {leaks['examples'] - many:,} examples, "
        f"not {100 * without['with']:.1f}."
    ]


def _warn_of_better_on_test(inputs: VerdictInputs) -> list[str]:
    """Contenders that are better on test than the best on validation."""
    better = inputs.better_on_test
    if not better:
        return []
    return [
        f"On the test set, {join_names_with_verb(better)} better than {inputs.best.name}, by more than chance. The "
        f"verdict uses the validation set, where {inputs.best.name} is the best. The validation set may be too small, "
        "or different from the test set."
    ]


def _warn_of_test_reads(facts: Mapping[str, JSON]) -> list[str]:
    """How often examples of this test set were read, over all splits, folders and commands."""
    reads, overlap = facts.get("test_reads"), facts.get("test_overlap")
    if not isinstance(reads, int) or reads < 2:
        return []
    share = f" (at most {overlap['largest']:.0%} of its examples at a time)" if overlap else ""
    return [
        f"Examples of this test set were read {reads} times{share}, this run included. A change that was made after "
        "an earlier reading may fit the test set by chance. The confidence intervals do not include this effect."
    ]


def _repeat_quality_warnings(facts: Mapping[str, JSON]) -> list[str]:
    """The warnings of `loratory check`, without the leaks that are already given with their score."""
    said_above = ("leak/train/test", "leak/validation/test") if facts.get("leaks") else ()
    return [
        f"Data: {one['what']}. To fix it: {one['do']}."
        for one in facts.get("quality_warnings") or ()
        if one["kind"] not in said_above
    ]


def _warn_of_few_groups(comparison_set: ComparisonSet) -> list[str]:
    drawn = comparison_set.resampling
    if drawn.effective_groups >= MIN_EFFECTIVE_GROUPS:
        return []
    largest = int(np.bincount(drawn.groups).max())
    skewed = f" (the largest of its {drawn.group_count} groups has {largest} of {len(drawn.groups)} examples)"
    return [
        f"The test set has only {drawn.effective_groups:.0f} independent groups"
        + (skewed if drawn.effective_groups < 0.9 * drawn.group_count else "")
        + ". The confidence intervals are wider for this reason, and only large differences can be detected."
    ]


def _warn_of_rare_labels(comparison_set: ComparisonSet) -> list[str]:
    support = _count_label_support(comparison_set)
    rare = [f"{label} ({n})" for label, n in support.items() if n < MIN_LABEL_EXAMPLES]
    if not rare:
        return []
    some = ", ".join(rare[:6]) + (f" and {len(rare) - 6} more" if len(rare) > 6 else "")
    said = f"Labels with fewer than {MIN_LABEL_EXAMPLES} test examples, so their scores are uncertain: {some}."
    return [said, *_warn_of_sparse_labels(comparison_set)]


def _count_label_support(comparison_set: ComparisonSet) -> dict[str, int]:
    """The number of test examples, or spans, of each label."""
    task, totals = comparison_set.task, comparison_set.ranks[0].test.sum_counts()
    if isinstance(task, Labelled):
        return {label: int(totals.get(f"support/{label}", 0)) for label in task.labels or ()}
    if not (isinstance(task, Spanned) and isinstance(task, Decomposable)):
        return {}
    cases = {label: task.ratios(f"f1/{label}") for label in task.span_labels}
    return {
        label: int(sum(weight * totals.get(kind, 0) for kind, weight in ratios[0].cases.items()))
        for label, ratios in cases.items()
        if ratios
    }


def _warn_of_sparse_labels(comparison_set: ComparisonSet) -> list[str]:
    """Where the headline score is a mean over labels: the labels with too few test examples."""
    task, marks = comparison_set.task, comparison_set.ranks[0].test.counts
    parts = find_ratios(task, task.headline, [marks])
    few, none = (
        len(split_sparse_ratios(parts, marks, comparison_set.resampling, least)[1]) for least in (MIN_CASE_GROUPS, 1)
    )
    said = []
    if few:
        said.append(
            f"{few} of the {len(parts)} labels have fewer than {MIN_CASE_GROUPS} test examples. In the interval of "
            f"{task.headline}, each of them counts as any score from its own up to 100%."
        )
    if none:
        said.append(
            f"{none} of the {len(parts)} labels have no test example. They count as 0 in {task.headline}, and "
            f"comparisons add {100 * none / len(parts):.1f} points of difference that could not be measured."
        )
    return said


def _warn_of_seed_spread(comparison_set: ComparisonSet) -> list[str]:
    wide = []
    for standing in comparison_set.ranks:
        values = [scores[comparison_set.task.headline] for scores in standing.scores.values()]
        if (spread := max(values) - min(values)) > max(2 * comparison_set.evidence.margin, 0.01):
            wide.append(f"{standing.name} ({100 * spread:.1f} points)")
    if not wide:
        return []
    return [
        f"Scores differ widely between seeds: {join_names(wide, 'and')}. Comparisons use the fit that ships. With "
        "another seed they could be different."
    ]
