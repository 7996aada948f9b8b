"""Pairs of texts worth comparing: signatures cut into bands, texts that agree in a whole band (LSH)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from loratory.data.splitting.similarity import PERMUTATIONS, Array, mix_bits

MIN_RECALL = 0.9999  # least chance that a pair at the threshold becomes a candidate
PAIR_BATCH_SIZE = 1 << 16  # pairs handed on together
EXTRA_ROWS = 3  # rows that must agree besides, where a bucket is crowded


def choose_bands(threshold: float, recall: float = MIN_RECALL) -> tuple[int, int]:
    """Bands and rows: the most rows, and so the fewest candidates, that find a pair at the threshold surely enough.

    A pair of similarity s becomes a candidate with probability 1 - (1 - s^rows)^bands (Leskovec, Rajaraman and
    Ullman, Mining of Massive Datasets, 3.4). Candidates are verified, so false ones cost time only.
    """
    for rows in range(PERMUTATIONS, 0, -1):
        bands = PERMUTATIONS // rows
        if 1 - (1 - threshold**rows) ** bands >= recall:
            return bands, rows
    return PERMUTATIONS, 1


def compute_band_keys(
    signatures: Array, kinds: Array, bands_and_rows: tuple[int, int], max_bucket_size: int, levels: int
) -> Array:
    """A key per band and text: uint32[N, bands]. Texts of different `kinds` (int64[N]) never share one.

    `shape`: bands and rows. Where more than `crowd` texts share a key, as the texts of one template do, they must
    agree in MORE rows, and so on `levels` times: the most similar are met first, and the others not at all.
    """
    bands, rows = bands_and_rows
    made = np.empty((len(signatures), bands), np.uint32)
    for band in range(bands):
        columns = [(band * rows + row) % PERMUTATIONS for row in range(rows + levels * EXTRA_ROWS)]
        key = _hash_columns(mix_bits(kinds.astype(np.uint64)), signatures, columns[:rows])
        for level in range(rows, len(columns), EXTRA_ROWS):
            _, place, count = np.unique(key, return_inverse=True, return_counts=True)
            crowded = np.flatnonzero(count[place] > max_bucket_size)
            if not len(crowded):
                break
            key[crowded] = _hash_columns(key[crowded], signatures[crowded], columns[level : level + EXTRA_ROWS])
        made[:, band] = key.astype(np.uint32)
    return made


def find_candidate_pairs(
    keys: Array, find_settled: Callable[[Array, Array], Array]
) -> Iterator[tuple[int, Array, Array]]:
    """(band, one, other): pairs of texts with one key, nearest in order first; some come in several bands.

    `settled(texts, begins)` tells which buckets hold nothing to find any more: texts in the order of their buckets,
    and where in it each bucket begins. It is asked anew as more is found.
    """
    for band, key in enumerate(np.ascontiguousarray(keys.T)):
        order = np.argsort(key, kind="stable")
        fresh = np.concatenate(([True], key[order][1:] != key[order][:-1]))
        begins = np.flatnonzero(fresh)
        ends = np.append(begins[1:], len(order))[np.cumsum(fresh) - 1]
        for one, other in _pair_bucket_members(order, ends, find_settled):
            yield band, one, other


def _pair_bucket_members(
    order: Array, ends: Array, find_settled: Callable[[Array, Array], Array]
) -> Iterator[tuple[Array, Array]]:
    active = np.flatnonzero(np.arange(len(order)) + 1 < ends)
    held: list[tuple[Array, Array]] = []
    many, step = 0, 1
    while len(active):
        held.append((order[active], order[active + step]))
        many += len(active)
        ask = step & (step - 1) == 0  # 1, 2, 4, ...: what was joined meanwhile needs no more looks
        step += 1
        active = active[active + step < ends[active]]
        if many >= PAIR_BATCH_SIZE or ask or not len(active):
            yield from _batch_pairs(held)
            held, many = [], 0
        if ask and len(active):
            active = _drop_settled_buckets(active, order, ends, find_settled)


def _drop_settled_buckets(
    active: Array, order: Array, ends: Array, find_settled: Callable[[Array, Array], Array]
) -> Array:
    stops = np.unique(ends[active])
    firsts = np.searchsorted(ends, stops, side="left")  # `ends` ascends: the first place with that end
    lengths = stops - firsts
    begins = np.concatenate(([0], np.cumsum(lengths)[:-1]))
    places = np.repeat(firsts - begins, lengths) + np.arange(int(lengths.sum()))
    done = find_settled(order[places], begins)
    return np.asarray(active[~done[np.searchsorted(stops, ends[active])]])


def _batch_pairs(pairs: list[tuple[Array, Array]]) -> Iterator[tuple[Array, Array]]:
    one, other = (np.concatenate(side) for side in zip(*pairs, strict=True))
    for begin in range(0, len(one), PAIR_BATCH_SIZE):
        yield one[begin : begin + PAIR_BATCH_SIZE], other[begin : begin + PAIR_BATCH_SIZE]


def _hash_columns(key: Array, signatures: Array, columns: list[int]) -> Array:
    for column in columns:
        key = mix_bits(key ^ signatures[:, column].astype(np.uint64))
    return key
