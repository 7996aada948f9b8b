"""Patterns of strings as automata: which texts they allow, and the fewest characters that end a beginning.

Texts hold no quote, backslash or control character, so each is written in JSON as it is.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise

from loratory.backbones.constraints.regex_syntax import (
    NO_MATCH,
    CharacterSet,
    Concatenation,
    Node,
    PatternParser,
    Repetition,
    measure_size,
    prune,
    render_pattern,
)
from loratory.errors import UnsupportedTask

MAX_PATTERN_SIZE = 4_096  # characters of a pattern with its repetitions written out
MAX_STATES = 1_024  # of its automaton
MAX_STATE_VISITS = 400_000  # states that are looked at to make it
PREFERRED_CHARACTERS = "a0A-"  # characters that an ending is made of where they are allowed


@dataclass
class _Nfa:
    """States with moves by characters and free ones (Thompson 1968)."""

    moves: list[list[tuple[int, int, int]]] = field(default_factory=list)  # (low, high, where to)
    epsilon_moves: list[list[int]] = field(default_factory=list)

    def add_state(self) -> int:
        """The number of a new state."""
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

        From any state that `min_characters` steps reach, an end is at most as many steps away as there are states.
        """
        if not self.moves:
            return None
        for count in range(min_characters, int(min(max_characters, min_characters + len(self.moves))) + 1):
            if state in self._states_at_distance(count):
                return self._spell_shortest(state, count)
        return None

    def _states_at_distance(self, count: int) -> frozenset[int]:
        """States from which some text of just so many characters leads to an end; kept, as every token asks again."""
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
    """Sets of states as states (Rabin and Scott 1959). There may be exponentially many, so both they and the work for
    them are bounded: patterns come from clients too.
    """
    net = _Nfa()
    start = net.add_state()
    end = net.add_node(node, start)
    first = net.epsilon_closure([start])
    known: dict[frozenset[int], int] = {first: 0}
    moves: list[list[tuple[int, int, int]]] = [[]]
    work, visited = [first], 0
    while work:
        states = work.pop()
        visited += len(states)
        if visited > MAX_STATE_VISITS or len(moves) > MAX_STATES:
            raise make_error("it is too complex")
        for low, high, reached in net.list_transitions(states):
            closed = net.epsilon_closure(reached)
            visited += len(closed)
            if closed not in known:
                known[closed] = len(moves)
                moves.append([])
                work.append(closed)
            place, to = known[states], known[closed]
            # Neighbouring ranges that lead to the same place are one.
            if moves[place] and moves[place][-1][1] == low - 1 and moves[place][-1][2] == to:
                moves[place][-1] = (moves[place][-1][0], high, to)
            else:
                moves[place].append((low, high, to))
    return Automaton(moves, frozenset(place for states, place in known.items() if end in states))


@lru_cache(256)
def parse_pattern(pattern: str) -> tuple[str, Automaton]:
    """The pattern in words that every engine takes alike, anchored; and its automaton. Raises UnsupportedTask."""
    reader = PatternParser(pattern)
    node = prune(reader.parse())
    if node == NO_MATCH:
        raise reader.unsupported_error("no text without quotes, backslashes and control characters matches it")
    if measure_size(node) > MAX_PATTERN_SIZE:
        raise reader.unsupported_error("its repetitions are too many")
    return f"^{render_pattern(node)}$", _remove_dead_states(_determinize(node, reader.unsupported_error))


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
