"""What weakens the evidence, said beside the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from loratory.evaluation.statistics.comparison_set import ComparisonSet
from loratory.evaluation.statistics.intervals import MIN_CASE_GROUPS, find_ratios, split_sparse_ratios
from loratory.evaluation.table_cells import join_names
from loratory.evaluation.verdict.headlines import VerdictInputs
from loratory.protocols import JSON, Decomposable, Labelled, Spanned

MIN_EFFECTIVE_GROUPS = 40  # effective groups (Kish) below which the evidence rests on little
MIN_LABEL_EXAMPLES = 20  # test examples of a label below which its recall is hardly known


def collect_run_warnings(inputs: VerdictInputs, gate: Mapping[str, Any] | None, facts: Mapping[str, JSON]) -> list[str]:
    """Sentences, the gravest first; `gate` is the verdict's, `facts` are those of ladder.build."""
    choice = inputs.selection
    found = [] if gate is None or gate["holders"] else ["No contender passes the gate."]
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


def _warn_of_leaks(inputs: VerdictInputs, facts: Mapping[str, JSON]) -> list[str]:
    """What the recommended contender has on the test examples that are not known from train or validation."""
    leaks = facts.get("leaks")
    if not leaks:
        return []
    score, many = inputs.selection.comparison_set.task.headline, leaks["leaked"]
    said = (
        f"{many:,} of {leaks['examples']:,} test examples ({many / leaks['examples']:.1%}) are duplicates or "
        "near-duplicates of examples in train or validation, so the scores are too high."
    )
    without = leaks["without"].get(inputs.name)
    if without is None:
        return [f"{said} Without them no test example is left."]
    return [
        f"{said} Without them {inputs.name} has {score} {100 * without['value']:.1f} [{100 * without['low']:.1f}, "
        f"{100 * without['high']:.1f}] on {leaks['examples'] - many:,} examples, not {100 * without['with']:.1f}."
    ]


def _warn_of_better_on_test(inputs: VerdictInputs) -> list[str]:
    """A contender that is better on test than the best on validation: the choice by validation went astray."""
    better = inputs.better_on_test
    if not better:
        return []
    return [
        f"On test {join_names(better, 'and')} did better than {inputs.best.name}, by more than chance, but on "
        "validation "
        f"{inputs.best.name} was the best, and the verdict goes by that: the validation set may be too small, or "
        "unlike the test set."
    ]


def _warn_of_test_reads(facts: Mapping[str, JSON]) -> list[str]:
    """How often rows of this test set were looked at, in whatever split, folder or command."""
    reads, overlap = facts.get("test_reads"), facts.get("test_overlap")
    if not isinstance(reads, int) or reads < 2:
        return []
    share = f" (an earlier reading had at most {overlap['largest']:.0%} of them)" if overlap else ""
    return [
        f"Examples of this test set were read {reads} times, this run included{share}. Changes that were made after an "
        "earlier reading may fit the test set by chance; the confidence intervals do not account for that."
    ]


def _repeat_quality_warnings(facts: Mapping[str, JSON]) -> list[str]:
    """What `loratory check` warns of, less the leaks that stand above with their figure."""
    said_above = ("leak/train/test", "leak/validation/test") if facts.get("leaks") else ()
    return [
        f"Data: {one['what']} (to mend it: {one['do']})."
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
        + ": its confidence intervals are wider for that, and it can show only large differences."
    ]


def _warn_of_rare_labels(comparison_set: ComparisonSet) -> list[str]:
    support = _count_label_support(comparison_set)
    rare = [f"{label} ({n})" for label, n in support.items() if n < MIN_LABEL_EXAMPLES]
    if not rare:
        return []
    some = ", ".join(rare[:6]) + (f" and {len(rare) - 6} more" if len(rare) > 6 else "")
    said = f"Labels with fewer than {MIN_LABEL_EXAMPLES} test examples, so that their scores are uncertain: {some}."
    return [said, *_warn_of_sparse_labels(comparison_set)]


def _count_label_support(comparison_set: ComparisonSet) -> dict[str, int]:
    """How many test examples, or spans, each label has."""
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
    """Where the headline is a mean over labels: those of which too little is known for it to be measured."""
    task, marks = comparison_set.task, comparison_set.ranks[0].test.counts
    parts = find_ratios(task, task.headline, [marks])
    few, none = (
        len(split_sparse_ratios(parts, marks, comparison_set.resampling, least)[1]) for least in (MIN_CASE_GROUPS, 1)
    )
    said = []
    if few:
        said.append(
            f"{few} of the {len(parts)} labels have fewer than {MIN_CASE_GROUPS} test examples: in the interval of "
            f"{task.headline} each counts as anything from its own score up to 1."
        )
    if none:
        said.append(
            f"{none} of the {len(parts)} labels have no test example at all: they count as 0 in {task.headline}, and "
            f"comparisons allow for {100 * none / len(parts):.1f} points of difference that nobody has seen."
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
        f"Scores differ much between seeds: {join_names(wide, 'and')}. Each comparison uses one fit of a contender; "
        "with another seed it might end differently."
    ]
