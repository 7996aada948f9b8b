"""Near-duplicates among many texts: found through MinHash, verified exactly, joined without comparing all pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from loratory.data.candidates import bands_for, candidates, keys_of
from loratory.data.normalisation import Form
from loratory.data.similarity import (
    Array,
    Codes,
    Grams,
    agreement,
    codes_of,
    edits,
    grams_of,
    jaccard,
    matrix_of,
    signatures,
)

SHORT = 100  # characters up to which edits count: one word is much of such a text, and so of its n-grams
SHORTEST = 16  # characters from which edits count: in fewer a letter makes another word ("lost card", "last card")
EDITED = 0.85  # similarity by edits is never asked to be less
CONTIGUOUS = 0.62  # Jaccard similarity of two texts of 30 characters that differ in one stretch of 15 %
CHAIN = 10  # texts that edits alone may join: longer chains are the fillings of one template
# Texts that may share a key, and how often more must agree where there are more. With the bands of short texts a pair
# of Jaccard similarity 0.85 is still found with a chance of 0.9999.
CROWD, CROWD_LONG = (256, 2), (4096, 1)
NEAREST = 16  # neighbours by edits that are kept of a text in each part, where there are very many
MANY = 1 << 22  # pairs
GLANCE = 64  # permutations that are looked at first
SLACK = 0.09  # 4 standard errors of a similarity of 0.85 that 256 permutations estimate
GLANCE_SLACK = 0.18
# Characters of the compared text -> width of its n-grams, and whether edits count. Long texts share most of their
# 3-grams with any text, so they take 5. The ranges overlap, since near-duplicates may differ in length.
RANGES = ((0, SHORT + 1, 3, True), (66, 600, 3, False), (400, 1 << 62, 5, False))


@dataclass
class Links:
    """What is known of N texts: their joins, and in which parts each has one like it. Parts are bits of a number."""

    parts: Array  # uint8[N]: where the text stands
    roots: Array = field(init=False)  # int64[N]
    known: Array = field(init=False)  # uint8[N]: parts where it stands, or has a near-duplicate
    pairs: list[tuple[int, int, float]] = field(default_factory=list)
    edited: list[tuple[Array, Array, Array]] = field(default_factory=list)  # alike by edits alone: not yet joined
    many: int = 0  # pairs noted there since they were last thinned out

    def __post_init__(self) -> None:
        self.roots = np.arange(len(self.parts))
        self.known = self.parts.copy()

    def open(self, one: Array, other: Array) -> Array:
        """Whether a pair could tell anything new: bool[P]."""
        missing = (self.parts[other] & ~self.known[one]) | (self.parts[one] & ~self.known[other])
        return np.asarray((self.roots[one] != self.roots[other]) | (missing != 0))

    def settled(self, texts: Array, begins: Array) -> Array:
        """Which buckets are of one root and know of one another: bool[buckets]."""
        roots = self.roots[texts]
        whole = np.minimum.reduceat(roots, begins) == np.maximum.reduceat(roots, begins)
        there = np.bitwise_or.reduceat(self.parts[texts], begins)
        known = np.bitwise_and.reduceat(self.known[texts], begins)
        return np.asarray(whole & ((there & ~known) == 0))

    def join(self, one: Array, other: Array, similarities: Array) -> None:
        """Join pairs and note them; one that tells nothing new by now is passed over."""
        parents = self.roots
        for a, b, similarity in zip(one.tolist(), other.tolist(), similarities.tolist(), strict=True):
            root, further = _root(parents, a), _root(parents, b)
            new = (self.parts[b] & ~self.known[a]) | (self.parts[a] & ~self.known[b])
            if root == further and not new:
                continue
            parents[max(root, further)] = min(root, further)
            self.known[a] |= self.parts[b]
            self.known[b] |= self.parts[a]
            self.pairs.append((a, b, similarity))
        while (parents[parents] != parents).any():
            parents = parents[parents]
        self.roots = parents

    def note(self, one: Array, other: Array, similarities: Array) -> None:
        """Keep pairs that are alike by edits alone; of very many the nearest."""
        self.edited.append((one, other, similarities))
        self.many += len(one)
        if self.many > MANY:
            self.edited, self.many = [_nearest(*_distinct(self.edited), self.parts)], 0


@dataclass(frozen=True)
class _Range:
    """Texts of one range of lengths, ready to be compared; `place` is where each stands among all."""

    place: Array  # int64[N]
    grams: Grams
    signs: Array  # uint32[N, PERMUTATIONS]
    bytes: Array  # uint8[N, PERMUTATIONS]: of the signatures
    glance: Array  # uint8[N, GLANCE]: the first of them
    codes: Codes | None  # where edits count


def find_near(
    forms: Sequence[Form], parts: Sequence[int], threshold: float, seed: int
) -> tuple[list[tuple[int, int, float]], list[tuple[int, int]]]:
    """Near-duplicates among distinct forms, and the pairs to be joined.

    Two forms are near-duplicates when the Jaccard similarity of their n-grams is at least the threshold; up to SHORT
    characters also when 1 - edit distance / length of the longer is. Not every pair is told, but enough that (1) what
    pairs would join is joined, and (2) of each form it is known in which `parts` (bits) it has a near-duplicate.
    Pairs that are alike by edits alone are joined from the nearest on while no more than CHAIN forms come together.
    """
    links = Links(np.array(parts, np.uint8))
    kinds = {figures: number for number, figures in enumerate(sorted({one.figures for one in forms}))}
    numbers = np.array([kinds[one.figures] for one in forms], np.int64)
    for least, most, width, by_edits in RANGES:
        place = np.array([i for i, one in enumerate(forms) if one.compared and least <= len(one.text) < most], np.int64)
        if len(place) < 2:
            continue
        texts = [forms[i].text for i in place]
        grams = grams_of(texts, width)
        signs = signatures(grams, seed)
        bytes = signs.astype(np.uint8)
        glance = np.ascontiguousarray(bytes[:, :GLANCE])
        ready = _Range(place, grams, signs, bytes, glance, codes_of(texts) if by_edits else None)
        _search(ready, numbers[place], threshold, links)
    one, other, similarities = _distinct(links.edited)
    alone = links.open(one, other)
    found = list(zip(one[alone].tolist(), other[alone].tolist(), similarities[alone].tolist(), strict=True))
    joins = [(a, b) for a, b, _ in links.pairs] + _chains(found, links.roots)
    return links.pairs + found, joins


def _search(ready: _Range, numbers: Array, threshold: float, links: Links) -> None:
    least = max(threshold, EDITED)
    bands, rows = bands_for(threshold)
    if ready.codes:
        bands, rows = max((bands, rows), bands_for(CONTIGUOUS, 0.99))  # the more bands, the more is found
    keys = keys_of(ready.signs, numbers, (bands, rows), *(CROWD if ready.codes else CROWD_LONG))
    matrix, counts = matrix_of(ready.grams), ready.grams.counts
    floor = min(threshold, CONTIGUOUS) if ready.codes else threshold

    def settled(texts: Array, begins: Array) -> Array:
        return links.settled(ready.place[texts], begins)

    for band, one, other in candidates(keys, settled):
        one, other = _promising(ready, keys[:, :band], one, other, floor, links)
        if not len(one):
            continue
        similar = jaccard(matrix, counts, one, other)
        near = similar >= threshold
        links.join(ready.place[one[near]], ready.place[other[near]], similar[near])
        if ready.codes:
            enough = np.maximum(ready.codes.lengths[one], ready.codes.lengths[other]) >= SHORTEST
            rest = ~near & enough & links.open(ready.place[one], ready.place[other])
            one, other = one[rest], other[rest]
            edited = edits(ready.codes, one, other, least)
            kept = edited >= least
            links.note(ready.place[one[kept]], ready.place[other[kept]], edited[kept])


def _promising(
    ready: _Range, earlier: Array, one: Array, other: Array, floor: float, links: Links
) -> tuple[Array, Array]:
    """Pairs that could tell something new, were not met in an earlier band and look similar enough."""
    kept = links.open(ready.place[one], ready.place[other])
    one, other = one[kept], other[kept]
    kept = agreement(ready.glance[one], ready.glance[other]) >= floor - GLANCE_SLACK
    one, other = one[kept], other[kept]
    kept = agreement(ready.bytes[one], ready.bytes[other]) >= floor - SLACK
    one, other = one[kept], other[kept]
    kept = ~(earlier[one] == earlier[other]).any(axis=1)
    return one[kept], other[kept]


def _distinct(edited: Sequence[tuple[Array, Array, Array]]) -> tuple[Array, Array, Array]:
    """Each pair once, the smaller index first."""
    if not edited:
        nothing = np.zeros(0, np.int64)
        return nothing, nothing, np.zeros(0)
    one, other, similarities = (np.concatenate(column) for column in zip(*edited, strict=True))
    one, other = np.minimum(one, other), np.maximum(one, other)
    _, first = np.unique(np.stack([one, other]), axis=1, return_index=True)
    return one[first], other[first], similarities[first]


def _nearest(one: Array, other: Array, similarities: Array, parts: Array) -> tuple[Array, Array, Array]:
    """The pairs that are among the NEAREST of one of their two texts in the other's part."""
    kept = np.zeros(len(one), bool)
    for here, there in ((one, other), (other, one)):
        order = np.lexsort((there, -similarities, parts[there], here))
        bucket = here[order].astype(np.int64) * 256 + parts[there][order]
        begins = np.flatnonzero(np.concatenate(([True], bucket[1:] != bucket[:-1])))
        rank = np.arange(len(order)) - np.repeat(begins, np.diff(np.append(begins, len(order))))
        kept[order[rank < NEAREST]] = True
    return one[kept], other[kept], similarities[kept]


def _chains(found: Sequence[tuple[int, int, float]], roots: Array) -> list[tuple[int, int]]:
    """The pairs to join, from the nearest on, while no more than CHAIN texts come together (Kruskal 1956)."""
    parents = roots.copy()
    sizes = np.bincount(roots, minlength=len(roots))
    joins = []
    for a, b, _ in sorted(found, key=lambda pair: (-pair[2], pair[0], pair[1])):
        root, further = sorted((_root(parents, a), _root(parents, b)))
        if root != further and sizes[root] + sizes[further] <= CHAIN:
            parents[further] = root
            sizes[root] += sizes[further]
            joins.append((a, b))
    return joins


def _root(parents: Array, index: int) -> int:
    while parents[index] != index:
        parents[index] = parents[parents[index]]
        index = int(parents[index])
    return index
