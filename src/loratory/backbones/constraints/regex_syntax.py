"""Patterns of strings as trees: read by descent, simplified, and written in words that every engine takes alike.

The patterns are ECMA-262's without look-around, back references and word boundaries. They are searched, as JSON Schema
says: what is not anchored with ^ and $ may stand anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

from loratory.backbones.constraints.character_sets import (
    ALL_CHARACTERS,
    CERTAIN_CLASSES,
    CONTROL_ESCAPES,
    LINE_BREAKS,
    MAX_CODE_POINT,
    POSSIBLE_CLASSES,
    UNWRITABLE,
    WRITABLE,
    Ranges,
    merge_ranges,
    ranges_of,
    subtract_ranges,
)
from loratory.errors import UnsupportedTask, format_value

MAX_GROUP_DEPTH = 40  # groups in groups
REMEDY = "write it in simpler parts, or leave it out of the contract and check it after the answer"


@dataclass(frozen=True)
class CharacterSet:
    """One character. A set of none cannot be matched."""

    ranges: Ranges


@dataclass(frozen=True)
class Concatenation:
    """One after another."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Alternation:
    """One of several; of none: what cannot be matched."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Repetition:
    """So many times; `max_count` None: without an end."""

    part: Node
    min_count: int
    max_count: int | None


Node = CharacterSet | Concatenation | Alternation | Repetition
NO_MATCH, EMPTY_MATCH = Alternation(()), Concatenation(())


def prune(node: Node) -> Node:
    """Without what cannot be matched; NO_MATCH where nothing is left."""
    if isinstance(node, CharacterSet):
        return node if node.ranges else NO_MATCH
    if isinstance(node, Repetition):
        part = prune(node.part)
        return (
            (NO_MATCH if node.min_count else EMPTY_MATCH)
            if part == NO_MATCH
            else Repetition(part, node.min_count, node.max_count)
        )
    parts = tuple(map(prune, node.parts))
    if isinstance(node, Concatenation):
        return NO_MATCH if NO_MATCH in parts else Concatenation(parts)
    return Alternation(tuple(part for part in parts if part != NO_MATCH))


def measure_size(node: Node) -> int:
    """Characters of the pattern with its repetitions written out, roughly: what its automaton grows with."""
    if isinstance(node, CharacterSet):
        return 1
    if isinstance(node, Repetition):
        return 1 + measure_size(node.part) * max(node.max_count or node.min_count + 1, 1)
    return 1 + sum(map(measure_size, node.parts))


def render_pattern(node: Node) -> str:
    """The pattern in words that every engine takes alike: groups, sets of code points, counts."""
    if isinstance(node, CharacterSet):
        return "[" + "".join(f"\\u{{{low:x}}}-\\u{{{high:x}}}" for low, high in node.ranges) + "]"
    if isinstance(node, Repetition):
        return f"(?:{render_pattern(node.part)}){{{node.min_count},{'' if node.max_count is None else node.max_count}}}"
    glue = "" if isinstance(node, Concatenation) else "|"
    return "(?:" + glue.join(map(render_pattern, node.parts)) + ")"


class PatternParser:
    """Reads one pattern by descent; raises UnsupportedTask."""

    def __init__(self, pattern: str) -> None:
        self.pattern, self.position, self.depth = pattern, 0, 0

    def parse(self) -> Node:
        """The texts in which the pattern is found: what is not anchored may have anything before and behind it."""
        found = []
        while True:
            start = self._consume("^")
            parts = self._parse_sequence()
            end = self._consume("$")
            found.append(Concatenation((*([] if start else [Repetition(CharacterSet(WRITABLE), 0, None)]), *parts,
                                *([] if end else [Repetition(CharacterSet(WRITABLE), 0, None)]))))  # fmt: skip
            if not self._consume("|"):
                break
        if self.position < len(self.pattern):
            raise self.unsupported_error(f"{self.pattern[self.position]!r} at character {self.position + 1}")
        return Alternation(tuple(found))

    def _consume(self, text: str) -> bool:
        taken = self.pattern.startswith(text, self.position)
        self.position += len(text) if taken else 0
        return taken

    def unsupported_error(self, what: str) -> UnsupportedTask:
        """Says what cannot be held of this pattern."""
        return UnsupportedTask(
            f"the pattern {format_value(self.pattern)} cannot be held while writing: {what}",
            allowed="characters, sets, groups, | and counts; ^ and $ at the ends",
            remedy=REMEDY,
        )

    def _parse_sequence(self) -> list[Node]:
        parts: list[Node] = []
        while self.position < len(self.pattern) and self.pattern[self.position] not in "|)$":
            parts.append(self._parse_quantifier(self._parse_atom()))
        return parts

    def _parse_atom(self) -> Node:
        char = self.pattern[self.position]
        self.position += 1
        if char == "(":
            return self._parse_group()
        if char == "[":
            return CharacterSet(self._parse_set())
        if char == ".":
            return CharacterSet(subtract_ranges(WRITABLE, LINE_BREAKS))
        if char == "\\":
            ranges = self._parse_escape(False)
            return CharacterSet(subtract_ranges(ranges, UNWRITABLE))
        if char in "^*+?{":
            raise self.unsupported_error(f"{char!r} at character {self.position}")
        return CharacterSet(subtract_ranges(ranges_of(char), UNWRITABLE))

    def _parse_group(self) -> Node:
        self.depth += 1
        if self._consume("?:"):
            pass
        elif self._consume("?"):
            named = self.pattern.startswith("<", self.position) and self.pattern[
                self.position + 1 : self.position + 2
            ] not in ("=", "!")
            close = self.pattern.find(">", self.position)
            if not named or close < 0:
                raise self.unsupported_error(
                    "it looks ahead or behind"
                    if self.pattern[self.position : self.position + 1] in ("=", "!", "<")
                    else "a group of another kind"
                )
            self.position = close + 1
        if self.depth > MAX_GROUP_DEPTH:
            raise self.unsupported_error("its groups are nested too deeply")
        found = [Concatenation(tuple(self._parse_sequence()))]
        while self._consume("|"):
            found.append(Concatenation(tuple(self._parse_sequence())))
        if not self._consume(")"):
            raise self.unsupported_error("$ inside a group" if self._consume("$") else "a group does not end")
        self.depth -= 1
        return Alternation(tuple(found))

    def _parse_quantifier(self, part: Node) -> Node:
        bounds: tuple[int, int | None] = (1, 1)
        for sign, both in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self._consume(sign):
                bounds = both
                break
        else:
            if not self._consume("{"):
                return part
            bounds = self._parse_count()
        self._consume("?")  # lazy: the same texts
        if self.pattern[self.position : self.position + 1] in tuple("*+?{"):
            raise self.unsupported_error(f"a count behind a count at character {self.position + 1}")
        return Repetition(part, *bounds)

    def _parse_count(self) -> tuple[int, int | None]:
        inside, brace, _ = self.pattern[self.position :].partition("}")
        low, comma, high = inside.partition(",")
        if (
            not brace
            or not low.isascii()
            or not low.isdecimal()
            or (high and not (high.isascii() and high.isdecimal()))
        ):
            raise self.unsupported_error(f"'{{' at character {self.position}")
        self.position += len(inside) + 1
        if len(low) > 5 or len(high) > 5:
            raise self.unsupported_error("a count is too large")
        least, most = int(low), int(high) if high else (None if comma else int(low))
        if most is not None and least > most:
            raise self.unsupported_error("a count from more to less")
        return least, most

    def _parse_set(self) -> Ranges:
        opposite = self._consume("^")
        if self.pattern[self.position : self.position + 1] == "]":
            raise self.unsupported_error("a set of nothing, or one that begins with ]")
        sure: list[tuple[int, int]] = []
        perhaps: list[tuple[int, int]] = []
        while not self._consume("]"):
            if self.position >= len(self.pattern):
                raise self.unsupported_error("a set does not end")
            low, wide = self._parse_set_member()
            if len(low) == 1 and low[0][0] == low[0][1] and self._is_range():
                self.position += 1
                high, _ = self._parse_set_member()
                if len(high) != 1 or high[0][0] != high[0][1] or high[0][0] < low[0][0]:
                    raise self.unsupported_error("a set goes from more to less")
                low = wide = ((low[0][0], high[0][0]),)
            sure += low
            perhaps += wide
        return (
            subtract_ranges(ALL_CHARACTERS, merge_ranges([*perhaps, *UNWRITABLE]))
            if opposite
            else subtract_ranges(merge_ranges(sure), UNWRITABLE)
        )

    def _is_range(self) -> bool:
        return self.pattern[self.position : self.position + 1] == "-" and self.pattern[
            self.position + 1 : self.position + 2
        ] not in ("]", "")

    def _parse_set_member(self) -> tuple[Ranges, Ranges]:
        """Of a set: what every reader finds in it, and what any of them may."""
        char = self.pattern[self.position : self.position + 1]
        self.position += 1
        if char != "\\":
            if char == "[" and self.pattern[self.position : self.position + 1] == ":":
                raise self.unsupported_error("a POSIX class")
            return ranges_of(char), ranges_of(char)
        name = self.pattern[self.position : self.position + 1]
        sure = self._parse_escape(True)
        if name in POSSIBLE_CLASSES:
            return sure, POSSIBLE_CLASSES[name]
        return (
            (sure, subtract_ranges(ALL_CHARACTERS, CERTAIN_CLASSES[name.lower()]))
            if name and name in "DWS"
            else (sure, sure)
        )

    def _parse_escape(self, inside: bool) -> Ranges:
        """What stands behind a backslash."""
        char = self.pattern[self.position : self.position + 1]
        self.position += 1
        if char in CERTAIN_CLASSES:
            return CERTAIN_CLASSES[char]
        if char and char in "DWS":
            return subtract_ranges(ALL_CHARACTERS, POSSIBLE_CLASSES[char.lower()])
        if char in CONTROL_ESCAPES and not self.pattern[self.position : self.position + 1].isdecimal():
            return ((CONTROL_ESCAPES[char], CONTROL_ESCAPES[char]),)
        if char in ("x", "u"):
            return self._parse_code_point(char)
        if inside and char == "b":
            return ((8, 8),)
        if not char or (char.isascii() and char.isalnum()) or ord(char) < 0x20:
            raise self.unsupported_error(f"\\{char}")
        return ranges_of(char)

    def _parse_code_point(self, kind: str) -> Ranges:
        if self._consume("{"):
            digits, _, _ = self.pattern[self.position :].partition("}")
            self.position += len(digits) + 1
        else:
            size = 2 if kind == "x" else 4
            digits = self.pattern[self.position : self.position + size]
            self.position += size
            digits = digits if len(digits) == size else ""
        if (
            not 0 < len(digits) <= 6
            or not set(digits) <= set("0123456789abcdefABCDEF")
            or int(digits, 16) > MAX_CODE_POINT
        ):
            raise self.unsupported_error(f"\\{kind}{digits[:8]}")
        return ((int(digits, 16), int(digits, 16)),)
