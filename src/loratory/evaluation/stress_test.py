"""By how much answers change where texts change harmlessly: flips, and what became of the score."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from loratory.evaluation.statistics.bootstrap import Floats, Integers, draw_resamples, index_groups, resample_scores
from loratory.evaluation.statistics.comparisons import pair_counts
from loratory.evaluation.statistics.intervals import compute_share_interval
from loratory.evaluation.statistics.proportions import Proportion, estimate_proportion
from loratory.protocols import JSON, Answer, Labelled, ScoredPredictions, Task
from loratory.specs.evidence import EvidenceSpec

STRESS_FORMAT = 1


@dataclass(frozen=True)
class PerturbedOutcomes:
    """Answers to the same examples, before their texts were perturbed and after; row by row."""

    before: ScoredPredictions
    after: ScoredPredictions

    @property
    def groups(self) -> Integers:
        """int[N]: the group of each example."""
        return index_groups(self.before.examples)


def measure_perturbation(
    task: Task, outcomes: PerturbedOutcomes, evidence: EvidenceSpec, max_examples: int
) -> dict[str, JSON]:
    """What one perturbation does to one predictor; of labels and of spans alike the change of the headline score."""
    if not outcomes.before.examples:
        return {"score": None, "examples": []}
    found: dict[str, JSON] = {"score": measure_score_change(task, outcomes, evidence)}
    if isinstance(task, Labelled):
        found |= measure_flips(task, outcomes, evidence.confidence)
    return {**found, "examples": find_changed_examples(task, outcomes, max_examples)}


def measure_flips(task: Labelled, outcomes: PerturbedOutcomes, confidence: float) -> dict[str, JSON]:
    """Flips: the share of answers that change. Broken: of those that were right, the share that become wrong.

    The intervals are those of a proportion over groups of examples (see proportions.py): a bootstrap that has seen no
    flip would say that there is none.
    """
    expected = [task.label_of(example.answer) for example in outcomes.before.examples]
    said, now = (_extract_labels(task, outcome) for outcome in (outcomes.before, outcomes.after))
    flipped = np.array([a != b for a, b in zip(said, now, strict=True)], dtype=float)
    right = np.array([a == b for a, b in zip(said, expected, strict=True)], dtype=float)
    groups, whole = outcomes.groups, np.ones(len(expected))

    def facts(flipped: Floats, whole: Floats) -> dict[str, JSON]:
        return share_to_json(estimate_proportion(flipped, whole, groups), confidence)

    labels = {}
    for label in task.labels or ():
        its = np.array([one == label for one in expected], dtype=float)
        if its.any():
            labels[label] = {"flips": facts(flipped * its, its), "broken": facts(flipped * right * its, right * its)}
    return {"flips": facts(flipped, whole), "broken": facts(flipped * right, right), "labels": labels}


def share_to_json(found: Proportion, confidence: float) -> dict[str, JSON]:
    """A proportion with its interval, and all that it takes to make it again; without examples it has no value."""
    low, high = compute_share_interval(found, confidence) if found.n else (None, None)
    return {**asdict(found), "value": found.value if found.n else None, "low": low, "high": high}


def share_from_json(facts: Mapping[str, Any]) -> Proportion:
    """The proportion that `share` wrote."""
    held = {name: facts[name] for name in ("n", "groups", "minority", "design_effect")}
    return Proportion(value=facts["value"] or 0.0, **held)


def measure_score_change(task: Task, outcomes: PerturbedOutcomes, evidence: EvidenceSpec) -> dict[str, JSON]:
    """The headline score before and after, and its change with the interval of a difference of two contenders."""
    name = task.headline
    was, now = (float(task.summarise(outcome.sum_counts())[name]) for outcome in (outcomes.before, outcomes.after))
    resampling = draw_resamples(outcomes.groups, evidence.resamples, evidence.seed)
    before, after = (
        resample_scores(resampling, one.counts, task, [name])[name] for one in (outcomes.before, outcomes.after)
    )
    found = pair_counts(task, name, (outcomes.after.counts, outcomes.before.counts), after - before, resampling)
    low, high = found.interval(evidence.confidence)
    return {"name": name, "before": was, "after": now, "change": now - was, "low": low, "high": high}


def find_changed_examples(task: Any, outcomes: PerturbedOutcomes, max_examples: int) -> list[dict[str, JSON]]:
    """Answers that changed, those first that lost most; spans count as changed where the marks are others."""
    rows = []
    for number in range(len(outcomes.before.examples)):
        said, now = outcomes.before.predictions[number], outcomes.after.predictions[number]
        lost = outcomes.before.counts[number]["reward"] - outcomes.after.counts[number]["reward"]
        same = (
            _get_label(task, said.answer) == _get_label(task, now.answer) if isinstance(task, Labelled) else lost == 0
        )
        if not same:
            rows.append((lost, number))
    worst = sorted(rows, key=lambda row: (-row[0], row[1]))[:max_examples]
    return [_build_example(task, outcomes, number) for _, number in worst]


def _build_example(task: Any, outcomes: PerturbedOutcomes, number: int) -> dict[str, JSON]:
    example, twin = outcomes.before.examples[number], outcomes.after.examples[number]
    return {
        "origin": example.origin,
        "text": task.text(example.input),
        "perturbed": task.text(twin.input),
        "expected": twin.answer,
        "before": outcomes.before.predictions[number].answer,
        "after": outcomes.after.predictions[number].answer,
    }


def _extract_labels(task: Labelled, outcome: ScoredPredictions) -> list[str | None]:
    return [_get_label(task, prediction.answer) for prediction in outcome.predictions]


def _get_label(task: Labelled, answer: Answer | None) -> str | None:
    return None if answer is None else task.label_of(answer)


def sort_worst_first(perturbations: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """By share of flips, or where there are none to count, by the change of the score."""

    def key(row: Mapping[str, Any]) -> float:
        if row.get("flips"):
            return -float(row["flips"]["value"])
        return float(row["score"]["change"]) if row["score"] else 1.0

    return sorted(map(dict, perturbations), key=key)


def format_stress_lines(stress_report: Mapping[str, Any]) -> list[str]:
    """A contender under stress in words, worst first, with one example each."""
    said = []
    for row in stress_report["perturbations"]:
        said.append(f"{row['name']:<12} {_describe_row(row)}")
        for one in row["examples"][:1]:
            said.append(
                f"{'':<12} {_escape_invisible(one['perturbed'])}: {_format_answer(one['before'])} before, "
                f"{_format_answer(one['after'])} now"
            )
    return said


def _escape_invisible(text: str) -> str:
    """A text in quotes, with escapes for what a terminal would not show."""
    unseen = {c for c in text if not c.isprintable() or (c.isspace() and c != " ")}
    return '"' + "".join(c.encode("unicode_escape").decode() if c in unseen else c for c in text) + '"'


def _describe_row(row: Mapping[str, Any]) -> str:
    if not row["score"]:
        return "changes none of these texts"
    score = row["score"]
    change = f"{score['name']} {100 * score['before']:.1f} to {100 * score['after']:.1f}"
    if row.get("flips"):
        of_right = row["broken"]["value"]
        broken = f"; of those that were right {100 * of_right:.1f} % become wrong" if of_right is not None else ""
        return f"{_format_percent(row['flips'])} of answers change{broken}; {change}"
    return f"{change}, a change of {100 * score['change']:+.1f} [{100 * score['low']:+.1f}, {100 * score['high']:+.1f}]"


def _format_percent(one: Mapping[str, Any]) -> str:
    return f"{100 * one['value']:.1f} % [{100 * one['low']:.1f}, {100 * one['high']:.1f}]"


def _format_answer(answer: object) -> str:
    if answer is None:
        return "no answer"
    if isinstance(answer, Mapping) and len(answer) == 1:
        answer = next(iter(answer.values()))
    text = answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."
