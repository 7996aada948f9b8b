"""Whole groups into parts: shares held for every label, rarest labels first, no random state."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WEIGHT = 2.0  # of the shares of all examples against those of a label
DUE = 0.75  # examples of a label that a part is due before it must have one


@dataclass(frozen=True)
class Unit:
    """A group: the indices of its examples, how many of each label, and a name from its content."""

    members: tuple[int, ...]
    labels: Mapping[str, int]
    name: str

    def order(self, seed: int) -> tuple[int, str]:
        """Large groups first, since small ones can still even out; among equals a hash of seed and content."""
        return -len(self.members), hashlib.sha256(f"{seed}\n{self.name}".encode()).hexdigest()


def units(groups: Sequence[str], labels: Sequence[str], names: Sequence[str]) -> list[Unit]:
    """One unit per group; `names` are what identifies an example whatever its row, so that order does not matter."""
    members: dict[str, list[int]] = defaultdict(list)
    for index, name in enumerate(groups):
        members[name].append(index)
    return [
        Unit(
            tuple(inside),
            Counter(labels[index] for index in inside),
            "\n".join(sorted(names[index] for index in inside)),
        )
        for inside in members.values()
    ]


def assign(choices: Sequence[Unit], shares: Sequence[float], seed: int, ensured: int = 0) -> list[int]:
    """The part of each unit. Shares are positive and sum to 1; the first `ensured` parts see every label they can.

    Iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011) with whole groups.
    """
    wanted: Counter[str] = Counter()
    for unit in choices:
        wanted.update(unit.labels)
    holds = [_Part(share, place < ensured, Counter(), 0) for place, share in enumerate(shares)]
    parts, everything = [-1] * len(choices), wanted.total()
    for label, candidates in _by_label(choices, seed, wanted):
        waiting = [index for index in candidates if parts[index] < 0]
        for turn, index in enumerate(waiting):
            part = _next(choices[index], label, len(waiting) - turn, holds, wanted, everything)
            parts[index] = part
            holds[part].labels.update(choices[index].labels)
            holds[part].total += len(choices[index].members)
    return parts


@dataclass
class _Part:
    share: float
    ensured: bool
    labels: Counter[str]
    total: int


def _by_label(choices: Sequence[Unit], seed: int, wanted: Mapping[str, int]) -> list[tuple[str, list[int]]]:
    """Rarest label first, each with its units in their order."""
    holders: dict[str, list[int]] = defaultdict(list)
    for index in sorted(range(len(choices)), key=lambda index: choices[index].order(seed)):
        for label in choices[index].labels:
            holders[label].append(index)
    return [(label, holders[label]) for label in sorted(wanted, key=lambda label: (wanted[label], label))]


def _next(
    unit: Unit, label: str, waiting: int, holds: Sequence[_Part], wanted: Mapping[str, int], everything: int
) -> int:
    missing = [
        part
        for part, one in enumerate(holds)
        if not one.labels[label] and (one.ensured or one.share * wanted[label] >= DUE)
    ]
    if waiting <= len(missing):  # the last groups of a label go where it is missing, the first part before the last
        return missing[0]

    def cost(part: int) -> float:
        # What the unit adds to the chi-square between got and asked, per example: for its label (which alone is the
        # Webster/Sainte-Lague rule), and for all labels together, else each label would round the same way.
        one = holds[part]
        of_label = (one.labels[label] + unit.labels[label] / 2) / (one.share * wanted[label])
        return of_label + WEIGHT * (one.total + len(unit.members) / 2) / (one.share * everything)

    return min(range(len(holds)), key=cost)
