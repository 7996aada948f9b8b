"""What spans of train teach rules: which recognisers are right there, and which wordings carry a label."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from loratory.predictors.finders import Finder, whole
from loratory.predictors.recognisers import RECOGNISERS

RecogniserName = Literal["card", "iban", "ssn", "email", "ip", "url", "phone"]
Marked = Sequence[tuple[str, Sequence[tuple[int, int, str]]]]  # texts and their spans
LEAST = 3  # finds in train, before a recogniser is believed
WORDY = 2  # spans in train, before a wording is believed
SHORTEST = 2  # characters of a wording


def precision_of(finder: Finder, marked: Marked) -> float:
    """Share of a finder's finds that are spans of its label, smoothed by one that is right."""
    right = found = 0
    for text, spans in marked:
        places = set(finder.find(text))
        found += len(places)
        right += len(places & {(start, end) for start, end, label in spans if label == finder.label})
    return (right + 1) / (found + 1)


def believed(wanted: Literal["auto"] | Mapping[RecogniserName, str], marked: Marked, precision: float) -> list[Finder]:
    """The recognisers that somebody maps to labels, or those that were right on train."""
    if wanted == "auto":
        return recognised(marked, precision)
    named = [Finder(label, "recogniser", (name,)) for name, label in wanted.items()]
    return [replace(finder, precision=precision_of(finder, marked)) for finder in named]


def recognised(marked: Marked, precision: float) -> list[Finder]:
    """Each recogniser whose finds in train are spans of one label, to at least this share; the most special first.

    What one recogniser has found does not speak for the next: a card number has the form of a phone number too.
    """
    made: list[Finder] = []
    for name in RECOGNISERS:
        finder = Finder("", "recogniser", (name,))
        labels: Counter[str] = Counter()
        for text, spans in marked:
            taken = {place for earlier in made for place in earlier.find(text)}
            there = {(start, end): label for start, end, label in spans}
            labels.update(there.get(place, "") for place in finder.find(text) if place not in taken)
        best = max((label for label in labels if label), key=lambda label: (labels[label], label), default=None)
        if best and labels[best] >= LEAST and labels[best] / labels.total() >= precision:
            made.append(Finder(best, "recogniser", (name,), labels[best] / labels.total()))
    return made


def wordings(marked: Marked, most: int, precision: float) -> list[Finder]:
    """A finder for each label: its `most` commonest wordings of which nearly every mention in train carries it."""
    spoken: dict[str, Counter[str]] = defaultdict(Counter)
    for text, spans in marked:
        for start, end, label in spans:
            if end - start >= SHORTEST and whole(text[start:end]):
                spoken[label][text[start:end].lower()] += 1
    finders = []
    for label, counts in sorted(spoken.items()):
        often = [words for words, count in counts.most_common() if count >= WORDY]
        kept = _trusted(label, often, marked, precision)[:most] if most else []
        if kept:
            finder = Finder(label, "mined", tuple(kept))
            finders.append(replace(finder, precision=precision_of(finder, marked)))
    return sorted(finders, key=lambda finder: -finder.precision)


def _trusted(label: str, phrases: Sequence[str], marked: Marked, precision: float) -> list[str]:
    """Phrases of which so many mentions are spans of the label."""
    if not phrases:
        return []
    finder, said, right = Finder(label, "mined", tuple(phrases)), Counter[str](), Counter[str]()
    for text, spans in marked:
        there = {(start, end) for start, end, of in spans if of == label}
        for start, end in finder.find(text):
            said[text[start:end].lower()] += 1
            right[text[start:end].lower()] += (start, end) in there
    return [phrase for phrase in phrases if said[phrase] and right[phrase] / said[phrase] >= precision]
