"""What spans of train teach rules: which validators are right there, and which wordings carry a label."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from loratory.predictors.span_rules import SpanRule, is_whole_word_phrase
from loratory.predictors.validators import VALIDATORS

ValidatorName = Literal["card", "iban", "ssn", "email", "ip", "url", "phone"]
LabelledTexts = Sequence[tuple[str, Sequence[tuple[int, int, str]]]]  # texts and their spans
MIN_VALIDATOR_MATCHES = 3  # finds in train, before a validator is believed
MIN_PHRASE_SPANS = 2  # spans in train, before a wording is believed
MIN_PHRASE_CHARACTERS = 2  # characters of a wording


def compute_precision(rule: SpanRule, labelled_texts: LabelledTexts) -> float:
    """Share of a finder's finds that are spans of its label, smoothed by one that is right."""
    right = found = 0
    for text, spans in labelled_texts:
        places = set(rule.find(text))
        found += len(places)
        right += len(places & {(start, end) for start, end, label in spans if label == rule.label})
    return (right + 1) / (found + 1)


def select_by_precision(
    validators: Literal["auto"] | Mapping[ValidatorName, str], labelled_texts: LabelledTexts, precision: float
) -> list[SpanRule]:
    """The validators that somebody maps to labels, or those that were right on train."""
    if validators == "auto":
        return select_validators(labelled_texts, precision)
    named = [SpanRule(label, "validator", (name,)) for name, label in validators.items()]
    return [replace(finder, precision=compute_precision(finder, labelled_texts)) for finder in named]


def select_validators(labelled_texts: LabelledTexts, precision: float) -> list[SpanRule]:
    """Each validator whose finds in train are spans of one label, to at least this share; the most special first.

    What one validator has found does not speak for the next: a card number has the form of a phone number too.
    """
    made: list[SpanRule] = []
    for name in VALIDATORS:
        finder = SpanRule("", "validator", (name,))
        labels: Counter[str] = Counter()
        for text, spans in labelled_texts:
            taken = {place for earlier in made for place in earlier.find(text)}
            there = {(start, end): label for start, end, label in spans}
            labels.update(there.get(place, "") for place in finder.find(text) if place not in taken)
        best = max((label for label in labels if label), key=lambda label: (labels[label], label), default=None)
        if best and labels[best] >= MIN_VALIDATOR_MATCHES and labels[best] / labels.total() >= precision:
            made.append(SpanRule(best, "validator", (name,), labels[best] / labels.total()))
    return made


def mine_phrases(labelled_texts: LabelledTexts, max_phrases: int, precision: float) -> list[SpanRule]:
    """A finder for each label: its `most` commonest wordings of which nearly every mention in train carries it."""
    spoken: dict[str, Counter[str]] = defaultdict(Counter)
    for text, spans in labelled_texts:
        for start, end, label in spans:
            if end - start >= MIN_PHRASE_CHARACTERS and is_whole_word_phrase(text[start:end]):
                spoken[label][text[start:end].lower()] += 1
    finders = []
    for label, counts in sorted(spoken.items()):
        often = [words for words, count in counts.most_common() if count >= MIN_PHRASE_SPANS]
        kept = _filter_by_precision(label, often, labelled_texts, precision)[:max_phrases] if max_phrases else []
        if kept:
            finder = SpanRule(label, "mined", tuple(kept))
            finders.append(replace(finder, precision=compute_precision(finder, labelled_texts)))
    return sorted(finders, key=lambda finder: -finder.precision)


def _filter_by_precision(
    label: str, phrases: Sequence[str], labelled_texts: LabelledTexts, precision: float
) -> list[str]:
    """Phrases of which so many mentions are spans of the label."""
    if not phrases:
        return []
    finder, said, right = SpanRule(label, "mined", tuple(phrases)), Counter[str](), Counter[str]()
    for text, spans in labelled_texts:
        there = {(start, end) for start, end, of in spans if of == label}
        for start, end in finder.find(text):
            said[text[start:end].lower()] += 1
            right[text[start:end].lower()] += (start, end) in there
    return [phrase for phrase in phrases if said[phrase] and right[phrase] / said[phrase] >= precision]
