"""Pairs of texts worth comparing: signatures cut into bands, texts that agree in a whole band (LSH)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from loratory.data.similarity import PERMUTATIONS, Array, mix

RECALL = 0.9999  # least chance that a pair at the threshold becomes a candidate
BATCH = 1 << 16  # pairs handed on together
MORE = 3  # rows that must agree besides, where a bucket is crowded


def bands_for(threshold: float, recall: float = RECALL) -> tuple[int, int]:
    """Bands and rows: the most rows, and so the fewest candidates, that find a pair at the threshold surely enough.

    A pair of similarity s becomes a candidate with probability 1 - (1 - s^rows)^bands (Leskovec, Rajaraman and
    Ullman, Mining of Massive Datasets, 3.4). Candidates are verified, so false ones cost time only.
    """
    for rows in range(PERMUTATIONS, 0, -1):
        bands = PERMUTATIONS // rows
        if 1 - (1 - threshold**rows) ** bands >= recall:
            return bands, rows
    return PERMUTATIONS, 1


def keys_of(signatures: Array, kinds: Array, shape: tuple[int, int], crowd: int, levels: int) -> Array:
    """A key per band and text: uint32[N, bands]. Texts of different `kinds` (int64[N]) never share one.

    `shape`: bands and rows. Where more than `crowd` texts share a key, as the texts of one template do, they must
    agree in MORE rows, and so on `levels` times: the most similar are met first, and the others not at all.
    """
    bands, rows = shape
    made = np.empty((len(signatures), bands), np.uint32)
    for band in range(bands):
        columns = [(band * rows + row) % PERMUTATIONS for row in range(rows + levels * MORE)]
        key = _hash(mix(kinds.astype(np.uint64)), signatures, columns[:rows])
        for level in range(rows, len(columns), MORE):
            _, place, count = np.unique(key, return_inverse=True, return_counts=True)
            crowded = np.flatnonzero(count[place] > crowd)
            if not len(crowded):
                break
            key[crowded] = _hash(key[crowded], signatures[crowded], columns[level : level + MORE])
        made[:, band] = key.astype(np.uint32)
    return made


def candidates(keys: Array, settled: Callable[[Array, Array], Array]) -> Iterator[tuple[int, Array, Array]]:
    """(band, one, other): pairs of texts with one key, nearest in order first; some come in several bands.

    `settled(texts, begins)` tells which buckets hold nothing to find any more: texts in the order of their buckets,
    and where in it each bucket begins. It is asked anew as more is found.
    """
    for band, key in enumerate(np.ascontiguousarray(keys.T)):
        order = np.argsort(key, kind="stable")
        fresh = np.concatenate(([True], key[order][1:] != key[order][:-1]))
        begins = np.flatnonzero(fresh)
        ends = np.append(begins[1:], len(order))[np.cumsum(fresh) - 1]
        for one, other in _pairs(order, ends, settled):
            yield band, one, other


def _pairs(order: Array, ends: Array, settled: Callable[[Array, Array], Array]) -> Iterator[tuple[Array, Array]]:
    active = np.flatnonzero(np.arange(len(order)) + 1 < ends)
    held: list[tuple[Array, Array]] = []
    many, step = 0, 1
    while len(active):
        held.append((order[active], order[active + step]))
        many += len(active)
        ask = step & (step - 1) == 0  # 1, 2, 4, ...: what was joined meanwhile needs no more looks
        step += 1
        active = active[active + step < ends[active]]
        if many >= BATCH or ask or not len(active):
            yield from _batches(held)
            held, many = [], 0
        if ask and len(active):
            active = _unsettled(active, order, ends, settled)


def _unsettled(active: Array, order: Array, ends: Array, settled: Callable[[Array, Array], Array]) -> Array:
    stops = np.unique(ends[active])
    firsts = np.searchsorted(ends, stops, side="left")  # `ends` ascends: the first place with that end
    lengths = stops - firsts
    begins = np.concatenate(([0], np.cumsum(lengths)[:-1]))
    places = np.repeat(firsts - begins, lengths) + np.arange(int(lengths.sum()))
    done = settled(order[places], begins)
    return np.asarray(active[~done[np.searchsorted(stops, ends[active])]])


def _batches(held: list[tuple[Array, Array]]) -> Iterator[tuple[Array, Array]]:
    one, other = (np.concatenate(side) for side in zip(*held, strict=True))
    for begin in range(0, len(one), BATCH):
        yield one[begin : begin + BATCH], other[begin : begin + BATCH]


def _hash(key: Array, signatures: Array, columns: list[int]) -> Array:
    for column in columns:
        key = mix(key ^ signatures[:, column].astype(np.uint64))
    return key
