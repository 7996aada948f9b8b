"""Spans of characters as tags of tokens, and back: B and I of each label, and O (Ramshaw and Marcus 1995)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loratory.measures.span_metrics import is_inside_word
from loratory.protocols import Offsets
from loratory.tasks import tag_schemes
from loratory.tasks.tag_schemes import BIO, TagScheme

Span = tuple[int, int, str]
CharRange = tuple[int, int]
Floats = NDArray[np.float64]
IGNORE_INDEX = -100  # of a token that holds no character: what torch's cross-entropy leaves out


@dataclass(frozen=True)
class ScoredSpan:
    """A span, and for each label how probable it is that the span carries it."""

    start: int
    end: int
    label: str
    probabilities: dict[str, float]


def list_tags(labels: Sequence[str]) -> tuple[str, ...]:
    """O, and B and I of each label, in the order of the outputs."""
    return BIO.list_tags(labels)


def parse_labels(tags: Sequence[str]) -> tuple[str, ...]:
    """The labels of whole BIO tags in any order, by their first appearance; raises ValueError where one is missing."""
    labels = tag_schemes.parse_labels(tags, BIO)
    if missing := [tag for tag in list_tags(labels) if tag not in tags]:
        raise ValueError(f"there is no {missing[0]}")
    return labels


def encode_tags(spans: Sequence[Span], offsets: Offsets, labels: Sequence[str]) -> list[int]:
    """The number of each token's tag. A token belongs to the span that it shares a character with."""
    place = {label: 1 + 2 * number for number, label in enumerate(labels)}
    made, begun = [], set[Span]()
    for start, end in offsets:
        span = next((span for span in spans if span[0] < end and start < span[1]), None)
        if start == end:
            made.append(IGNORE_INDEX)
        elif span is None:
            made.append(0)
        else:
            made.append(place[span[2]] + (span in begun))
            begun.add(span)
    return made


def merge_windows(windows: Sequence[tuple[Offsets, Floats]]) -> tuple[list[CharRange], Floats]:
    """Tokens of a text that was read in windows, in order, and their log-odds float[T, 2 L + 1].

    A token that several windows hold is believed where it stands farthest from an edge, where most is known around it.
    """
    best: dict[CharRange, tuple[int, Floats]] = {}
    for offsets, odds in windows:
        real = [k for k, (start, end) in enumerate(offsets) if start < end]
        for rank, k in enumerate(real):
            inside = min(rank, len(real) - 1 - rank)
            if offsets[k] not in best or best[offsets[k]][0] < inside:
                best[offsets[k]] = (inside, odds[k])
    order = sorted(best)
    rows = [best[place][1] for place in order]
    return order, np.stack(rows) if rows else np.zeros((0, 0))


def merge_word_tokens(
    log_probabilities: Floats, offsets: Sequence[CharRange], text: str
) -> tuple[list[CharRange], Floats]:
    """Tokens of a word as one: log-odds float[W, 2 L + 1] of the word's tags.

    A word is O where all its tokens are, B where the first is and the others go on, I where all go on; other tags of
    its tokens are left out, and the odds normalised again.
    """
    if not offsets:  # an empty text has no word
        return [], log_probabilities
    starts = [k for k in range(len(offsets)) if k == 0 or not _are_in_one_word(text, offsets[k - 1], offsets[k])]
    places, rows = [], []
    for start, stop in zip(starts, [*starts[1:], len(offsets)], strict=True):
        row = log_probabilities[start:stop].sum(0)
        row[1::2] = log_probabilities[start, 1::2] + log_probabilities[start + 1 : stop, 2::2].sum(0)
        rows.append(row - np.logaddexp.reduce(row))
        places.append((offsets[start][0], offsets[stop - 1][1]))
    return places, np.stack(rows)


def _are_in_one_word(text: str, before: CharRange, behind: CharRange) -> bool:
    """Whether two tokens stand in one run of letters and digits."""
    return behind[0] <= before[1] and is_inside_word(text, before[1])


def decode_spans(
    log_probabilities: Floats,
    offsets: Sequence[CharRange],
    span_labels: Sequence[str],
    text: str,
    scheme: TagScheme = BIO,
) -> list[ScoredSpan]:
    """The spans of the likeliest tags that the scheme allows (Viterbi 1967); odds are logarithms.

    White space at a span's edges is left out: byte-level tokens hold the space before a word.
    """
    found: list[ScoredSpan] = []
    path = viterbi(log_probabilities, scheme) if len(log_probabilities) else []
    place = 0
    while place < len(path):
        stop = place + 1
        if path[place]:
            while stop < len(path) and scheme.continues_span(path[stop - 1], path[stop]):
                stop += 1
            number, _ = scheme.split_tag_index(path[place])
            found += _build_spans(log_probabilities[place:stop], offsets[place:stop], span_labels, number, text)
        place = stop
    return found


def _build_spans(
    log_probabilities: Floats, offsets: Sequence[CharRange], labels: Sequence[str], label_index: int, text: str
) -> list[ScoredSpan]:
    """The span of these tokens; none where they hold white space alone."""
    start, end = offsets[0][0], offsets[-1][1]
    inner = text[start:end]
    start, end = start + len(inner) - len(inner.lstrip()), end - len(inner) + len(inner.rstrip())
    shares = (
        np.exp(log_probabilities)[:, 1:].reshape(len(log_probabilities), len(labels), -1).sum(-1)
    )  # any tag of each label
    sure = shares.min(0)  # as sure as of the least sure token
    each = dict(zip(labels, sure.tolist(), strict=True))
    return [ScoredSpan(start, end, labels[label_index], each)] if start < end else []


def viterbi(log_probabilities: Floats, scheme: TagScheme = BIO) -> list[int]:
    """The tags with the greatest sum of log-odds float[T, C] of all that the scheme allows."""
    steps, tags = log_probabilities.shape
    begin, allowed, end = build_transition_scores(scheme, tags)
    score = log_probabilities[0] + begin
    before = np.zeros((steps, tags), dtype=np.int64)
    for step in range(1, steps):
        each = score[:, None] + allowed
        before[step] = each.argmax(0)
        score = each.max(0) + log_probabilities[step]
    path = [int((score + end).argmax())]
    for step in range(steps - 1, 0, -1):
        path.append(int(before[step, path[-1]]))
    return path[::-1]


def build_transition_scores(scheme: TagScheme, count: int) -> tuple[Floats, Floats, Floats]:
    """0 where allowed and -inf where not: to begin with [C], from tag to tag [C, C], to end with [C].

    `count` is the number of tags, C.
    """
    begin = np.array([not tag or scheme.split_tag_index(tag)[1] in scheme.begin_kinds for tag in range(count)])
    end = np.array([not tag or scheme.split_tag_index(tag)[1] in scheme.end_kinds for tag in range(count)])
    within = [[scheme.continues_span(before, tag) for tag in range(count)] for before in range(count)]
    allowed = (end[:, None] & begin[None, :]) | np.array(within)
    return _to_log_mask(begin), _to_log_mask(allowed), _to_log_mask(end)


def _to_log_mask(allowed: NDArray[np.bool_]) -> Floats:
    return np.where(allowed, 0.0, -np.inf)
