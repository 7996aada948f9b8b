"""Tag schemes: what the tags of a label are, what each means, and which may stand behind which.

BIO is Ramshaw and Marcus 1995 as CoNLL-2002 writes it (IOB2), IOB1 as they wrote it (CoNLL-2003), BIOES and BILOU are
those of Ratinov and Roth 2009, and BMES and BMEWO name the same marks otherwise; IO has no tag that begins a span, so
spans of one label that touch are one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

OUTSIDE = "O"  # the tag of a word or token in no span


@dataclass(frozen=True)
class TagScheme:
    """Kinds of tags. Tag 0 is O; tag 1 + K l + k is kind k of label l."""

    kinds: tuple[str, ...]  # "" of a label that is its own tag
    begin_kinds: frozenset[str]  # kinds that a span can begin with
    end_kinds: frozenset[str]  # kinds that a span can end with
    following_kinds: Mapping[str, frozenset[str]]  # kind -> kinds that go on with its span
    roles: Mapping[str, str]  # kind -> B begins a span, I goes on with it, E ends it, S is a span of one word

    def format_tag(self, kind: str, label: str) -> str:
        """The tag of a label: "B-PER"; the label itself in a scheme without kinds."""
        return f"{kind}-{label}" if kind else label

    def list_tags(self, labels: Sequence[str]) -> tuple[str, ...]:
        """O, and every kind of each label, in the order of the outputs."""
        return (OUTSIDE, *(self.format_tag(kind, label) for label in labels for kind in self.kinds))

    def parse_label(self, tag: str) -> str | None:
        """The label of a tag, or None where it is none of this scheme."""
        if self.kinds == ("",):
            return tag if tag != OUTSIDE and tag else None
        kind, _, label = tag.partition("-")
        return label or None if kind in self.kinds else None

    def split_tag_index(self, tag: int) -> tuple[int, str]:
        """Label's number and kind of a tag that is not O."""
        return (tag - 1) // len(self.kinds), self.kinds[(tag - 1) % len(self.kinds)]

    def continues_span(self, before: int, tag: int) -> bool:
        """Whether a tag goes on with the span of the one before it."""
        if not before or not tag:
            return False
        (label, kind), (other, next_kind) = self.split_tag_index(before), self.split_tag_index(tag)
        return label == other and next_kind in self.following_kinds[kind]


def _build_scheme(**roles: str) -> TagScheme:
    """From what each kind means: B begins a span, I goes on, E ends it, S is a span of one word."""
    begins = frozenset(kind for kind, role in roles.items() if role in ("B", "S"))
    ends = frozenset(kind for kind, role in roles.items() if role in ("E", "S"))
    inner = frozenset(kind for kind, role in roles.items() if role in ("I", "E"))
    following = {kind: inner if role in ("B", "I") else frozenset[str]() for kind, role in roles.items()}
    return TagScheme(tuple(roles), begins, ends or frozenset(roles), following, roles)


def _build_endless_scheme(kind: str) -> TagScheme:
    """Of one kind of tag: spans of one label that touch are one."""
    only = frozenset((kind,))
    return TagScheme((kind,), only, only, {kind: only}, {kind: "I"})


BIO = _build_scheme(B="B", I="I")
TAG_SCHEMES: Mapping[str, TagScheme] = {
    "bio": BIO,
    "iob1": replace(BIO, begin_kinds=frozenset("BI")),
    "io": _build_endless_scheme("I"),
    "bioes": _build_scheme(B="B", I="I", E="E", S="S"),
    "bilou": _build_scheme(B="B", I="I", L="E", U="S"),
    "bmes": _build_scheme(B="B", M="I", E="E", S="S"),
    "bmewo": _build_scheme(B="B", M="I", E="E", W="S"),
    "plain": _build_endless_scheme(""),  # a label is its own tag: as IO
}
DETECTED_SCHEMES = ("io", "bio", "bioes", "bilou")  # schemes that the names of a classifier's outputs tell
DETECTED_KINDS = frozenset(kind for name in DETECTED_SCHEMES for kind in TAG_SCHEMES[name].kinds)


def detect_scheme_name(tags: Sequence[str]) -> str:
    """The name of the scheme that tags are of; raises ValueError where they are of none.

    Names alone do not tell BIO from IOB1: BIO is meant, unless a label has no B.
    """
    if OUTSIDE not in tags:
        raise ValueError(f"there is no {OUTSIDE}")
    others = [tag for tag in tags if tag != OUTSIDE]
    kinds = {tag[0] for tag in others if tag[:1] in DETECTED_KINDS and tag[1:2] == "-" and tag[2:]}
    if not kinds:
        return "plain"
    for name in DETECTED_SCHEMES:
        if kinds <= set(TAG_SCHEMES[name].kinds):
            labels = {tag[2:] for tag in others}
            lacks = name == "bio" and any(f"B-{label}" not in others for label in labels)
            return "iob1" if lacks else name
    raise ValueError(f"{', '.join(sorted(kinds))} are not the kinds of one scheme")


def parse_labels(tags: Sequence[str], scheme: TagScheme) -> tuple[str, ...]:
    """The labels of a scheme's tags in any order, by their first appearance.

    A tag that a model never gives may be missing. Raises ValueError where O is, where a label can never make a span,
    where a tag is there twice, or something else is among them.
    """
    others = [tag for tag in tags if tag != OUTSIDE]
    if odd := [tag for tag in others if scheme.parse_label(tag) is None]:
        raise ValueError(f"{odd[0]!r} is no tag")
    labels = tuple(dict.fromkeys(scheme.parse_label(tag) or "" for tag in others))
    if len(set(tags)) < len(tags) or not labels:
        raise ValueError("a tag is there twice" if labels else "there is no label")
    if OUTSIDE not in tags:
        raise ValueError(f"there is no {OUTSIDE}")
    for label in labels:
        kinds = {kind for kind in scheme.kinds if scheme.format_tag(kind, label) in others}
        if not kinds & scheme.begin_kinds or not kinds & scheme.end_kinds:
            missing = sorted((scheme.begin_kinds if not kinds & scheme.begin_kinds else scheme.end_kinds) - kinds)
            raise ValueError(f"there is no {' or '.join(scheme.format_tag(kind, label) for kind in missing)}")
    return labels
