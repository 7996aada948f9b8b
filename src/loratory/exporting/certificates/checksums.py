"""Four numbers that stand for a matrix of hidden states: any change of weights, places or padding moves them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

CHECKSUM_TERMS = 4
Floats = NDArray[np.float64]


def compute_checksum(states: Floats) -> tuple[float, ...]:
    """c_k = sum H[t, d] cos(0.7 k (t+1) + 0.31 (2k+1) (d+1)) / sqrt(T D) for k = 1..4; H: float[T, D], or float[D].

    The weights differ from place to place, so that rows or columns that change places are seen.
    """
    matrix = np.atleast_2d(np.asarray(states, dtype=np.float64))
    rows, width = matrix.shape
    scale = np.sqrt(rows * width)
    return tuple(float((matrix * weights).sum() / scale) for weights in _build_weights(rows, width))


@lru_cache(maxsize=8)
def _build_weights(rows: int, width: int) -> tuple[Floats, ...]:
    t, d = np.arange(1, rows + 1, dtype=np.float64)[:, None], np.arange(1, width + 1, dtype=np.float64)[None]
    return tuple(np.cos(0.7 * k * t + 0.31 * (2 * k + 1) * d) for k in range(1, CHECKSUM_TERMS + 1))


def compare_checksums(found: Sequence[float], expected: Sequence[float]) -> float:
    """The largest difference of the four, as a share of the expected one where that is above 1."""
    return max(abs(a - b) / max(1.0, abs(b)) for a, b in zip(found, expected, strict=True))
