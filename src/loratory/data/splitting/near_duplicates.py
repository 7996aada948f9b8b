"""Near-duplicates among many texts: found through MinHash, verified exactly, joined without comparing all pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from loratory.data.splitting.lsh import choose_bands, compute_band_keys, find_candidate_pairs
from loratory.data.splitting.normalisation import NormalisedText
from loratory.data.splitting.similarity import (
    Array,
    CodePoints,
    NGrams,
    build_ngram_matrix,
    compute_edit_similarity,
    compute_jaccard,
    compute_minhash,
    encode_code_points,
    estimate_similarity,
    hash_ngrams,
)

MAX_SHORT_CHARACTERS = 100  # characters up to which edits count: one word is much of such a text, and so of its n-grams
MIN_EDIT_CHARACTERS = (
    16  # characters from which edits count: in fewer a letter makes another word ("lost card", "last card")
)
MIN_EDIT_SIMILARITY = 0.85  # similarity by edits is never asked to be less
CONTIGUOUS_EDIT_JACCARD = 0.62  # Jaccard similarity of two texts of 30 characters that differ in one stretch of 15 %
MAX_EDIT_CHAIN = 10  # texts that edits alone may join: longer chains are the fillings of one template
# Texts that may share a key, and how often more must agree where there are more. With the bands of short texts a pair
# of Jaccard similarity 0.85 is still found with a chance of 0.9999.
SHORT_BUCKET_LIMITS, LONG_BUCKET_LIMITS = (256, 2), (4096, 1)
MAX_NEIGHBOURS = 16  # neighbours by edits that are kept of a text in each part, where there are very many
MAX_PENDING_PAIRS = 1 << 22  # pairs
PREVIEW_PERMUTATIONS = 64  # permutations that are looked at first
SIGNATURE_SLACK = 0.09  # 4 standard errors of a similarity of 0.85 that 256 permutations estimate
PREVIEW_SLACK = 0.18
# Characters of the compared text -> width of its n-grams, and whether edits count. Long texts share most of their
# 3-grams with any text, so they take 5. The ranges overlap, since near-duplicates may differ in length.
LENGTH_RANGES = ((0, MAX_SHORT_CHARACTERS + 1, 3, True), (66, 600, 3, False), (400, 1 << 62, 5, False))


@dataclass
class DuplicateLinks:
    """What is known of N texts: their joins, and in which parts each has one like it. Parts are bits of a number."""

    parts: Array  # uint8[N]: where the text stands
    roots: Array = field(init=False)  # int64[N]
    known_parts: Array = field(init=False)  # uint8[N]: parts where it stands, or has a near-duplicate
    pairs: list[tuple[int, int, float]] = field(default_factory=list)
    edit_pairs: list[tuple[Array, Array, Array]] = field(default_factory=list)  # alike by edits alone: not yet joined
    pending_pairs: int = 0  # pairs noted there since they were last thinned out

    def __post_init__(self) -> None:
        self.roots = np.arange(len(self.parts))
        self.known_parts = self.parts.copy()

    def is_informative(self, one: Array, other: Array) -> Array:
        """Whether a pair could tell anything new: bool[P]."""
        missing = (self.parts[other] & ~self.known_parts[one]) | (self.parts[one] & ~self.known_parts[other])
        return np.asarray((self.roots[one] != self.roots[other]) | (missing != 0))

    def find_settled(self, texts: Array, begins: Array) -> Array:
        """Which buckets are of one root and know of one another: bool[buckets]."""
        roots = self.roots[texts]
        whole = np.minimum.reduceat(roots, begins) == np.maximum.reduceat(roots, begins)
        there = np.bitwise_or.reduceat(self.parts[texts], begins)
        known = np.bitwise_and.reduceat(self.known_parts[texts], begins)
        return np.asarray(whole & ((there & ~known) == 0))

    def join_pairs(self, one: Array, other: Array, similarities: Array) -> None:
        """Join pairs and note them; one that tells nothing new by now is passed over."""
        parents = self.roots
        for a, b, similarity in zip(one.tolist(), other.tolist(), similarities.tolist(), strict=True):
            root, further = _find_root(parents, a), _find_root(parents, b)
            new = (self.parts[b] & ~self.known_parts[a]) | (self.parts[a] & ~self.known_parts[b])
            if root == further and not new:
                continue
            parents[max(root, further)] = min(root, further)
            self.known_parts[a] |= self.parts[b]
            self.known_parts[b] |= self.parts[a]
            self.pairs.append((a, b, similarity))
        while (parents[parents] != parents).any():
            parents = parents[parents]
        self.roots = parents

    def add_edit_pairs(self, one: Array, other: Array, similarities: Array) -> None:
        """Keep pairs that are alike by edits alone; of very many the nearest."""
        self.edit_pairs.append((one, other, similarities))
        self.pending_pairs += len(one)
        if self.pending_pairs > MAX_PENDING_PAIRS:
            self.edit_pairs, self.pending_pairs = (
                [_keep_nearest_pairs(*_deduplicate_pairs(self.edit_pairs), self.parts)],
                0,
            )


@dataclass(frozen=True)
class _LengthRange:
    """Texts of one range of lengths, ready to be compared; `place` is where each stands among all."""

    positions: Array  # int64[N]
    ngrams: NGrams
    signatures: Array  # uint32[N, PERMUTATIONS]
    signature_bytes: Array  # uint8[N, PERMUTATIONS]: of the signatures
    preview: Array  # uint8[N, GLANCE]: the first of them
    code_points: CodePoints | None  # where edits count


def find_near_duplicates(
    normalised: Sequence[NormalisedText], parts: Sequence[int], threshold: float, seed: int
) -> tuple[list[tuple[int, int, float]], list[tuple[int, int]]]:
    """Near-duplicates among distinct forms, and the pairs to be joined.

    Two forms are near-duplicates when the Jaccard similarity of their n-grams is at least the threshold; up to SHORT
    characters also when 1 - edit distance / length of the longer is. Not every pair is told, but enough that (1) what
    pairs would join is joined, and (2) of each form it is known in which `parts` (bits) it has a near-duplicate.
    Pairs that are alike by edits alone are joined from the nearest on while no more than CHAIN forms come together.
    """
    links = DuplicateLinks(np.array(parts, np.uint8))
    kinds = {figures: number for number, figures in enumerate(sorted({one.numbers for one in normalised}))}
    numbers = np.array([kinds[one.numbers] for one in normalised], np.int64)
    for least, most, width, by_edits in LENGTH_RANGES:
        place = np.array(
            [i for i, one in enumerate(normalised) if one.is_comparable and least <= len(one.text) < most], np.int64
        )
        if len(place) < 2:
            continue
        texts = [normalised[i].text for i in place]
        grams = hash_ngrams(texts, width)
        signs = compute_minhash(grams, seed)
        bytes = signs.astype(np.uint8)
        glance = np.ascontiguousarray(bytes[:, :PREVIEW_PERMUTATIONS])
        ready = _LengthRange(place, grams, signs, bytes, glance, encode_code_points(texts) if by_edits else None)
        _search_length_range(ready, numbers[place], threshold, links)
    one, other, similarities = _deduplicate_pairs(links.edit_pairs)
    alone = links.is_informative(one, other)
    found = list(zip(one[alone].tolist(), other[alone].tolist(), similarities[alone].tolist(), strict=True))
    joins = [(a, b) for a, b, _ in links.pairs] + _choose_edit_joins(found, links.roots)
    return links.pairs + found, joins


def _search_length_range(
    length_range: _LengthRange, number_kinds: Array, threshold: float, links: DuplicateLinks
) -> None:
    least = max(threshold, MIN_EDIT_SIMILARITY)
    bands, rows = choose_bands(threshold)
    if length_range.code_points:
        bands, rows = max(
            (bands, rows), choose_bands(CONTIGUOUS_EDIT_JACCARD, 0.99)
        )  # the more bands, the more is found
    keys = compute_band_keys(
        length_range.signatures,
        number_kinds,
        (bands, rows),
        *(SHORT_BUCKET_LIMITS if length_range.code_points else LONG_BUCKET_LIMITS),
    )
    matrix, counts = build_ngram_matrix(length_range.ngrams), length_range.ngrams.counts
    floor = min(threshold, CONTIGUOUS_EDIT_JACCARD) if length_range.code_points else threshold

    def find_settled(texts: Array, begins: Array) -> Array:
        return links.find_settled(length_range.positions[texts], begins)

    for band, one, other in find_candidate_pairs(keys, find_settled):
        one, other = _keep_promising_pairs(length_range, keys[:, :band], one, other, floor, links)
        if not len(one):
            continue
        similar = compute_jaccard(matrix, counts, one, other)
        near = similar >= threshold
        links.join_pairs(length_range.positions[one[near]], length_range.positions[other[near]], similar[near])
        if length_range.code_points:
            enough = (
                np.maximum(length_range.code_points.lengths[one], length_range.code_points.lengths[other])
                >= MIN_EDIT_CHARACTERS
            )
            rest = ~near & enough & links.is_informative(length_range.positions[one], length_range.positions[other])
            one, other = one[rest], other[rest]
            edited = compute_edit_similarity(length_range.code_points, one, other, least)
            kept = edited >= least
            links.add_edit_pairs(length_range.positions[one[kept]], length_range.positions[other[kept]], edited[kept])


def _keep_promising_pairs(
    length_range: _LengthRange,
    earlier_keys: Array,
    one: Array,
    other: Array,
    min_similarity: float,
    links: DuplicateLinks,
) -> tuple[Array, Array]:
    """Pairs that could tell something new, were not met in an earlier band and look similar enough."""
    kept = links.is_informative(length_range.positions[one], length_range.positions[other])
    one, other = one[kept], other[kept]
    kept = estimate_similarity(length_range.preview[one], length_range.preview[other]) >= min_similarity - PREVIEW_SLACK
    one, other = one[kept], other[kept]
    kept = (
        estimate_similarity(length_range.signature_bytes[one], length_range.signature_bytes[other])
        >= min_similarity - SIGNATURE_SLACK
    )
    one, other = one[kept], other[kept]
    kept = ~(earlier_keys[one] == earlier_keys[other]).any(axis=1)
    return one[kept], other[kept]


def _deduplicate_pairs(edited: Sequence[tuple[Array, Array, Array]]) -> tuple[Array, Array, Array]:
    """Each pair once, the smaller index first."""
    if not edited:
        nothing = np.zeros(0, np.int64)
        return nothing, nothing, np.zeros(0)
    one, other, similarities = (np.concatenate(column) for column in zip(*edited, strict=True))
    one, other = np.minimum(one, other), np.maximum(one, other)
    _, first = np.unique(np.stack([one, other]), axis=1, return_index=True)
    return one[first], other[first], similarities[first]


def _keep_nearest_pairs(one: Array, other: Array, similarities: Array, parts: Array) -> tuple[Array, Array, Array]:
    """The pairs that are among the NEAREST of one of their two texts in the other's part."""
    kept = np.zeros(len(one), bool)
    for here, there in ((one, other), (other, one)):
        order = np.lexsort((there, -similarities, parts[there], here))
        bucket = here[order].astype(np.int64) * 256 + parts[there][order]
        begins = np.flatnonzero(np.concatenate(([True], bucket[1:] != bucket[:-1])))
        rank = np.arange(len(order)) - np.repeat(begins, np.diff(np.append(begins, len(order))))
        kept[order[rank < MAX_NEIGHBOURS]] = True
    return one[kept], other[kept], similarities[kept]


def _choose_edit_joins(found: Sequence[tuple[int, int, float]], roots: Array) -> list[tuple[int, int]]:
    """The pairs to join, from the nearest on, while no more than CHAIN texts come together (Kruskal 1956)."""
    parents = roots.copy()
    sizes = np.bincount(roots, minlength=len(roots))
    joins = []
    for a, b, _ in sorted(found, key=lambda pair: (-pair[2], pair[0], pair[1])):
        root, further = sorted((_find_root(parents, a), _find_root(parents, b)))
        if root != further and sizes[root] + sizes[further] <= MAX_EDIT_CHAIN:
            parents[further] = root
            sizes[root] += sizes[further]
            joins.append((a, b))
    return joins


def _find_root(parents: Array, index: int) -> int:
    while parents[index] != index:
        parents[index] = parents[parents[index]]
        index = int(parents[index])
    return index
