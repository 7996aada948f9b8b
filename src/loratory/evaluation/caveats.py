"""What weakens the evidence, said beside the verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from loratory.evaluation.bootstrap import column
from loratory.evaluation.cells import listed
from loratory.evaluation.choice import Choice
from loratory.evaluation.contest import Contest
from loratory.protocols import JSON, Labelled

FEW_GROUPS = 40  # groups below which a percentile bootstrap is known to fall short
FEW = 20  # test examples of a label below which its recall is hardly known


def caveats(
    choice: Choice, comparisons: Sequence[Mapping[str, Any]], gate: Mapping[str, Any] | None, facts: Mapping[str, JSON]
) -> list[str]:
    """Sentences, the gravest first; `gate` is the verdict's."""
    found = [] if gate is None or gate["holders"] else ["No contender holds the gate."]
    found += _overtaken(choice, comparisons)
    reads = facts.get("test_reads")
    if isinstance(reads, int) and reads > 1:
        found.append(
            f"The test set was read {reads} times, this one included. Whatever was changed after an "
            "earlier look may fit the test set by chance; the intervals do not allow for that."
        )
    return found + _groups(choice.field) + _few(choice.field) + _spread(choice.field)


def _overtaken(choice: Choice, comparisons: Sequence[Mapping[str, Any]]) -> list[str]:
    """A later contender that is better on test than the best on validation: the choice by validation went astray."""
    top = choice.top.name
    better = [row["contender"] for row in comparisons if row["against"] == top and row["decision"] == "better"]
    if not better:
        return []
    return [
        f"On test {listed(better, 'and')} did better than {top}, by more than chance, but on validation {top} was the "
        "best, and the verdict goes by that: the validation set may be too small, or unlike the test set."
    ]


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
