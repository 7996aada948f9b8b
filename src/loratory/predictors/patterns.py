"""Rules: expressions and phrases in order, each with the label odds measured on train."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import regex

from loratory.artifacts.contents import Files, files_of
from loratory.predictors.linear import WORD, words
from loratory.protocols import Input, Labelled, Prediction, Run, Size, Trunks

SECONDS = 0.05  # a user's pattern may backtrack without end: past this it counts as no match


@dataclass(frozen=True)
class Rule:
    """A pattern that speaks for a label: a regular expression, or (keyword, mined) a phrase of words."""

    label: str
    pattern: str
    source: str  # pattern | keyword | mined

    @property
    def phrase(self) -> str:
        """The phrase's words, lower-cased and joined by single spaces."""
        return " ".join(WORD.findall(self.pattern.lower()))


@dataclass(frozen=True)
class Patterns:
    """The first rule that matches answers. odds has one entry per rule and a last one for "none matched"."""

    task: Labelled
    rules: tuple[Rule, ...]
    odds: tuple[Mapping[str, float], ...]

    @cached_property
    def _compiled(self) -> list[tuple[int, Any]]:
        return [
            (i, regex.compile(rule.pattern, regex.IGNORECASE))
            for i, rule in enumerate(self.rules)
            if rule.source == "pattern"
        ]

    @cached_property
    def _phrases(self) -> dict[str, int]:
        ranked = {rule.phrase: i for i, rule in reversed(list(enumerate(self.rules))) if rule.source != "pattern"}
        ranked.pop("", None)
        return ranked

    @cached_property
    def _longest(self) -> int:
        return max((phrase.count(" ") + 1 for phrase in self._phrases), default=0)

    def first(self, text: str) -> int:
        """Index of the first rule that matches, len(rules) when none does."""
        spoken = (self._phrases[phrase] for phrase in words(text, 1, self._longest) if phrase in self._phrases)
        said = min(spoken, default=len(self.rules))
        return next((i for i, pattern in self._compiled if i < said and matches(pattern, text)), said)

    def predict(self, inputs: Sequence[Input], run: Run) -> list[Prediction]:
        return [self.task.from_odds(i, self.odds[self.first(self.task.text(i))]) for i in inputs]

    def size(self) -> Size:
        return Size(
            trained=len(self.odds) * len(self.task.labels or ()), total=len(self.odds) * len(self.task.labels or ())
        )

    def save(self, folder: Path) -> None:
        rows = [[rule.label, rule.pattern, rule.source] for rule in self.rules]
        text = json.dumps({"rules": rows, "odds": self.odds}, indent=1)
        (folder / "patterns.json").write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, source: Path | Files, task: Any, trunks: Trunks) -> Self:
        facts = files_of(source).json("patterns.json")
        return cls(task, tuple(Rule(*row) for row in facts["rules"]), tuple(facts["odds"]))


def matches(pattern: Any, text: str) -> bool:
    """Whether a compiled pattern is found in the text within the time cap."""
    try:
        return pattern.search(text, timeout=SECONDS) is not None
    except TimeoutError:
        return False
