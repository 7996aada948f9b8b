"""Which test examples a contender may have learnt by heart."""

from __future__ import annotations

from collections import defaultdict

from loratory.data.groups import Pairs
from loratory.data.splits import Parts

SEEN = ("train", "validation")  # what fits learn from, and what they are chosen by


def leaked(parts: Parts, pairs: Pairs) -> list[str]:
    """Origins of all test examples that are equal or nearly equal to one of train or validation, in their order."""
    first = {other: one for one, other in pairs.exact}  # equal texts go by the first of them
    alike: dict[str, set[str]] = defaultdict(set)
    for one, other, _ in pairs.near:
        alike[_text(first, one)].add(_text(first, other))
        alike[_text(first, other)].add(_text(first, one))
    seen = {_text(first, example.origin) for name, part in parts.items() if name in SEEN for example in part}
    texts = ((example.origin, _text(first, example.origin)) for example in parts.test)
    return [origin for origin, text in texts if text in seen or not alike[text].isdisjoint(seen)]


def _text(first: dict[str, str], origin: str) -> str:
    """The first example with the same text."""
    while first.get(origin, origin) != origin:
        origin = first[origin]
    return origin
