"""How the tags of a column of words are written, in which scheme. Everything is rewritten to IOB2 (BIO).

IO says the label alone. How a broken sequence is read: conlleval of CoNLL-2000.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from loratory.tasks.tag_schemes import OUTSIDE, TAG_SCHEMES

UNNAMED_LABEL = "SPAN"  # the label where the tags are B, I and O alone
SEPARATORS = ("-", "_")
NOTATION_SCHEMES = ("bio", "bioes", "bilou", "bmes", "bmewo")  # schemes that a column is read in, the commonest first
TAG_LETTERS = frozenset(kind for name in NOTATION_SCHEMES for kind in TAG_SCHEMES[name].kinds)
MIN_MATCHING_SHARE = 0.5  # share of the tags that must fit, so that a typo does not hide the scheme


@dataclass(frozen=True)
class TagNotation:
    """What the tags of a column mean."""

    scheme: str  # one of NOTATION_SCHEMES, or io
    separator: str  # between mark and label; empty where the tags are labels or marks alone
    is_suffix: bool = False  # whether the mark stands behind the label: PER-B

    @property
    def marks_ends(self) -> bool:
        """Whether the end of a span is marked."""
        return self.scheme not in ("bio", "io")

    def describe(self) -> str:
        """The scheme in words."""
        if self.scheme == "io":
            return "IO (bare labels; neighbours of one label are one span)"
        if not self.separator:
            return f"{self.scheme.upper()} without labels (every span is called {UNNAMED_LABEL})"
        form = f"LABEL{self.separator}B" if self.is_suffix else f"B{self.separator}LABEL"
        name = self.scheme.upper()
        return name if form == "B-LABEL" else f"{name} written {form}"

    def split(self, tag: str) -> tuple[str, str]:
        """What the tag means (O, B, I, E, S, or nothing where it is no tag of the scheme) and its label."""
        if tag.upper() == OUTSIDE:
            return OUTSIDE, ""
        if self.scheme == "io":
            return ("I", tag) if tag.strip() else ("", "")
        mark, label = _split_tag(tag, self.separator, self.is_suffix) if self.separator else (tag, UNNAMED_LABEL)
        return TAG_SCHEMES[self.scheme].roles.get(mark.upper(), "") if label else "", label


@dataclass(frozen=True)
class BioTags:
    """The tags of one text as IOB2, and what was odd about them."""

    tags: list[str]
    stray_positions: list[int]  # positions of spans that begin with a tag that goes on or ends
    redundant_begins: int  # spans that begin with B where no span of their label stands before: none in IOB1
    missing_ends: int  # spans whose end is not marked, where the scheme marks ends


def detect_notation(tags: Counter[str]) -> TagNotation | None:
    """The scheme of a column, from its tags and how often each stands; None where they are no tags."""
    marked = Counter({tag: count for tag, count in tags.items() if tag.upper() != OUTSIDE})
    if not marked or "" in marked:
        return None
    forms = [
        (_compute_matching_share(marked, separator, behind), separator, behind)
        for behind in (False, True)
        for separator in SEPARATORS
    ]
    share, separator, behind = max(forms, key=lambda form: form[0])
    if share >= MIN_MATCHING_SHARE:
        letters = _count_letters(marked, separator, behind)
        return TagNotation(max(NOTATION_SCHEMES, key=lambda name: _count_covered(letters, name)), separator, behind)
    letters = Counter({tag.upper(): count for tag, count in marked.items()})
    if OUTSIDE in tags and set(letters) <= TAG_LETTERS and {"B", "I"} & set(letters):
        return TagNotation(max(NOTATION_SCHEMES, key=lambda name: _count_covered(letters, name)), "")
    bare = share == 0 and tags[OUTSIDE] >= max(marked.values())
    return TagNotation("io", "") if bare else None


def to_bio(tags: Sequence[str], notation: TagNotation, known_labels: frozenset[str] | None = None) -> BioTags:
    """The tags as IOB2. A tag that is none of the scheme stays as it is, so that the reader refuses it by name.

    `known` are the labels that spans begin with: a stray tag of another label is taken for a typo and stays too.
    """
    made: list[str] = []
    strays: list[int] = []
    needless = unended = 0
    inside = last = ""  # the label of the span that is open; of the word before
    for place, tag in enumerate(tags):
        role, label = notation.split(tag)
        begins = role in ("B", "S") or (role in ("I", "E") and label != inside)
        unended += bool(inside) and notation.marks_ends and (begins or role not in ("I", "E"))
        needless += role == "B" and label != last
        if begins and role in ("I", "E") and notation.scheme != "io":
            strays.append(place)
            if known_labels is not None and label not in known_labels:
                made.append(f"I-{label}")
                inside, last = "", label
                continue
        made.append(f"{'B' if begins else 'I'}-{label}" if role not in ("", OUTSIDE) else OUTSIDE if role else tag)
        inside = label if role in ("B", "I") else ""
        last = label
    return BioTags(made, strays, needless, unended + (bool(inside) and notation.marks_ends))


def collect_begun_labels(sequences: Iterable[Sequence[str]], notation: TagNotation) -> frozenset[str]:
    """The labels that spans begin with as the scheme has it."""
    split = (notation.split(tag) for tags in sequences for tag in tags)
    return frozenset(label for role, label in split if role in ("B", "S"))


def _split_tag(tag: str, separator: str, behind: bool) -> tuple[str, str]:
    """Mark and label of a tag; both empty where the separator does not stand in it."""
    first, found, rest = tag.rpartition(separator) if behind else tag.partition(separator)
    return ((rest, first) if behind else (first, rest)) if found else ("", "")


def _count_letters(tag_counts: Counter[str], separator: str, behind: bool) -> Counter[str]:
    letters: Counter[str] = Counter()
    for tag, count in tag_counts.items():
        mark, label = _split_tag(tag, separator, behind)
        if label:
            letters[mark.upper()] += count
    return letters


def _compute_matching_share(tag_counts: Counter[str], separator: str, behind: bool) -> float:
    letters = _count_letters(tag_counts, separator, behind)
    return sum(letters[mark] for mark in TAG_LETTERS) / tag_counts.total()


def _count_covered(letters: Counter[str], scheme: str) -> int:
    return sum(letters[kind] for kind in TAG_SCHEMES[scheme].kinds)
