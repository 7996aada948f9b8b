r"""Patterns of strings as automata: which texts they allow, and the fewest characters that end a beginning.

The patterns are ECMA-262's without look-around, back references and word boundaries. They are searched, as JSON Schema
says: what is not anchored with ^ and $ may stand anywhere. What means different things to different readers is read as
what all of them allow: \d, \w and \s are of ASCII, and their opposites leave out what any reader takes for a digit, a
letter or white space. Texts hold no quote, backslash or control character, so each is written as it is.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise

from loratory.errors import UnsupportedTask, format_value

Ranges = tuple[tuple[int, int], ...]  # code points, both ends included; sorted, and apart from each other
MAX_CODE_POINT = 0x10FFFF
MAX_PATTERN_SIZE = 4_096  # characters of a pattern with its repetitions written out
MAX_STATES = 1_024  # of its automaton
MAX_STATE_VISITS = 400_000  # states that are looked at to make it
MAX_GROUP_DEPTH = 40  # groups in groups
REMEDY = "write it in simpler parts, or leave it out of the contract and check it after the answer"
PREFERRED_CHARACTERS = "a0A-"  # characters that an ending is made of where they are allowed


# --- characters


def _merge_ranges(parts: Iterable[tuple[int, int]]) -> Ranges:
    made: list[tuple[int, int]] = []
    for low, high in sorted(parts):
        if made and low <= made[-1][1] + 1:
            made[-1] = (made[-1][0], max(made[-1][1], high))
        else:
            made.append((low, high))
    return tuple(made)


def _subtract_ranges(ranges: Ranges, others: Ranges) -> Ranges:
    made = []
    for low, high in ranges:
        for left, right in others:
            if left > high or right < low:
                continue
            if left > low:
                made.append((low, left - 1))
            low = right + 1
        if low <= high:
            made.append((low, high))
    return tuple(made)


def _ranges_of(text: str) -> Ranges:
    return _merge_ranges((ord(c), ord(c)) for c in text)


UNWRITABLE: Ranges = ((0, 0x1F), (0x22, 0x22), (0x5C, 0x5C), (0xD800, 0xDFFF))
ALL_CHARACTERS: Ranges = ((0, MAX_CODE_POINT),)
WRITABLE = _subtract_ranges(ALL_CHARACTERS, UNWRITABLE)
LINE_BREAKS = _ranges_of("\n\r\u2028\u2029")
ASCII_WORD = _merge_ranges([(0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)])
DIGITS: Ranges = ((0x30, 0x39),)
WHITE_SPACE = _merge_ranges(
    [*_ranges_of("\t\n\v\f\r \x1c\x1d\x1e\x1f\x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000\ufeff"), (0x2000, 0x200A)]
)
NON_ASCII: Ranges = ((0x80, MAX_CODE_POINT),)
CERTAIN_CLASSES = {"d": DIGITS, "w": ASCII_WORD, "s": _ranges_of(" \t\n\v\f\r")}  # what every reader counts among them
POSSIBLE_CLASSES = {
    "d": _merge_ranges([*DIGITS, *NON_ASCII]),
    "w": _merge_ranges([*ASCII_WORD, *NON_ASCII]),
    "s": WHITE_SPACE,
}
CONTROL_ESCAPES = {"n": 10, "r": 13, "t": 9, "v": 11, "f": 12, "0": 0}


# --- what a pattern is made of


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
    """So many times; `most` None: without an end."""

    part: Node
    min_count: int
    max_count: int | None


Node = CharacterSet | Concatenation | Alternation | Repetition
NO_MATCH, EMPTY_MATCH = Alternation(()), Concatenation(())


def _prune(node: Node) -> Node:
    """Without what cannot be matched; NEVER where nothing is left."""
    if isinstance(node, CharacterSet):
        return node if node.ranges else NO_MATCH
    if isinstance(node, Repetition):
        part = _prune(node.part)
        return (
            (NO_MATCH if node.min_count else EMPTY_MATCH)
            if part == NO_MATCH
            else Repetition(part, node.min_count, node.max_count)
        )
    parts = tuple(map(_prune, node.parts))
    if isinstance(node, Concatenation):
        return NO_MATCH if NO_MATCH in parts else Concatenation(parts)
    return Alternation(tuple(part for part in parts if part != NO_MATCH))


def _measure_size(node: Node) -> int:
    if isinstance(node, CharacterSet):
        return 1
    if isinstance(node, Repetition):
        return 1 + _measure_size(node.part) * max(node.max_count or node.min_count + 1, 1)
    return 1 + sum(map(_measure_size, node.parts))


def _render_pattern(node: Node) -> str:
    """The pattern in words that every engine takes alike: groups, sets of code points, counts."""
    if isinstance(node, CharacterSet):
        return "[" + "".join(f"\\u{{{low:x}}}-\\u{{{high:x}}}" for low, high in node.ranges) + "]"
    if isinstance(node, Repetition):
        return (
            f"(?:{_render_pattern(node.part)}){{{node.min_count},{'' if node.max_count is None else node.max_count}}}"
        )
    glue = "" if isinstance(node, Concatenation) else "|"
    return "(?:" + glue.join(map(_render_pattern, node.parts)) + ")"


# --- reading


class _PatternParser:
    """Reads one pattern by descent; raises UnsupportedTask."""

    def __init__(self, pattern: str) -> None:
        self.pattern, self.position, self.depth = pattern, 0, 0

    def parse(self) -> Node:
        """The texts in which the pattern is found."""
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
            raise self._unsupported_error(f"{self.pattern[self.position]!r} at character {self.position + 1}")
        return Alternation(tuple(found))

    def _consume(self, text: str) -> bool:
        taken = self.pattern.startswith(text, self.position)
        self.position += len(text) if taken else 0
        return taken

    def _unsupported_error(self, what: str) -> UnsupportedTask:
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
            return CharacterSet(_subtract_ranges(WRITABLE, LINE_BREAKS))
        if char == "\\":
            ranges = self._parse_escape(False)
            return CharacterSet(_subtract_ranges(ranges, UNWRITABLE))
        if char in "^*+?{":
            raise self._unsupported_error(f"{char!r} at character {self.position}")
        return CharacterSet(_subtract_ranges(_ranges_of(char), UNWRITABLE))

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
                raise self._unsupported_error(
                    "it looks ahead or behind"
                    if self.pattern[self.position : self.position + 1] in ("=", "!", "<")
                    else "a group of another kind"
                )
            self.position = close + 1
        if self.depth > MAX_GROUP_DEPTH:
            raise self._unsupported_error("its groups are nested too deeply")
        found = [Concatenation(tuple(self._parse_sequence()))]
        while self._consume("|"):
            found.append(Concatenation(tuple(self._parse_sequence())))
        if not self._consume(")"):
            raise self._unsupported_error("$ inside a group" if self._consume("$") else "a group does not end")
        self.depth -= 1
        return Alternation(tuple(found))

    def _parse_quantifier(self, part: Node) -> Node:
        least, most = 1, 1
        bounds: tuple[int, int | None] = (least, most)
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
            raise self._unsupported_error(f"a count behind a count at character {self.position + 1}")
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
            raise self._unsupported_error(f"'{{' at character {self.position}")
        self.position += len(inside) + 1
        if len(low) > 5 or len(high) > 5:
            raise self._unsupported_error("a count is too large")
        least, most = int(low), int(high) if high else (None if comma else int(low))
        if most is not None and least > most:
            raise self._unsupported_error("a count from more to less")
        return least, most

    def _parse_set(self) -> Ranges:
        opposite = self._consume("^")
        if self.pattern[self.position : self.position + 1] == "]":
            raise self._unsupported_error("a set of nothing, or one that begins with ]")
        sure: list[tuple[int, int]] = []
        perhaps: list[tuple[int, int]] = []
        while not self._consume("]"):
            if self.position >= len(self.pattern):
                raise self._unsupported_error("a set does not end")
            low, wide = self._parse_set_member()
            if len(low) == 1 and low[0][0] == low[0][1] and self._is_range():
                self.position += 1
                high, _ = self._parse_set_member()
                if len(high) != 1 or high[0][0] != high[0][1] or high[0][0] < low[0][0]:
                    raise self._unsupported_error("a set goes from more to less")
                low = wide = ((low[0][0], high[0][0]),)
            sure += low
            perhaps += wide
        return (
            _subtract_ranges(ALL_CHARACTERS, _merge_ranges([*perhaps, *UNWRITABLE]))
            if opposite
            else _subtract_ranges(_merge_ranges(sure), UNWRITABLE)
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
                raise self._unsupported_error("a POSIX class")
            return _ranges_of(char), _ranges_of(char)
        name = self.pattern[self.position : self.position + 1]
        sure = self._parse_escape(True)
        if name in POSSIBLE_CLASSES:
            return sure, POSSIBLE_CLASSES[name]
        return (
            (sure, _subtract_ranges(ALL_CHARACTERS, CERTAIN_CLASSES[name.lower()]))
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
            return _subtract_ranges(ALL_CHARACTERS, POSSIBLE_CLASSES[char.lower()])
        if char in CONTROL_ESCAPES and not self.pattern[self.position : self.position + 1].isdecimal():
            return ((CONTROL_ESCAPES[char], CONTROL_ESCAPES[char]),)
        if char in ("x", "u"):
            return self._parse_code_point(char)
        if inside and char == "b":
            return ((8, 8),)
        if not char or (char.isascii() and char.isalnum()) or ord(char) < 0x20:
            raise self._unsupported_error(f"\\{char}")
        return _ranges_of(char)

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
            raise self._unsupported_error(f"\\{kind}{digits[:8]}")
        return ((int(digits, 16), int(digits, 16)),)


# --- automata


@dataclass
class _Nfa:
    """States with moves by characters and free ones (Thompson 1968)."""

    moves: list[list[tuple[int, int, int]]] = field(default_factory=list)  # (low, high, where to)
    epsilon_moves: list[list[int]] = field(default_factory=list)

    def add_state(self) -> int:
        self.moves.append([])
        self.epsilon_moves.append([])
        return len(self.moves) - 1

    def add_node(self, node: Node, start: int) -> int:
        """The state behind a node."""
        if isinstance(node, CharacterSet):
            end = self.add_state()
            self.moves[start] += [(low, high, end) for low, high in node.ranges]
            return end
        if isinstance(node, Concatenation):
            for part in node.parts:
                start = self.add_node(part, start)
            return start
        if isinstance(node, Repetition):
            return self._add_repetition(node, start)
        end = self.add_state()
        for part in node.parts:
            self.epsilon_moves[self.add_node(part, self._add_epsilon_state(start))].append(end)
        return end

    def _add_epsilon_state(self, state: int) -> int:
        made = self.add_state()
        self.epsilon_moves[state].append(made)
        return made

    def _add_repetition(self, node: Repetition, start: int) -> int:
        for _ in range(node.min_count):
            start = self.add_node(node.part, start)
        if node.max_count is None:
            start = self._add_epsilon_state(start)
            self.epsilon_moves[self.add_node(node.part, start)].append(start)
            return self._add_epsilon_state(start)
        end = self.add_state()
        self.epsilon_moves[start].append(end)
        for _ in range(node.max_count - node.min_count):
            start = self.add_node(node.part, start)
            self.epsilon_moves[start].append(end)
        return end

    def epsilon_closure(self, states: Iterable[int]) -> frozenset[int]:
        """These and all that are reached freely."""
        seen, open_ = set(states), list(states)
        while open_:
            for state in self.epsilon_moves[open_.pop()]:
                if state not in seen:
                    seen.add(state)
                    open_.append(state)
        return frozenset(seen)

    def list_transitions(self, states: frozenset[int]) -> Iterator[tuple[int, int, frozenset[int]]]:
        """Ranges of characters, and where they lead to from any of these."""
        moves = [move for state in states for move in self.moves[state]]
        cuts = sorted({low for low, _, _ in moves} | {high + 1 for _, high, _ in moves})
        for low, above in pairwise(cuts):
            ends = {end for start, stop, end in moves if start <= low <= stop}
            if ends:
                yield low, above - 1, frozenset(ends)


@dataclass
class Automaton:
    """Deterministic; the first state is 0. Every state leads to an end."""

    moves: list[list[tuple[int, int, int]]]
    accepting: frozenset[int]
    _by_distance: list[frozenset[int]] = field(default_factory=list)  # by a number of characters that lead to an end

    def __post_init__(self) -> None:
        self._lows = [[low for low, _, _ in moves] for moves in self.moves]
        self._by_distance.append(self.accepting)

    def step(self, state: int, char: str) -> int | None:
        """The state behind a character; None where no text goes on so."""
        place = bisect_right(self._lows[state], ord(char)) - 1
        if place < 0 or ord(char) > self.moves[state][place][1]:
            return None
        return self.moves[state][place][2]

    def find_shortest(
        self, state: int = 0, min_characters: int = 0, max_characters: float = float("inf")
    ) -> str | None:
        """The fewest characters, at least and at most so many, that lead to an end; None where there are none.

        From any state an end is at most as many steps away as there are states (of those that `least` steps reach).
        """
        if not self.moves:
            return None
        for count in range(min_characters, int(min(max_characters, min_characters + len(self.moves))) + 1):
            if state in self._states_at_distance(count):
                return self._spell_shortest(state, count)
        return None

    def _states_at_distance(self, count: int) -> frozenset[int]:
        while len(self._by_distance) <= count:
            before = self._by_distance[-1]
            self._by_distance.append(
                frozenset(k for k, moves in enumerate(self.moves) if any(to in before for _, _, to in moves))
            )
        return self._by_distance[count]

    def _spell_shortest(self, state: int, count: int) -> str:
        text = ""
        for left in range(count - 1, -1, -1):
            open_ = [(low, high, to) for low, high, to in self.moves[state] if to in self._states_at_distance(left)]
            low, state = _choose_character(open_)
            text += low
        return text


def _choose_character(moves: Sequence[tuple[int, int, int]]) -> tuple[str, int]:
    """A character that can be taken, and where it leads to."""
    for char in PREFERRED_CHARACTERS:
        for low, high, to in moves:
            if low <= ord(char) <= high:
                return char, to
    return chr(moves[0][0]), moves[0][2]


def _determinize(node: Node, make_error: Callable[[str], UnsupportedTask]) -> Automaton:
    net = _Nfa()
    start = net.add_state()
    end = net.add_node(node, start)
    first = net.epsilon_closure([start])
    known: dict[frozenset[int], int] = {first: 0}
    moves: list[list[tuple[int, int, int]]] = [[]]
    work, done = [first], 0
    while work:
        states = work.pop()
        done += len(states)
        if done > MAX_STATE_VISITS or len(moves) > MAX_STATES:
            raise make_error("it is too complex")
        for low, high, reached in net.list_transitions(states):
            closed = net.epsilon_closure(reached)
            done += len(closed)
            if closed not in known:
                known[closed] = len(moves)
                moves.append([])
                work.append(closed)
            place, to = known[states], known[closed]
            if moves[place] and moves[place][-1][1] == low - 1 and moves[place][-1][2] == to:
                moves[place][-1] = (moves[place][-1][0], high, to)
            else:
                moves[place].append((low, high, to))
    return Automaton(moves, frozenset(place for states, place in known.items() if end in states))


@lru_cache(256)
def parse_pattern(pattern: str) -> tuple[str, Automaton]:
    """The pattern in words that every engine takes alike, anchored; and its automaton. Raises UnsupportedTask."""
    reader = _PatternParser(pattern)
    node = _prune(reader.parse())
    if node == NO_MATCH:
        raise reader._unsupported_error("no text without quotes, backslashes and control characters matches it")
    if _measure_size(node) > MAX_PATTERN_SIZE:
        raise reader._unsupported_error("its repetitions are too many")
    return f"^{_render_pattern(node)}$", _remove_dead_states(_determinize(node, reader._unsupported_error))


def _remove_dead_states(automaton: Automaton) -> Automaton:
    """Without states from which no end is reached; state 0 stays."""
    alive = set(automaton.accepting)
    before: list[list[int]] = [[] for _ in automaton.moves]
    for place, moves in enumerate(automaton.moves):
        for _, _, to in moves:
            before[to].append(place)
    work = list(alive)
    while work:
        for place in before[work.pop()]:
            if place not in alive:
                alive.add(place)
                work.append(place)
    kept = [[move for move in moves if move[2] in alive] for moves in automaton.moves]
    return Automaton(kept, automaton.accepting)
