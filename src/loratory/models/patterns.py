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

from loratory.errors import Unfit, shown

Ranges = tuple[tuple[int, int], ...]  # code points, both ends included; sorted, and apart from each other
LAST = 0x10FFFF
SIZE = 4_096  # characters of a pattern with its repetitions written out
STATES = 1_024  # of its automaton
WORK = 400_000  # states that are looked at to make it
DEPTH = 40  # groups in groups
REMEDY = "write it in simpler parts, or leave it out of the contract and check it after the answer"
LIKED = "a0A-"  # characters that an ending is made of where they are allowed


# --- characters


def _union(parts: Iterable[tuple[int, int]]) -> Ranges:
    made: list[tuple[int, int]] = []
    for low, high in sorted(parts):
        if made and low <= made[-1][1] + 1:
            made[-1] = (made[-1][0], max(made[-1][1], high))
        else:
            made.append((low, high))
    return tuple(made)


def _without(ranges: Ranges, others: Ranges) -> Ranges:
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


def _set(text: str) -> Ranges:
    return _union((ord(c), ord(c)) for c in text)


UNWRITABLE: Ranges = ((0, 0x1F), (0x22, 0x22), (0x5C, 0x5C), (0xD800, 0xDFFF))
ALL: Ranges = ((0, LAST),)
ANY = _without(ALL, UNWRITABLE)
BREAKS = _set("\n\r\u2028\u2029")
ASCII_WORD = _union([(0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)])
DIGITS: Ranges = ((0x30, 0x39),)
BLANKS = _union(
    [*_set("\t\n\v\f\r \x1c\x1d\x1e\x1f\x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000\ufeff"), (0x2000, 0x200A)]
)
BEYOND: Ranges = ((0x80, LAST),)
SURE = {"d": DIGITS, "w": ASCII_WORD, "s": _set(" \t\n\v\f\r")}  # what every reader counts among them
PERHAPS = {"d": _union([*DIGITS, *BEYOND]), "w": _union([*ASCII_WORD, *BEYOND]), "s": BLANKS}
CONTROLS = {"n": 10, "r": 13, "t": 9, "v": 11, "f": 12, "0": 0}


# --- what a pattern is made of


@dataclass(frozen=True)
class Chars:
    """One character. A set of none cannot be matched."""

    ranges: Ranges


@dataclass(frozen=True)
class Chain:
    """One after another."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Choice:
    """One of several; of none: what cannot be matched."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Repeat:
    """So many times; `most` None: without an end."""

    part: Node
    least: int
    most: int | None


Node = Chars | Chain | Choice | Repeat
NEVER, ALWAYS = Choice(()), Chain(())


def _pruned(node: Node) -> Node:
    """Without what cannot be matched; NEVER where nothing is left."""
    if isinstance(node, Chars):
        return node if node.ranges else NEVER
    if isinstance(node, Repeat):
        part = _pruned(node.part)
        return (NEVER if node.least else ALWAYS) if part == NEVER else Repeat(part, node.least, node.most)
    parts = tuple(map(_pruned, node.parts))
    if isinstance(node, Chain):
        return NEVER if NEVER in parts else Chain(parts)
    return Choice(tuple(part for part in parts if part != NEVER))


def _size(node: Node) -> int:
    if isinstance(node, Chars):
        return 1
    if isinstance(node, Repeat):
        return 1 + _size(node.part) * max(node.most or node.least + 1, 1)
    return 1 + sum(map(_size, node.parts))


def _printed(node: Node) -> str:
    """The pattern in words that every engine takes alike: groups, sets of code points, counts."""
    if isinstance(node, Chars):
        return "[" + "".join(f"\\u{{{low:x}}}-\\u{{{high:x}}}" for low, high in node.ranges) + "]"
    if isinstance(node, Repeat):
        return f"(?:{_printed(node.part)}){{{node.least},{'' if node.most is None else node.most}}}"
    glue = "" if isinstance(node, Chain) else "|"
    return "(?:" + glue.join(map(_printed, node.parts)) + ")"


# --- reading


class _Reader:
    """Reads one pattern by descent; raises Unfit."""

    def __init__(self, pattern: str) -> None:
        self.pattern, self.at, self.depth = pattern, 0, 0

    def whole(self) -> Node:
        """The texts in which the pattern is found."""
        found = []
        while True:
            start = self._take("^")
            parts = self._parts()
            end = self._take("$")
            found.append(Chain((*([] if start else [Repeat(Chars(ANY), 0, None)]), *parts,
                                *([] if end else [Repeat(Chars(ANY), 0, None)]))))  # fmt: skip
            if not self._take("|"):
                break
        if self.at < len(self.pattern):
            raise self._refused(f"{self.pattern[self.at]!r} at character {self.at + 1}")
        return Choice(tuple(found))

    def _take(self, text: str) -> bool:
        taken = self.pattern.startswith(text, self.at)
        self.at += len(text) if taken else 0
        return taken

    def _refused(self, what: str) -> Unfit:
        return Unfit(
            f"the pattern {shown(self.pattern)} cannot be held while writing: {what}",
            allowed="characters, sets, groups, | and counts; ^ and $ at the ends",
            remedy=REMEDY,
        )

    def _parts(self) -> list[Node]:
        parts: list[Node] = []
        while self.at < len(self.pattern) and self.pattern[self.at] not in "|)$":
            parts.append(self._counted(self._one()))
        return parts

    def _one(self) -> Node:
        char = self.pattern[self.at]
        self.at += 1
        if char == "(":
            return self._group()
        if char == "[":
            return Chars(self._bracket())
        if char == ".":
            return Chars(_without(ANY, BREAKS))
        if char == "\\":
            ranges = self._escaped(False)
            return Chars(_without(ranges, UNWRITABLE))
        if char in "^*+?{":
            raise self._refused(f"{char!r} at character {self.at}")
        return Chars(_without(_set(char), UNWRITABLE))

    def _group(self) -> Node:
        self.depth += 1
        if self._take("?:"):
            pass
        elif self._take("?"):
            named = self.pattern.startswith("<", self.at) and self.pattern[self.at + 1 : self.at + 2] not in ("=", "!")
            close = self.pattern.find(">", self.at)
            if not named or close < 0:
                raise self._refused(
                    "it looks ahead or behind"
                    if self.pattern[self.at : self.at + 1] in ("=", "!", "<")
                    else "a group of another kind"
                )
            self.at = close + 1
        if self.depth > DEPTH:
            raise self._refused("its groups are nested too deeply")
        found = [Chain(tuple(self._parts()))]
        while self._take("|"):
            found.append(Chain(tuple(self._parts())))
        if not self._take(")"):
            raise self._refused("$ inside a group" if self._take("$") else "a group does not end")
        self.depth -= 1
        return Choice(tuple(found))

    def _counted(self, part: Node) -> Node:
        least, most = 1, 1
        bounds: tuple[int, int | None] = (least, most)
        for sign, both in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self._take(sign):
                bounds = both
                break
        else:
            if not self._take("{"):
                return part
            bounds = self._count()
        self._take("?")  # lazy: the same texts
        if self.pattern[self.at : self.at + 1] in tuple("*+?{"):
            raise self._refused(f"a count behind a count at character {self.at + 1}")
        return Repeat(part, *bounds)

    def _count(self) -> tuple[int, int | None]:
        inside, brace, _ = self.pattern[self.at :].partition("}")
        low, comma, high = inside.partition(",")
        if (
            not brace
            or not low.isascii()
            or not low.isdecimal()
            or (high and not (high.isascii() and high.isdecimal()))
        ):
            raise self._refused(f"'{{' at character {self.at}")
        self.at += len(inside) + 1
        if len(low) > 5 or len(high) > 5:
            raise self._refused("a count is too large")
        least, most = int(low), int(high) if high else (None if comma else int(low))
        if most is not None and least > most:
            raise self._refused("a count from more to less")
        return least, most

    def _bracket(self) -> Ranges:
        opposite = self._take("^")
        if self.pattern[self.at : self.at + 1] == "]":
            raise self._refused("a set of nothing, or one that begins with ]")
        sure: list[tuple[int, int]] = []
        perhaps: list[tuple[int, int]] = []
        while not self._take("]"):
            if self.at >= len(self.pattern):
                raise self._refused("a set does not end")
            low, wide = self._member()
            if len(low) == 1 and low[0][0] == low[0][1] and self._ranges_on():
                self.at += 1
                high, _ = self._member()
                if len(high) != 1 or high[0][0] != high[0][1] or high[0][0] < low[0][0]:
                    raise self._refused("a set goes from more to less")
                low = wide = ((low[0][0], high[0][0]),)
            sure += low
            perhaps += wide
        return _without(ALL, _union([*perhaps, *UNWRITABLE])) if opposite else _without(_union(sure), UNWRITABLE)

    def _ranges_on(self) -> bool:
        return self.pattern[self.at : self.at + 1] == "-" and self.pattern[self.at + 1 : self.at + 2] not in ("]", "")

    def _member(self) -> tuple[Ranges, Ranges]:
        """Of a set: what every reader finds in it, and what any of them may."""
        char = self.pattern[self.at : self.at + 1]
        self.at += 1
        if char != "\\":
            if char == "[" and self.pattern[self.at : self.at + 1] == ":":
                raise self._refused("a POSIX class")
            return _set(char), _set(char)
        name = self.pattern[self.at : self.at + 1]
        sure = self._escaped(True)
        if name in PERHAPS:
            return sure, PERHAPS[name]
        return (sure, _without(ALL, SURE[name.lower()])) if name and name in "DWS" else (sure, sure)

    def _escaped(self, inside: bool) -> Ranges:
        """What stands behind a backslash."""
        char = self.pattern[self.at : self.at + 1]
        self.at += 1
        if char in SURE:
            return SURE[char]
        if char and char in "DWS":
            return _without(ALL, PERHAPS[char.lower()])
        if char in CONTROLS and not self.pattern[self.at : self.at + 1].isdecimal():
            return ((CONTROLS[char], CONTROLS[char]),)
        if char in ("x", "u"):
            return self._code(char)
        if inside and char == "b":
            return ((8, 8),)
        if not char or (char.isascii() and char.isalnum()) or ord(char) < 0x20:
            raise self._refused(f"\\{char}")
        return _set(char)

    def _code(self, kind: str) -> Ranges:
        if self._take("{"):
            digits, _, _ = self.pattern[self.at :].partition("}")
            self.at += len(digits) + 1
        else:
            size = 2 if kind == "x" else 4
            digits = self.pattern[self.at : self.at + size]
            self.at += size
            digits = digits if len(digits) == size else ""
        if not 0 < len(digits) <= 6 or not set(digits) <= set("0123456789abcdefABCDEF") or int(digits, 16) > LAST:
            raise self._refused(f"\\{kind}{digits[:8]}")
        return ((int(digits, 16), int(digits, 16)),)


# --- automata


@dataclass
class _Net:
    """States with moves by characters and free ones (Thompson 1968)."""

    moves: list[list[tuple[int, int, int]]] = field(default_factory=list)  # (low, high, where to)
    free: list[list[int]] = field(default_factory=list)

    def new(self) -> int:
        self.moves.append([])
        self.free.append([])
        return len(self.moves) - 1

    def add(self, node: Node, start: int) -> int:
        """The state behind a node."""
        if isinstance(node, Chars):
            end = self.new()
            self.moves[start] += [(low, high, end) for low, high in node.ranges]
            return end
        if isinstance(node, Chain):
            for part in node.parts:
                start = self.add(part, start)
            return start
        if isinstance(node, Repeat):
            return self._repeated(node, start)
        end = self.new()
        for part in node.parts:
            self.free[self.add(part, self._behind(start))].append(end)
        return end

    def _behind(self, state: int) -> int:
        made = self.new()
        self.free[state].append(made)
        return made

    def _repeated(self, node: Repeat, start: int) -> int:
        for _ in range(node.least):
            start = self.add(node.part, start)
        if node.most is None:
            start = self._behind(start)
            self.free[self.add(node.part, start)].append(start)
            return self._behind(start)
        end = self.new()
        self.free[start].append(end)
        for _ in range(node.most - node.least):
            start = self.add(node.part, start)
            self.free[start].append(end)
        return end

    def closure(self, states: Iterable[int]) -> frozenset[int]:
        """These and all that are reached freely."""
        seen, open_ = set(states), list(states)
        while open_:
            for state in self.free[open_.pop()]:
                if state not in seen:
                    seen.add(state)
                    open_.append(state)
        return frozenset(seen)

    def steps(self, states: frozenset[int]) -> Iterator[tuple[int, int, frozenset[int]]]:
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
    ends: frozenset[int]
    _exact: list[frozenset[int]] = field(default_factory=list)  # by a number of characters that lead to an end

    def __post_init__(self) -> None:
        self._lows = [[low for low, _, _ in moves] for moves in self.moves]
        self._exact.append(self.ends)

    def step(self, state: int, char: str) -> int | None:
        """The state behind a character; None where no text goes on so."""
        place = bisect_right(self._lows[state], ord(char)) - 1
        if place < 0 or ord(char) > self.moves[state][place][1]:
            return None
        return self.moves[state][place][2]

    def shortest(self, state: int = 0, least: int = 0, most: float = float("inf")) -> str | None:
        """The fewest characters, at least and at most so many, that lead to an end; None where there are none.

        From any state an end is at most as many steps away as there are states (of those that `least` steps reach).
        """
        if not self.moves:
            return None
        for count in range(least, int(min(most, least + len(self.moves))) + 1):
            if state in self._leading(count):
                return self._spelled(state, count)
        return None

    def _leading(self, count: int) -> frozenset[int]:
        while len(self._exact) <= count:
            before = self._exact[-1]
            self._exact.append(
                frozenset(k for k, moves in enumerate(self.moves) if any(to in before for _, _, to in moves))
            )
        return self._exact[count]

    def _spelled(self, state: int, count: int) -> str:
        text = ""
        for left in range(count - 1, -1, -1):
            open_ = [(low, high, to) for low, high, to in self.moves[state] if to in self._leading(left)]
            low, state = _liked(open_)
            text += low
        return text


def _liked(moves: Sequence[tuple[int, int, int]]) -> tuple[str, int]:
    """A character that can be taken, and where it leads to."""
    for char in LIKED:
        for low, high, to in moves:
            if low <= ord(char) <= high:
                return char, to
    return chr(moves[0][0]), moves[0][2]


def _determined(node: Node, refuse: Callable[[str], Unfit]) -> Automaton:
    net = _Net()
    start = net.new()
    end = net.add(node, start)
    first = net.closure([start])
    known: dict[frozenset[int], int] = {first: 0}
    moves: list[list[tuple[int, int, int]]] = [[]]
    work, done = [first], 0
    while work:
        states = work.pop()
        done += len(states)
        if done > WORK or len(moves) > STATES:
            raise refuse("it is too complex")
        for low, high, reached in net.steps(states):
            closed = net.closure(reached)
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
def read(pattern: str) -> tuple[str, Automaton]:
    """The pattern in words that every engine takes alike, anchored; and its automaton. Raises Unfit."""
    reader = _Reader(pattern)
    node = _pruned(reader.whole())
    if node == NEVER:
        raise reader._refused("no text without quotes, backslashes and control characters matches it")
    if _size(node) > SIZE:
        raise reader._refused("its repetitions are too many")
    return f"^{_printed(node)}$", _trimmed(_determined(node, reader._refused))


def _trimmed(made: Automaton) -> Automaton:
    """Without states from which no end is reached; state 0 stays."""
    alive = set(made.ends)
    before: list[list[int]] = [[] for _ in made.moves]
    for place, moves in enumerate(made.moves):
        for _, _, to in moves:
            before[to].append(place)
    work = list(alive)
    while work:
        for place in before[work.pop()]:
            if place not in alive:
                alive.add(place)
                work.append(place)
    kept = [[move for move in moves if move[2] in alive] for moves in made.moves]
    return Automaton(kept, made.ends)
