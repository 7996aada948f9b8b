"""Whole groups into parts: shares held for every label, rarest labels first, no random state."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

OVERALL_SHARE_WEIGHT = 2.0  # of the shares of all examples against those of a label
MIN_DUE_EXAMPLES = 0.75  # examples of a label that a part is due before it must have one


@dataclass(frozen=True)
class SplitUnit:
    """A group: the indices of its examples, how many of each label, and a name from its content."""

    members: tuple[int, ...]
    labels: Mapping[str, int]
    name: str

    def sort_key(self, seed: int) -> tuple[int, str]:
        """Large groups first, since small ones can still even out; among equals a hash of seed and content."""
        return -len(self.members), hashlib.sha256(f"{seed}\n{self.name}".encode()).hexdigest()


def build_split_units(groups: Sequence[str], labels: Sequence[str], names: Sequence[str]) -> list[SplitUnit]:
    """One unit per group; `names` are what identifies an example whatever its row, so that order does not matter."""
    members: dict[str, list[int]] = defaultdict(list)
    for index, name in enumerate(groups):
        members[name].append(index)
    return [
        SplitUnit(
            tuple(inside),
            Counter(labels[index] for index in inside),
            "\n".join(sorted(names[index] for index in inside)),
        )
        for inside in members.values()
    ]


def assign_units(
    split_units: Sequence[SplitUnit], shares: Sequence[float], seed: int, parts_with_every_label: int = 0
) -> list[int]:
    """The part of each unit. Shares are positive and sum to 1; the first `ensured` parts see every label they can.

    Iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011) with whole groups.
    """
    wanted: Counter[str] = Counter()
    for unit in split_units:
        wanted.update(unit.labels)
    holds = [_PartState(share, place < parts_with_every_label, Counter(), 0) for place, share in enumerate(shares)]
    parts, everything = [-1] * len(split_units), wanted.total()
    for label, candidates in _list_units_by_label(split_units, seed, wanted):
        waiting = [index for index in candidates if parts[index] < 0]
        for turn, index in enumerate(waiting):
            part = _choose_part(split_units[index], label, len(waiting) - turn, holds, wanted, everything)
            parts[index] = part
            holds[part].labels.update(split_units[index].labels)
            holds[part].total += len(split_units[index].members)
    return parts


@dataclass
class _PartState:
    share: float
    needs_every_label: bool
    labels: Counter[str]
    total: int


def _list_units_by_label(
    split_units: Sequence[SplitUnit], seed: int, label_counts: Mapping[str, int]
) -> list[tuple[str, list[int]]]:
    """Rarest label first, each with its units in their order."""
    holders: dict[str, list[int]] = defaultdict(list)
    for index in sorted(range(len(split_units)), key=lambda index: split_units[index].sort_key(seed)):
        for label in split_units[index].labels:
            holders[label].append(index)
    return [(label, holders[label]) for label in sorted(label_counts, key=lambda label: (label_counts[label], label))]


def _choose_part(
    unit: SplitUnit,
    label: str,
    remaining: int,
    part_states: Sequence[_PartState],
    label_counts: Mapping[str, int],
    everything: int,
) -> int:
    missing = [
        part
        for part, one in enumerate(part_states)
        if not one.labels[label] and (one.needs_every_label or one.share * label_counts[label] >= MIN_DUE_EXAMPLES)
    ]
    if remaining <= len(missing):  # the last groups of a label go where it is missing, the first part before the last
        return missing[0]

    def cost(part: int) -> float:
        # What the unit adds to the chi-square between got and asked, per example: for its label (which alone is the
        # Webster/Sainte-Lague rule), and for all labels together, else each label would round the same way.
        one = part_states[part]
        of_label = (one.labels[label] + unit.labels[label] / 2) / (one.share * label_counts[label])
        return of_label + OVERALL_SHARE_WEIGHT * (one.total + len(unit.members) / 2) / (one.share * everything)

    return min(range(len(part_states)), key=cost)
