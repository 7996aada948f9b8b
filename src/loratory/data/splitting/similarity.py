"""How like two texts are: n-grams as hashes, their MinHash signatures, exact Jaccard similarity and edit distance.

All of it is over many texts or pairs at once. Letters: N texts, S n-grams of all texts together, P pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from loratory.errors import make_missing_extra

if TYPE_CHECKING:
    from scipy import sparse

PERMUTATIONS = 256
HASH_BLOCK_SIZE = 1 << 16  # n-grams hashed together: a block that stays in the processor's cache
CHARACTER_KINDS = 32  # of characters in the bags that bound an edit distance from below
PAIR_BLOCK_SIZE = 1 << 12  # compared together by their edits

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class NGrams:
    """The distinct n-grams of N texts: text t has the sorted hashes values[starts[t] : starts[t + 1]]."""

    values: Array  # uint32[S]
    starts: Array  # int64[N + 1]

    @property
    def counts(self) -> Array:
        """Distinct n-grams of each text: int64[N]."""
        return np.diff(self.starts)


@dataclass(frozen=True)
class CodePoints:
    """Short texts as code points, a column each, with the counts of their characters by kind."""

    points: Array  # uint16 or int32[longest, N]; 0 behind a text's end
    lengths: Array  # int32[N]
    character_counts: Array  # int8[N, KINDS]


def hash_ngrams(texts: Sequence[str], width: int) -> NGrams:
    """Every run of `width` characters of each text, hashed to 32 bits; a shorter text is one n-gram."""
    lengths = np.array([max(len(text), width) for text in texts], np.int64)
    points = np.frombuffer("".join(text.ljust(width, "\0") for text in texts).encode("utf-32-le"), np.uint32)
    hashed = np.zeros(len(points), np.uint64)
    for at in range(width):
        hashed = mix_bits(hashed ^ np.roll(points, -at).astype(np.uint64) ^ np.uint64((at + 1) << 40))
    owner = np.repeat(np.arange(len(texts), dtype=np.uint64), lengths)
    ends = np.repeat(np.cumsum(lengths), lengths)
    inside = np.arange(len(points)) <= ends - width
    keys = np.sort((owner[inside] << np.uint64(32)) | (hashed[inside] >> np.uint64(32)))
    keys = keys[np.concatenate(([True], keys[1:] != keys[:-1]))] if len(keys) else keys
    held = np.bincount((keys >> np.uint64(32)).astype(np.int64), minlength=len(texts))
    return NGrams(keys.astype(np.uint32), np.concatenate(([0], np.cumsum(held))))


def compute_minhash(ngrams: NGrams, seed: int) -> Array:
    """MinHash (Broder 1997): uint32[N, PERMUTATIONS]; two agree in a share of about their Jaccard similarity.

    The permutations are multiply-shift hashes (Dietzfelbinger et al. 1997), the same in every process.
    """
    chance = np.random.default_rng(seed)
    factors = chance.integers(1 << 63, size=PERMUTATIONS, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    shifts = chance.integers(1 << 63, size=PERMUTATIONS, dtype=np.uint64)
    made = np.empty((len(ngrams.counts), PERMUTATIONS), np.uint32)
    for first, last in _split_into_blocks(ngrams.starts):
        begin = ngrams.starts[first]
        values = mix_bits(ngrams.values[begin : ngrams.starts[last]].astype(np.uint64))
        offsets = ngrams.starts[first:last] - begin
        for place in range(PERMUTATIONS):
            permuted = ((values * factors[place] + shifts[place]) >> np.uint64(32)).astype(np.uint32)
            made[first:last, place] = np.minimum.reduceat(permuted, offsets)
    return made


def estimate_similarity(one: Array, other: Array) -> Array:
    """Share of equal bytes, of signatures about the Jaccard similarity: float64[P] of uint8[P, a multiple of 8]."""
    same = (one == other).view(np.uint64).sum(axis=1)  # eight counts in eight bytes: none exceeds 32
    return np.asarray(same.view(np.uint8).reshape(-1, 8).sum(axis=1) / one.shape[1])


def build_ngram_matrix(ngrams: NGrams) -> sparse.csr_matrix:
    """The n-grams as a sparse matrix [N, 2^31] of ones, for exact intersections."""
    try:
        from scipy import sparse
    except ImportError as problem:
        raise make_missing_extra("scipy", "train") from problem
    columns = (ngrams.values & np.uint32(0x7FFFFFFF)).astype(np.int32)
    ones = np.ones(len(columns), np.int32)
    made = sparse.csr_matrix((ones, columns, ngrams.starts), shape=(len(ngrams.counts), 1 << 31))
    made.sort_indices()
    return made


def compute_jaccard(matrix: sparse.csr_matrix, counts: Array, one: Array, other: Array) -> Array:
    """Exact Jaccard similarity of pairs: float64[P]."""
    shared = np.asarray(matrix[one].multiply(matrix[other]).sum(axis=1)).ravel()
    return np.asarray(shared / (counts[one] + counts[other] - shared))


def encode_code_points(texts: Sequence[str]) -> CodePoints:
    """Texts of at most 100 characters as columns of code points."""
    lengths = np.array([len(text) for text in texts], np.int32)
    longest = max(map(len, texts), default=0)
    flat = np.frombuffer("".join(text.ljust(longest, "\0") for text in texts).encode("utf-32-le"), np.int32)
    points = flat.reshape(len(texts), longest).astype(np.uint16 if flat.max(initial=0) < 1 << 16 else np.int32)
    bags = np.zeros((len(texts), CHARACTER_KINDS), np.int8)
    kinds = np.asarray(points % CHARACTER_KINDS)
    for kind in range(CHARACTER_KINDS):
        bags[:, kind] = ((kinds == kind) & (points != 0)).sum(axis=1)
    return CodePoints(np.ascontiguousarray(points.T), lengths, bags)


def compute_edit_similarity(code_points: CodePoints, one: Array, other: Array, min_similarity: float) -> Array:
    """1 - edit distance / length of the longer (Levenshtein 1966): float64[P], 0 where it is below `least`."""
    found = np.zeros(len(one))
    longer = np.maximum(code_points.lengths[one], code_points.lengths[other])
    most = np.floor((1 - min_similarity) * longer + 1e-9).astype(np.int32)  # edits that a pair may have
    apart = np.abs(code_points.character_counts[one] - code_points.character_counts[other]).sum(
        axis=1, dtype=np.int16
    )  # an edit moves two counts at most
    near = np.flatnonzero((np.abs(code_points.lengths[one] - code_points.lengths[other]) <= most) & (apart <= 2 * most))
    near = near[np.argsort(longer[near], kind="stable")]
    for begin in range(0, len(near), PAIR_BLOCK_SIZE):
        block = near[begin : begin + PAIR_BLOCK_SIZE]
        distance = _compute_edit_distances(code_points, one[block], other[block], int(most[block].max()))
        found[block] = np.where(distance <= most[block], 1 - distance / longer[block], 0)
    return found


def _compute_edit_distances(code_points: CodePoints, one: Array, other: Array, max_distance: int) -> Array:
    """Edit distances up to `most` < 100, and most + 1 for all above: int8[P].

    A band of the table of Wagner and Fischer (1974), row by row: cell k of row i is column i + k - most. A cell beyond
    the table or the band counts as too far. What is inserted within a row is a running minimum, in doubled steps.
    """
    rows, width = int(code_points.lengths[one].max(initial=0)), 2 * max_distance + 1
    a = code_points.points[:rows, one]
    b = np.full(
        (rows + width, len(other)), 0, code_points.points.dtype
    )  # 0 is behind every text, and so unlike any of `a`
    height = min(len(code_points.points), rows + max_distance)
    b[max_distance : max_distance + height] = code_points.points[:height, other]
    far, once = np.int8(max_distance + 1), np.int8(1)
    steps = np.abs(np.arange(width) - max_distance).astype(np.int8)[:, None]
    band = np.where(np.arange(width)[:, None] >= max_distance, steps, far) + np.zeros((1, len(one)), np.int8)
    ends = (
        code_points.lengths[other] - code_points.lengths[one] + max_distance
    )  # the cell of the last row where both texts end
    found = np.full(len(one), far)
    for row in range(rows):
        following = band + (b[row : row + width] != a[row])
        np.minimum(following[:-1], band[1:] + once, out=following[:-1])
        if row < max_distance:
            following[: max_distance - row - 1] = far
            following[max_distance - row - 1] = row + 1
        step = 1
        while step < width:
            np.minimum(following[step:], following[:-step] + np.int8(step), out=following[step:])
            step *= 2
        band = np.minimum(following, far)
        last = np.flatnonzero((code_points.lengths[one] == row + 1) & (ends >= 0) & (ends < width))
        found[last] = band[ends[last], last]
    return found


def mix_bits(values: Array) -> Array:
    """Stafford's mix 13 of 64 bits, as SplitMix64 has it."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(values ^ (values >> np.uint64(31)))


def _split_into_blocks(starts: Array) -> Iterator[tuple[int, int]]:
    """Whole texts of about STRETCH n-grams together."""
    first, texts = 0, len(starts) - 1
    while first < texts:
        last = max(first + 1, int(np.searchsorted(starts, starts[first] + HASH_BLOCK_SIZE, side="right")) - 1)
        yield first, last
        first = last
