"""Rules that find spans: expressions, phrases and recognisers in order, each with its precision on train."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import regex

from loratory.predictors.recognisers import RECOGNISERS, Recogniser
from loratory.protocols import Input, Prediction, Run, Size, Spanned, Trunks

Place = tuple[int, int]


@dataclass(frozen=True)
class Finder:
    """What speaks for a label: an expression, a recogniser's name, or phrases of whole words in any case."""

    label: str
    source: str  # pattern | recogniser | keyword | mined
    says: tuple[str, ...]
    precision: float = 1.0  # share of what it found in train that carried the label

    @cached_property
    def _search(self) -> Recogniser:
        if self.source == "recogniser":
            return RECOGNISERS[self.says[0]]
        if self.source == "pattern":
            return Recogniser(self.says[0])
        return Recogniser(r"(?i)(?<!\w)\L<phrases>(?!\w)", phrases=self.says)

    def find(self, text: str) -> Iterator[Place]:
        """Start and end of what it finds, within the time cap."""
        return self._search.find(text)


@dataclass(frozen=True)
class Finders:
    """What an earlier finder found stands; a later one adds what overlaps none of it."""

    task: Spanned
    finders: tuple[Finder, ...]

    def predict(self, inputs: Sequence[Input], run: Run) -> list[Prediction]:
        return [self._read(self.task.text(input)) for input in inputs]

    def _read(self, text: str) -> Prediction:
        found: list[tuple[int, int, Finder]] = []
        for finder in self.finders:
            for start, end in finder.find(text):
                if all(end <= first or last <= start for first, last, _ in found):
                    found.append((start, end, finder))
        found.sort(key=lambda one: one[0])
        answer = self.task.from_spans(text, [(start, end, finder.label) for start, end, finder in found])
        odds = {f"/spans/{k}/label": {f.label: f.precision} for k, (_, _, f) in enumerate(found)}
        return Prediction(answer, odds)

    def size(self) -> Size:
        rules = sum(len(finder.says) for finder in self.finders)
        return Size(trained=rules, total=rules)

    def save(self, folder: Path) -> None:
        text = json.dumps([asdict(finder) for finder in self.finders], indent=1, ensure_ascii=False)
        (folder / "finders.json").write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, task: Any, trunks: Trunks) -> Self:
        rows = json.loads((folder / "finders.json").read_text(encoding="utf-8"))
        return cls(task, tuple(Finder(**{**row, "says": tuple(row["says"])}) for row in rows))


def whole(phrase: str) -> bool:
    """Whether a phrase begins and ends with a letter or digit, so that it can be found as whole words."""
    return bool(regex.fullmatch(r"\w(?:.*\w)?", phrase, regex.DOTALL))
