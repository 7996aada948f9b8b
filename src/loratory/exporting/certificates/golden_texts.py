"""Which texts a form is compared on: test texts of every label and length, and those that we wrote."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from loratory.exporting.certificates.adversarial_texts import WRITTEN_TEXTS
from loratory.protocols import JSON

MAX_TEST_TEXTS = 112
BOUNDARY_TEXTS = 6  # test texts on which the fit is least sure
BOUNDARY_ID = "adversarial-boundary-"  # and a number
MIXED_PAIRS = 3  # pairs of texts made of the halves of two test texts of different labels


@dataclass(frozen=True)
class GoldenText:
    """A text that the fit and every form of it read. `label` is the expected one of a test text."""

    id: str
    kind: Literal["test", "adversarial"]
    text: str
    label: str | None = None
    input: Mapping[str, JSON] = field(default_factory=dict)  # of the task, where a text alone is not one

    def to_dict(self) -> dict[str, Any]:
        """As a line of golden.jsonl."""
        beside = {"input": dict(self.input)} if self.input else {}
        return {"id": self.id, "kind": self.kind, "text": self.text, "label": self.label, **beside}

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> GoldenText:
        """What `to_dict` made; raises KeyError, TypeError for another row."""
        return cls(row["id"], row["kind"], row["text"], row["label"], row.get("input") or {})


def select_golden_texts(
    texts: Sequence[str], labels: Sequence[str], margins: Sequence[float] | None = None
) -> list[GoldenText]:
    """Of test texts those of every label and length and those nearest to a boundary, then the texts that we wrote.

    margins: how sure a fit is of each test text, where that is known. The same texts give the same choice.
    """
    places = select_stratified(texts, labels, MAX_TEST_TEXTS)
    if margins is not None:
        nearest = [int(at) for at in np.argsort(np.asarray(margins), kind="stable")[:BOUNDARY_TEXTS]]
        places = sorted({*places, *nearest})
    made = [GoldenText(f"test-{at:04d}", "test", texts[at], labels[at] or None) for at in places]
    made += [GoldenText(f"adversarial-{name}", "adversarial", text) for name, text in WRITTEN_TEXTS.items()]
    return made + mix_halves([one for one in made if one.label])


def select_stratified(texts: Sequence[str], labels: Sequence[str], count: int) -> list[int]:
    """Places of at most `count` texts: as many of each label, from its shortest to its longest."""
    strata: dict[str, list[int]] = defaultdict(list)
    for place, label in enumerate(labels):
        strata[label].append(place)
    each = max(count // max(len(strata), 1), 1)
    chosen: list[int] = []
    for label in sorted(strata):
        ordered = sorted(strata[label], key=lambda place: (len(texts[place]), texts[place]))
        steps = np.linspace(0, len(ordered) - 1, min(each, len(ordered)))
        chosen += [ordered[round(step)] for step in steps]
    if len(chosen) > count:  # more labels than texts: from the shortest to the longest of all
        chosen.sort(key=lambda place: (len(texts[place]), texts[place]))
        chosen = [chosen[round(step)] for step in np.linspace(0, len(chosen) - 1, count)]
    return sorted(set(chosen))


def mix_halves(golden_texts: Sequence[GoldenText]) -> list[GoldenText]:
    """Texts near a boundary: the first half of one text with the second of another label's, and the other way round."""
    firsts = list({one.label: one for one in reversed(golden_texts)}.values())[::-1]
    made = []
    for number, (one, other) in enumerate(itertools.pairwise(firsts[: MIXED_PAIRS + 1]), 1):
        halves = [
            (" ".join(words[: len(words) // 2]), " ".join(words[len(words) // 2 :]))
            for words in (one.text.split(), other.text.split())
        ]
        (a, b), (c, d) = halves
        made += [
            GoldenText(f"{BOUNDARY_ID}{number}{side}", "adversarial", f"{first} {second}".strip())
            for side, first, second in (("a", a, d), ("b", c, b))
        ]
    return made
