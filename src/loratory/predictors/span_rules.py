"""Rules that find spans: expressions, phrases and validators in order, each with its precision on train."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import regex

from loratory.artifacts.verified_files import VerifiedFiles, open_files
from loratory.predictors.validators import VALIDATORS, Validator
from loratory.protocols import (
    BackbonePool,
    Input,
    ParameterCount,
    Prediction,
    RequestRunner,
    Spanned,
    Task,
    require_spanned,
)

CharRange = tuple[int, int]
SPAN_RULES_FILE = "span_rules.json"


@dataclass(frozen=True)
class SpanRule:
    """What speaks for a label: an expression, a validator's name, or phrases of whole words in any case."""

    label: str
    source: str  # pattern | validator | keyword | mined
    says: tuple[str, ...]
    precision: float = 1.0  # share of what it found in train that carried the label

    @cached_property
    def _validator(self) -> Validator:
        if self.source == "validator":
            return VALIDATORS[self.says[0]]
        if self.source == "pattern":
            return Validator(self.says[0])
        return Validator(r"(?i)(?<!\w)\L<phrases>(?!\w)", phrases=self.says)

    def find(self, text: str) -> Iterator[CharRange]:
        """Start and end of what it finds, within the time cap."""
        return self._validator.find(text)


@dataclass(frozen=True)
class SpanRules:
    """What an earlier finder found stands; a later one adds what overlaps none of it."""

    task: Spanned
    span_rules: tuple[SpanRule, ...]

    def predict(self, inputs: Sequence[Input], run: RequestRunner) -> list[Prediction]:
        return [self._predict_text(self.task.text(input)) for input in inputs]

    def _predict_text(self, text: str) -> Prediction:
        found = find_rule_spans(self.span_rules, text)
        answer = self.task.from_spans(text, [(start, end, finder.label) for start, end, finder in found])
        odds = {f"/spans/{k}/label": {f.label: f.precision} for k, (_, _, f) in enumerate(found)}
        return Prediction(answer, odds)

    def count_parameters(self) -> ParameterCount:
        rules = sum(len(finder.says) for finder in self.span_rules)
        return ParameterCount(trained=rules, total=rules)

    def save(self, folder: Path) -> None:
        save_span_rules(folder / SPAN_RULES_FILE, self.span_rules)

    @classmethod
    def load(cls, source: Path | VerifiedFiles, task: Task, backbones: BackbonePool) -> Self:
        return cls(require_spanned(task), load_span_rules(open_files(source)))


def find_rule_spans(rules: Sequence[SpanRule], text: str) -> list[tuple[int, int, SpanRule]]:
    """What is found, in the order of the text; of two that overlap, what the earlier finder found."""
    found: list[tuple[int, int, SpanRule]] = []
    for finder in rules:
        for start, end in finder.find(text):
            if all(end <= first or last <= start for first, last, _ in found):
                found.append((start, end, finder))
    return sorted(found, key=lambda one: one[0])


def apply_span_rules(task: Spanned, rules: Sequence[SpanRule], text: str, prediction: Prediction) -> Prediction:
    """A prediction in which what finders found stands, and spans that overlap it are left out."""
    if prediction.answer is None:
        return prediction
    sure = find_rule_spans(rules, text)
    kept: list[tuple[int, int, str, Mapping[str, float]]] = [
        (start, end, finder.label, {finder.label: finder.precision}) for start, end, finder in sure
    ]
    for number, (start, end, label) in enumerate(task.spans_of(prediction.answer)):
        if all(end <= first or last <= start for first, last, _ in sure):
            kept.append((start, end, label, prediction.probabilities[f"/spans/{number}/label"]))
    kept.sort(key=lambda one: one[0])
    answer = task.from_spans(text, [(start, end, label) for start, end, label, _ in kept])
    return Prediction(answer, {f"/spans/{k}/label": odds for k, (_, _, _, odds) in enumerate(kept)})


def save_span_rules(file: Path, rules: Sequence[SpanRule]) -> None:
    """As JSON."""
    rows = [asdict(finder) for finder in rules]
    file.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def load_span_rules(files: VerifiedFiles) -> tuple[SpanRule, ...]:
    """What `write` wrote; nothing where there is no file of them."""
    if not files.has(SPAN_RULES_FILE):
        return ()
    rows = files.read_json(SPAN_RULES_FILE)
    return tuple(SpanRule(**{**row, "says": tuple(row["says"])}) for row in rows)


def is_whole_word_phrase(phrase: str) -> bool:
    """Whether a phrase begins and ends with a letter or digit, so that it can be found as whole words."""
    return bool(regex.fullmatch(r"\w(?:.*\w)?", phrase, regex.DOTALL))
