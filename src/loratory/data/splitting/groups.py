"""Examples that belong together and so must not be split: one given group, one text, or nearly one text."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from loratory.data.splitting.near_duplicates import find_near_duplicates
from loratory.data.splitting.normalisation import NormalisedText, fold_text, normalise_text
from loratory.protocols import Example

ORIGIN_PATTERN = re.compile(r"(.*?):(\d+)(?::(\d+))?", re.DOTALL)  # file:line or file:line:column


@dataclass(frozen=True)
class Grouping:
    """A resolved group per example, and the pairs that were found."""

    groups: tuple[str, ...]
    exact: tuple[tuple[int, int], ...]  # the first of a text with each later one
    near: tuple[tuple[int, int, float], ...]  # first examples of two texts, and their similarity


@dataclass(frozen=True)
class DuplicatePairs:
    """The pairs of a grouping by their origins, which outlive the order of the examples."""

    exact: tuple[tuple[str, str], ...] = ()
    near: tuple[tuple[str, str, float], ...] = ()


def name_pairs_by_origin(examples: Sequence[Example], grouping: Grouping) -> DuplicatePairs:
    """Indices of a grouping to origins."""
    origins = [example.origin for example in examples]
    return DuplicatePairs(
        tuple((origins[one], origins[other]) for one, other in grouping.exact),
        tuple((origins[one], origins[other], similarity) for one, other, similarity in grouping.near),
    )


def group_examples(
    examples: Sequence[Example],
    texts: Sequence[str],
    threshold: float,
    seed: int = 6,
    join_duplicates: bool = True,
    parts: Sequence[str] | None = None,
) -> Grouping:
    """Join examples of one given group, one text, or nearly one (see duplicates.find_near).

    Not `alike`: texts that are alike are found but not joined. `parts`: the part that each example stands in, where
    that is known beforehand; then of each text it is known in which parts it has a near-duplicate. Where it is not
    known, no part may cut a group.
    """
    parents = list(range(len(examples)))
    firsts: dict[str, int] = {}
    first = [firsts.setdefault(fold_text(text), index) for index, text in enumerate(texts)]
    exact = [(known, index) for index, known in enumerate(first) if known != index]
    near, joins = _find_near_pairs(texts, first, threshold, seed, parts)
    for one, other in (*exact, *joins) if join_duplicates else ():
        _join_groups(parents, one, other)
    named: dict[str, int] = {}
    for index, example in enumerate(examples):
        if example.group:
            _join_groups(parents, named.setdefault(example.group, index), index)
    return Grouping(_name_groups(examples, parents), tuple(exact), tuple(sorted(near)))


def _find_root(parents: list[int], index: int) -> int:
    while parents[index] != index:
        parents[index] = parents[parents[index]]
        index = parents[index]
    return index


def _join_groups(parents: list[int], one: int, other: int) -> None:
    parents[_find_root(parents, other)] = _find_root(parents, one)


def _name_groups(examples: Sequence[Example], parents: list[int]) -> tuple[str, ...]:
    """A given name (the smallest), else the smallest origin: so a name does not hang on the order of the rows."""
    best: dict[int, tuple[bool, tuple[str, int, int], str]] = {}
    roots = [_find_root(parents, index) for index in range(len(examples))]
    for index, (root, example) in enumerate(zip(roots, examples, strict=True)):
        origin = example.origin or str(index)
        key = (False, (example.group, 0, 0), example.group) if example.group else (True, _parse_origin(origin), origin)
        best[root] = min(best.get(root, key), key)
    return tuple(best[root][2] for root in roots)


def _parse_origin(origin: str) -> tuple[str, int, int]:
    """The file, line and column of an origin as numbers, so that line 9 comes before line 10."""
    found = ORIGIN_PATTERN.fullmatch(origin)
    return (found[1], int(found[2]), int(found[3] or 0)) if found else (origin, 0, 0)


def _find_near_pairs(
    texts: Sequence[str], first: Sequence[int], threshold: float, seed: int, parts: Sequence[str] | None
) -> tuple[list[tuple[int, int, float]], list[tuple[int, int]]]:
    """Pairs of first examples that are near-duplicates with their similarity, and the pairs to be joined.

    `first`: of each example the first that has its text.
    """
    forms = {index: normalise_text(texts[index]) for index in dict.fromkeys(first)}
    members: dict[NormalisedText, list[int]] = defaultdict(list)
    for index, one in forms.items():
        members[one].append(index)
    found = [(inside[0], other, 1.0) for inside in members.values() for other in inside[1:]]
    joins = [(one, other) for one, other, _ in found]
    if threshold >= 1:
        return found, joins
    order = sorted(members, key=lambda one: (one.text, one.numbers))  # by content, whatever the order of the rows
    names = {name: 1 << place for place, name in enumerate(dict.fromkeys(parts or ()))}
    bits: dict[NormalisedText, int] = defaultdict(int)
    for index, known in enumerate(first):
        bits[forms[known]] |= names[parts[index]] if parts else 1
    pairs, further = find_near_duplicates(order, [bits[one] for one in order], threshold, seed)
    heads = [members[one][0] for one in order]
    found += [
        (min(heads[one], heads[other]), max(heads[one], heads[other]), similarity) for one, other, similarity in pairs
    ]
    return found, joins + [(heads[one], heads[other]) for one, other in further]
