"""Rules: expressions and phrases in order, each with the label odds measured on train."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import regex

from loratory.artifacts.verified_files import VerifiedFiles, open_files
from loratory.predictors.linear import WORD, word_ngrams
from loratory.protocols import (
    BackbonePool,
    Input,
    Labelled,
    ParameterCount,
    Prediction,
    RequestRunner,
    Task,
    require_labelled,
)
from loratory.protocols.probabilities import pack_probabilities

PATTERN_TIMEOUT_SECONDS = 0.05  # a user's pattern may backtrack without end: past this it counts as no match


@dataclass(frozen=True)
class LabelRule:
    """A pattern that speaks for a label: a regular expression, or (keyword, mined) a phrase of words."""

    label: str
    pattern: str
    source: str  # pattern | keyword | mined

    @property
    def phrase(self) -> str:
        """The phrase's words, lower-cased and joined by single spaces."""
        return " ".join(WORD.findall(self.pattern.lower()))


@dataclass(frozen=True)
class LabelRules:
    """The first rule that matches answers. odds has one entry per rule and a last one for "none matched"."""

    task: Labelled
    rules: tuple[LabelRule, ...]
    probabilities: tuple[Mapping[str, float], ...]

    @cached_property
    def _compiled_patterns(self) -> list[tuple[int, regex.Pattern[str]]]:
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
    def _longest_phrase(self) -> int:
        return max((phrase.count(" ") + 1 for phrase in self._phrases), default=0)

    def find_first_match(self, text: str) -> int:
        """Index of the first rule that matches, len(rules) when none does."""
        spoken = (
            self._phrases[phrase] for phrase in word_ngrams(text, 1, self._longest_phrase) if phrase in self._phrases
        )
        said = min(spoken, default=len(self.rules))
        return next((i for i, pattern in self._compiled_patterns if i < said and pattern_matches(pattern, text)), said)

    def predict(self, inputs: Sequence[Input], run: RequestRunner) -> list[Prediction]:
        odds = [pack_probabilities(each) for each in self.probabilities]
        return [self.task.from_probabilities(i, odds[self.find_first_match(self.task.text(i))]) for i in inputs]

    def count_parameters(self) -> ParameterCount:
        return ParameterCount(
            trained=len(self.probabilities) * len(self.task.labels or ()),
            total=len(self.probabilities) * len(self.task.labels or ()),
        )

    def save(self, folder: Path) -> None:
        rows = [[rule.label, rule.pattern, rule.source] for rule in self.rules]
        text = json.dumps({"rules": rows, "probabilities": self.probabilities}, indent=1)
        (folder / "label_rules.json").write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, source: Path | VerifiedFiles, task: Task, backbones: BackbonePool) -> Self:
        facts = open_files(source).read_json("label_rules.json")
        return cls(
            require_labelled(task), tuple(LabelRule(*row) for row in facts["rules"]), tuple(facts["probabilities"])
        )


def pattern_matches(pattern: regex.Pattern[str], text: str) -> bool:
    """Whether a compiled pattern is found in the text within the time cap."""
    try:
        return pattern.search(text, timeout=PATTERN_TIMEOUT_SECONDS) is not None
    except TimeoutError:
        return False
