"""Texts that occur more than once: in one part, across parts, or under two labels."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from loratory.data.examples import labels_of, texts_of
from loratory.data.groups import Pairs, normalise
from loratory.data.splits import Parts
from loratory.protocols import Labelled, Task

SHOWN = 10  # examples of each finding that the report lists


def conflicts(task: Task, parts: Parts) -> dict[str, Any]:
    """Texts under two labels. Case and white space are ignored; numbers and signs are not, for they may decide."""
    if not isinstance(task, Labelled):
        return {"count": 0, "examples": []}
    carried: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for _, examples in parts.items():
        for example, text, label in zip(examples, texts_of(task, examples), labels_of(task, examples), strict=True):
            carried[_folded(text)][label].append(example.origin)
    found = [{"text": text[:200], "labels": dict(labels)} for text, labels in carried.items() if len(labels) > 1]
    return {"count": len(found), "examples": found[:SHOWN]}


def overlaps(task: Task, parts: Parts, pairs: Pairs) -> list[dict[str, Any]]:
    """Leakage: how many examples of the later part have an equal or nearly equal text in the earlier."""
    texts = {name: _by_text(task, parts, name) for name, _ in parts.items()}
    alike = _alike(texts, pairs)
    found = []
    for one, other in combinations(("train", "validation", "calibration", "test"), 2):
        exact = [
            (texts[one][text][0], origin)
            for text, origins in texts[other].items()
            if text in texts[one]
            for origin in origins
        ]
        near = [
            (texts[one][like[0]][0], origin)
            for text, origins in texts[other].items()
            if text not in texts[one] and (like := [key for key in alike.get(text, ()) if key in texts[one]])
            for origin in origins
        ]
        if exact or near:
            size = sum(map(len, texts[other].values()))
            found.append(
                {
                    "parts": [one, other],
                    "exact": len(exact),
                    "near": len(near),
                    "share": (len(exact) + len(near)) / size,
                    "examples": [list(pair) for pair in (exact + near)[:SHOWN]],
                }
            )
    return found


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _by_text(task: Task, parts: Parts, name: str) -> dict[str, list[str]]:
    """Normalised text -> origins in one part."""
    examples = getattr(parts, name)
    origins: dict[str, list[str]] = defaultdict(list)
    for example, text in zip(examples, texts_of(task, examples), strict=True):
        origins[normalise(text)].append(example.origin)
    return dict(origins)


def _alike(texts: Mapping[str, Mapping[str, Sequence[str]]], pairs: Pairs) -> dict[str, list[str]]:
    """Normalised text -> the texts that are nearly it."""
    text_of = {origin: text for part in texts.values() for text, origins in part.items() for origin in origins}
    alike: dict[str, list[str]] = defaultdict(list)
    for one, other, _ in pairs.near:
        if one in text_of and other in text_of:
            alike[text_of[one]].append(text_of[other])
            alike[text_of[other]].append(text_of[one])
    return alike
