"""Examples that belong together and so must not be split: one given group, one text, or nearly one text."""

from __future__ import annotations

import unicodedata
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import regex

from loratory.errors import missing_extra
from loratory.protocols import Example

NOT_WORD = regex.compile(r"[^\p{L}\p{M}\p{N}]+")
NUMBER = regex.compile(r"\p{N}+(?: \p{N}+)*")
PERMUTATIONS = 128
RECALL = 0.99  # least chance that a pair at the threshold becomes a candidate
CANDIDATES = 200  # verified per text: a family of ten thousand like texts joins through its first ones
# Characters of the normalised text -> width of its shingles. One typo in 50 characters keeps a Jaccard similarity of
# about 0.88 with 3; long texts share most of their 3-shingles with any text, so they take 5. The ranges overlap,
# since near-duplicates may differ in length by the threshold.
WIDTHS = ((0, 600, 3), (400, 1 << 62, 5))


@dataclass(frozen=True)
class Grouping:
    """A resolved group per example, and the pairs that were found."""

    groups: tuple[str, ...]
    exact: tuple[tuple[int, int], ...]  # the first of a text with each later one
    near: tuple[tuple[int, int, float], ...]  # first examples of two texts, and their Jaccard similarity


@dataclass(frozen=True)
class Pairs:
    """The pairs of a grouping by their origins, which outlive the order of the examples."""

    exact: tuple[tuple[str, str], ...] = ()
    near: tuple[tuple[str, str, float], ...] = ()


def pairs_of(examples: Sequence[Example], grouping: Grouping) -> Pairs:
    """Indices of a grouping to origins."""
    origins = [example.origin for example in examples]
    return Pairs(
        tuple((origins[one], origins[other]) for one, other in grouping.exact),
        tuple((origins[one], origins[other], similarity) for one, other, similarity in grouping.near),
    )


def normalise(text: str) -> str:
    """NFKC, case folded, white space and signs as one space, numbers as 0; signs alone stay."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return NUMBER.sub("0", NOT_WORD.sub(" ", folded).strip()) or " ".join(folded.split())


def group(
    examples: Sequence[Example], texts: Sequence[str], threshold: float, seed: int = 6, alike: bool = True
) -> Grouping:
    """Join examples of one given group, one normalised text, or a Jaccard similarity of at least `threshold`.

    Not `alike`: texts that are alike are found but not joined.
    """
    parents = list(range(len(examples)))
    first: dict[str, int] = {}
    exact = []
    for index, text in enumerate(texts):
        known = first.setdefault(normalise(text), index)
        if known != index:
            exact.append((known, index))
    near = sorted(_near(list(first), list(first.values()), threshold, seed)) if threshold < 1 else []
    for one, other in (*exact, *((a, b) for a, b, _ in near)) if alike else ():
        _join(parents, one, other)
    named: dict[str, int] = {}
    for index, example in enumerate(examples):
        if example.group:
            _join(parents, named.setdefault(example.group, index), index)
    return Grouping(_names(examples, parents), tuple(exact), tuple(near))


def _root(parents: list[int], index: int) -> int:
    while parents[index] != index:
        parents[index] = parents[parents[index]]
        index = parents[index]
    return index


def _join(parents: list[int], one: int, other: int) -> None:
    parents[_root(parents, other)] = _root(parents, one)


def _names(examples: Sequence[Example], parents: list[int]) -> tuple[str, ...]:
    """A given name (the smallest), else the smallest origin: so a name does not hang on the order of the rows."""
    best: dict[int, tuple[bool, str, int]] = {}
    roots = [_root(parents, index) for index in range(len(examples))]
    for index, (root, example) in enumerate(zip(roots, examples, strict=True)):
        key = (False, example.group, 0) if example.group else (True, *_place(example.origin or str(index)))
        best[root] = min(best.get(root, key), key)
    return tuple(f"{name}:{line}" if line else name for _, name, line in (best[root] for root in roots))


def _place(origin: str) -> tuple[str, int]:
    """An origin with its line as a number, so that line 9 comes before line 10."""
    file, _, line = origin.rpartition(":")
    return (file, int(line)) if file and line.isascii() and line.isdigit() else (origin, 0)


def _near(
    texts: Sequence[str], indices: Sequence[int], threshold: float, seed: int
) -> Iterator[tuple[int, int, float]]:
    found: set[tuple[int, int]] = set()
    for least, most, width in WIDTHS:
        chosen = [place for place, text in enumerate(texts) if least <= len(text) < most]
        shingles = [_shingles(texts[place], width) for place in chosen]
        for one, other, similarity in _similar(shingles, threshold, seed):
            pair = indices[chosen[one]], indices[chosen[other]]
            if pair not in found:
                found.add(pair)
                yield *pair, similarity


def _shingles(text: str, width: int) -> frozenset[str]:
    return frozenset(text[at : at + width] for at in range(max(1, len(text) - width + 1)))


def _similar(shingles: Sequence[frozenset[str]], threshold: float, seed: int) -> Iterator[tuple[int, int, float]]:
    """Pairs of sets at or over the threshold: candidates by MinHash and banding, each verified exactly."""
    try:
        from datasketch import MinHash, MinHashLSH
    except ImportError as problem:
        raise missing_extra("datasketch", "train") from problem
    if not shingles:
        return
    # CRC-32 is stable over processes, as Python's own hash of a string is not; MinHash permutes it.
    hashes = ([zlib.crc32(shingle.encode()) for shingle in one] for one in shingles)
    itself: Callable[[int], int] = int
    minhashes = MinHash.bulk(hashes, num_perm=PERMUTATIONS, seed=seed, hashfunc=itself)
    index = MinHashLSH(num_perm=PERMUTATIONS, params=_bands(threshold))
    for place, minhash in enumerate(minhashes):
        for other in sorted(index.query(minhash))[:CANDIDATES]:
            shared = len(shingles[place] & shingles[other])
            similarity = shared / (len(shingles[place]) + len(shingles[other]) - shared)
            if similarity >= threshold:
                yield other, place, similarity
        index.insert(place, minhash)


def _bands(threshold: float) -> tuple[int, int]:
    """Bands and rows: the most rows, and so the fewest candidates, that find a pair at the threshold surely enough.

    A pair of similarity s becomes a candidate with probability 1 - (1 - s^rows)^bands (Leskovec, Rajaraman and
    Ullman, Mining of Massive Datasets, 3.4). Candidates are verified, so false ones cost time only.
    """
    for rows in range(PERMUTATIONS, 0, -1):
        bands = PERMUTATIONS // rows
        if 1 - (1 - threshold**rows) ** bands >= RECALL:
            return bands, rows
    return PERMUTATIONS, 1
