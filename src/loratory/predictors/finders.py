"""Rules that find spans: expressions, phrases and recognisers in order, each with its precision on train."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import regex

from loratory.artifacts.contents import Files, files_of
from loratory.predictors.recognisers import RECOGNISERS, Recogniser
from loratory.protocols import Input, Prediction, Run, Size, Spanned, Trunks

Place = tuple[int, int]
FILE = "finders.json"


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
        found = found_by(self.finders, text)
        answer = self.task.from_spans(text, [(start, end, finder.label) for start, end, finder in found])
        odds = {f"/spans/{k}/label": {f.label: f.precision} for k, (_, _, f) in enumerate(found)}
        return Prediction(answer, odds)

    def size(self) -> Size:
        rules = sum(len(finder.says) for finder in self.finders)
        return Size(trained=rules, total=rules)

    def save(self, folder: Path) -> None:
        write(folder / FILE, self.finders)

    @classmethod
    def load(cls, source: Path | Files, task: Any, trunks: Trunks) -> Self:
        return cls(task, read(files_of(source)))


def found_by(finders: Sequence[Finder], text: str) -> list[tuple[int, int, Finder]]:
    """What is found, in the order of the text; of two that overlap, what the earlier finder found."""
    found: list[tuple[int, int, Finder]] = []
    for finder in finders:
        for start, end in finder.find(text):
            if all(end <= first or last <= start for first, last, _ in found):
                found.append((start, end, finder))
    return sorted(found, key=lambda one: one[0])


def assisted(task: Any, finders: Sequence[Finder], text: str, made: Prediction) -> Prediction:
    """A prediction in which what finders found stands, and spans that overlap it are left out."""
    if made.answer is None:
        return made
    sure = found_by(finders, text)
    kept: list[tuple[int, int, str, Mapping[str, float]]] = [
        (start, end, finder.label, {finder.label: finder.precision}) for start, end, finder in sure
    ]
    for number, (start, end, label) in enumerate(task.spans_of(made.answer)):
        if all(end <= first or last <= start for first, last, _ in sure):
            kept.append((start, end, label, made.probabilities[f"/spans/{number}/label"]))
    kept.sort(key=lambda one: one[0])
    answer = task.from_spans(text, [(start, end, label) for start, end, label, _ in kept])
    return Prediction(answer, {f"/spans/{k}/label": odds for k, (_, _, _, odds) in enumerate(kept)})


def write(file: Path, finders: Sequence[Finder]) -> None:
    """As JSON."""
    rows = [asdict(finder) for finder in finders]
    file.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read(files: Files) -> tuple[Finder, ...]:
    """What `write` wrote; nothing where there is no file of them."""
    if not files.has(FILE):
        return ()
    rows = files.json(FILE)
    return tuple(Finder(**{**row, "says": tuple(row["says"])}) for row in rows)


def whole(phrase: str) -> bool:
    """Whether a phrase begins and ends with a letter or digit, so that it can be found as whole words."""
    return bool(regex.fullmatch(r"\w(?:.*\w)?", phrase, regex.DOTALL))
