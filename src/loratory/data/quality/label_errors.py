"""Suspected wrong labels, from out-of-fold probabilities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loratory.artifacts.manifests import digest_of
from loratory.data.splitting.stratification import assign_units, build_split_units
from loratory.protocols import Example

# On eight sets of 150 to 3,000 texts, 5 or 10 % of their labels changed, 92 % of the disputed labels were changed ones
# where both of these held, and 29 % where not; with 2 % changed, 84 and 9 % (docs/data.md).
MIN_ACCURACY = 0.85  # out-of-fold accuracy from which a model's dispute of a label is worth a look
MAX_ERROR_RATIO = 0.75  # and the most of the majority label's errors that it may make


@dataclass(frozen=True)
class SuspectedLabel:
    """An example whose label a model that never saw it disputes."""

    origin: str
    text: str
    label: str
    suggested: str
    given_probability: float
    suggested_probability: float


@dataclass(frozen=True)
class LabelErrors:
    """Suspects, most disputed first, and how good the model is that disputes them."""

    suspects: tuple[SuspectedLabel, ...]
    accuracy: float  # out of fold, by the given labels
    majority: float  # of answering the commonest label always

    @property
    def is_useful(self) -> bool:
        """Whether the model knows enough: where it does not, nearly all that it disputes are its own mistakes."""
        return self.accuracy >= MIN_ACCURACY and 1 - self.accuracy <= MAX_ERROR_RATIO * (1 - self.majority)


def find_label_errors(
    labels: Sequence[str],
    examples: Sequence[Example],
    given: Sequence[str],
    texts: Sequence[str],
    probabilities: Sequence[Mapping[str, float]],
) -> LabelErrors:
    """What out-of-fold probabilities say of the given labels; nothing is known where there are none."""
    counted = Counter(given)
    majority = max(counted.values(), default=0) / max(len(given), 1)
    if not all(probabilities):
        return LabelErrors((), 0.0, majority)
    right = sum(max(row, key=row.__getitem__) == label for row, label in zip(probabilities, given, strict=True))
    return LabelErrors(
        tuple(rank_label_errors(labels, examples, given, texts, probabilities)), right / max(len(given), 1), majority
    )


def describe_label_errors(report: Mapping[str, Any]) -> str:
    """The quality report's entry in words."""
    known = f"a cross-validated model with accuracy {report['out_of_fold_accuracy']:.1%}"
    if report["useful"]:
        return f"{report['count']:,} labels in train look wrong to {known}"
    return f"not listed: {known} (the most common label: {report['majority']:.1%}) is not reliable enough"


def make_folds(examples: Sequence[Example], labels: Sequence[str], count: int, seed: int) -> list[list[int]]:
    """Held-out indices of each fold, which together cover every example once; groups whole, stratified by label."""
    names = [digest_of([example.input, example.answer]) for example in examples]
    groups = [example.group or example.origin or str(index) for index, example in enumerate(examples)]
    choices = build_split_units(groups, labels, names)
    held: list[list[int]] = [[] for _ in range(count)]
    for unit, fold in zip(choices, assign_units(choices, [1 / count] * count, seed), strict=True):
        held[fold].extend(unit.members)
    return [sorted(fold) for fold in held]


def rank_label_errors(
    labels: Sequence[str],
    examples: Sequence[Example],
    given: Sequence[str],
    texts: Sequence[str],
    probabilities: Sequence[Mapping[str, float]],
) -> list[SuspectedLabel]:
    """The off-diagonal of the confident joint, most disputed first (Northcutt, Jiang and Chuang 2021, section 3.1).

    A label is believed of an example when its out-of-fold probability reaches the label's threshold, which is the mean
    such probability over the examples that carry the label; of several believed labels the most probable counts. A
    label that the folds hardly learnt, as of one example alone, is neither believed nor disputed.
    """
    thresholds = _compute_thresholds(labels, given, probabilities)
    suspects = []
    for example, label, text, chances in zip(examples, given, texts, probabilities, strict=True):
        if label not in thresholds:
            continue
        believed = [name for name, least in thresholds.items() if chances.get(name, 0.0) >= least]
        best = max(believed, key=lambda name: chances.get(name, 0.0), default=label)
        if best != label:
            suspects.append(SuspectedLabel(example.origin, text, label, best, chances.get(label, 0.0), chances[best]))
    return sorted(suspects, key=lambda one: (one.given_probability - one.suggested_probability, one.origin))


def _compute_thresholds(
    labels: Sequence[str], given: Sequence[str], probabilities: Sequence[Mapping[str, float]]
) -> dict[str, float]:
    """Mean self-confidence of each label, where it is at least half of what an even guess would give."""
    carried: dict[str, list[float]] = {label: [] for label in labels}
    for label, chances in zip(given, probabilities, strict=True):
        carried[label].append(chances.get(label, 0.0))
    least = 0.5 / max(len(labels), 1)
    means = {label: sum(own) / len(own) for label, own in carried.items() if own}
    return {label: mean for label, mean in means.items() if mean >= least}
