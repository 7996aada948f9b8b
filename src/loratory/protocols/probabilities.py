"""The probabilities of very many labels, held as one row of numbers in place of a dict for each text."""

from __future__ import annotations

from collections.abc import Iterator, KeysView, Mapping, Sequence, ValuesView
from functools import lru_cache
from typing import Any

MAX_DICT_LABELS = 256  # up to here probabilities are plain dicts; a dict entry takes some 100 bytes


class PackedProbabilities(Mapping[str, float]):
    """Label -> probability, in float32 (four bytes each); all texts share one index of the labels."""

    __slots__ = ("index", "labels", "row")

    def __init__(self, labels: tuple[str, ...], index: Mapping[str, int], row: Any) -> None:
        self.labels, self.index, self.row = labels, index, row  # row: numpy float32[L]

    def __getitem__(self, label: str) -> float:
        return float(self.row[self.index[label]])

    def __iter__(self) -> Iterator[str]:
        return iter(self.labels)

    def __len__(self) -> int:
        return len(self.labels)

    def __contains__(self, label: object) -> bool:
        return label in self.index

    def __repr__(self) -> str:
        return f"PackedProbabilities({len(self)} labels)"

    def keys(self) -> KeysView[str]:
        return self.index.keys()

    def values(self) -> ValuesView[float]:
        made: Any = self.row.tolist()  # a list: all that a view is read for, and a hundred times faster
        return made  # type: ignore[no-any-return]


def build_probabilities(labels: Sequence[str], rows: Any) -> list[Mapping[str, float]]:
    """Of each row of a numpy array float[N, L], its probabilities by label."""
    if len(labels) <= MAX_DICT_LABELS:
        return [dict(zip(labels, row, strict=True)) for row in rows.tolist()]
    names, index = _index_labels(tuple(labels))
    return [PackedProbabilities(names, index, row) for row in rows.astype("float32", copy=False)]


def pack_probabilities(probabilities: Mapping[str, float]) -> Mapping[str, float]:
    """The same, packed where there are very many labels."""
    if len(probabilities) <= MAX_DICT_LABELS or isinstance(probabilities, PackedProbabilities):
        return probabilities
    import numpy as np

    return build_probabilities(tuple(probabilities), np.array([list(probabilities.values())]))[0]


def find_likeliest(probabilities: Mapping[str, float]) -> str:
    """The label of the highest probability; of equal ones the first."""
    if isinstance(probabilities, PackedProbabilities):
        return probabilities.labels[int(probabilities.row.argmax())]
    return max(probabilities, key=probabilities.__getitem__)


def find_highest(probabilities: Mapping[str, float]) -> float:
    """The highest probability."""
    if isinstance(probabilities, PackedProbabilities):
        return float(probabilities.row.max())
    return max(probabilities.values())


def keep_likeliest(probabilities: Mapping[str, float], most: int) -> dict[str, float]:
    """Of very many labels the `most` likeliest, likeliest first; of others all."""
    probabilities = pack_probabilities(probabilities)
    if not isinstance(probabilities, PackedProbabilities):
        return dict(probabilities)
    names = probabilities.labels
    row = probabilities.row
    some = row.argpartition(-most)[-most:] if most < len(row) else row.argsort()
    return {names[place]: float(row[place]) for place in some[(-row[some]).argsort(kind="stable")].tolist()}


@lru_cache(maxsize=16)
def _index_labels(labels: tuple[str, ...]) -> tuple[tuple[str, ...], dict[str, int]]:
    """One tuple and one index for all texts."""
    return labels, {label: place for place, label in enumerate(labels)}
