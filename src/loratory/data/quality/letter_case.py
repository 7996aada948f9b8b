"""Whether capital letters tell where the spans are: then a base that lower-cases its texts loses what tells them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from loratory.data.quality.languages import MAX_SAMPLE_TEXTS, WORD_PATTERN
from loratory.protocols import Offsets, TokenIds

MIN_CASE_LEAD = 0.4  # share of capitalised words in spans less that of all other words
MIN_SPAN_WORDS = 30  # words of a label below which nothing is said about it
MIN_SAME_SHARE = 0.9  # share of texts with the same tokens as their small letters: above it the base lower-cases
SENTENCE_ENDS = frozenset(
    ".!?:;\n\"([{'\u2018\u2019\u201c\u201d\u00ab\u00bb"
)  # a word behind one may be capitalised for its place


class IdTokenizer(Protocol):
    """What is asked of a base's tokenizer."""

    def encode_batch(self, texts: Sequence[str], max_length: int | None = None) -> list[tuple[TokenIds, Offsets]]:
        """Of each text its ids and offsets."""


@dataclass(frozen=True)
class SpanCase:
    """How often words begin with a capital letter, the first of a sentence left out."""

    label: str  # the label of spans where it says most
    inside: float  # share of capitalised words in its spans
    outside: float  # share of them outside of all spans
    words: int  # words in its spans
    texts: int  # texts that were read

    @property
    def tells_spans(self) -> bool:
        """Whether a capital letter tells words of the label from the others."""
        return self.inside - self.outside >= MIN_CASE_LEAD


def measure_span_case(texts: Sequence[str], spans: Sequence[Sequence[tuple[int, int, str]]]) -> SpanCase | None:
    """The label whose words differ most in their capitals from words outside of spans; None where too few are seen.

    Args:
        texts: the texts, of which 2,000 are read.
        spans: of each text its spans (start, end, label) in characters.
    """
    step = max(1, len(texts) // MAX_SAMPLE_TEXTS)
    sample = list(zip(texts, spans, strict=True))[::step]
    words: Counter[str | None] = Counter()
    capitals: Counter[str | None] = Counter()
    for text, marked in sample:
        for match in WORD_PATTERN.finditer(text):
            if _begins_sentence(text, match.start()) or _is_in_code(text, *match.span()):
                continue
            label = next((name for start, end, name in marked if start <= match.start() < end), None)
            words[label] += 1
            capitals[label] += match.group()[0].isupper()
    outside = capitals[None] / max(1, words[None])
    found = [
        SpanCase(label, capitals[label] / count, outside, count, len(sample))
        for label, count in sorted((label, count) for label, count in words.items() if label is not None)
        if count >= MIN_SPAN_WORDS
    ]
    if words[None] < MIN_SPAN_WORDS:
        return None
    return max(found, key=lambda one: one.inside - one.outside, default=None)


def measure_lower_casing(tokenizer: IdTokenizer, texts: Sequence[str]) -> tuple[float, int]:
    """Share of the texts that have the same tokens in small letters, and how many texts hold capital letters."""
    mixed = [text for text in texts if text != text.lower()]
    pairs = zip(tokenizer.encode_batch(mixed), tokenizer.encode_batch([text.lower() for text in mixed]), strict=True)
    same = sum(list(one) == list(other) for (one, _), (other, _) in pairs)
    return same / max(1, len(mixed)), len(mixed)


def _begins_sentence(text: str, place: int) -> bool:
    before = text[:place].rstrip(" \t")
    return not before or before[-1] in SENTENCE_ENDS


def _is_in_code(text: str, start: int, end: int) -> bool:
    """Whether a digit or an underscore is beside the letters: codes such as GB82WEST are told by their digits."""
    return any(one.isdigit() or one == "_" for one in (*text[max(0, start - 1) : start], *text[end : end + 1]))
