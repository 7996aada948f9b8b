"""How to end what has been begun: the shortest text that makes a beginning of JSON whole under a schema.

Grammar engines say which token may come next, none says how far the end is. Here a text is read along the schema by
descent, in every way that it can be read; where it stops, what is still missing is spelled out as shortly as can be. So
a writer with a budget of tokens can be kept where the end is in reach.

Objects have their properties in the schema's order, and JSON has no spaces: as the grammar is told to write it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from loratory.backbones.constraints import number_completion, regex_automata
from loratory.backbones.constraints.schema_lowering import lower_schema
from loratory.protocols import Schema
from loratory.schemas import resolve_reference, to_compact_json

# Characters of a string, as they are written.
PLAIN_CHARACTER, ESCAPE_SEQUENCE = r'[^"\\\x00-\x1f]', r'\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})'
STRING_CHARACTER = re.compile(f"{PLAIN_CHARACTER}|{ESCAPE_SEQUENCE}")
STRING_CHARACTERS = re.compile(f"(?:{PLAIN_CHARACTER}++|{ESCAPE_SEQUENCE})*+")  # possessive: never read twice
PLAIN_TEXT = re.compile(f"{PLAIN_CHARACTER}+")
PARTIAL_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{0,3}))?")  # an escape that is not whole
FILLER = "a"  # of strings that have to be longer


@dataclass(frozen=True)
class PartialParse:
    """One way to read a text from some place: the value ended at `end`, or the text did and `missing` would end it.

    `free_characters` says how many plain characters of a string may still come before `missing`, which stays what it
    is: while a long text is written, its end need not be looked for behind every token.
    """

    end: int = -1
    missing: str | None = None
    free_characters: float = 0


def is_plain_text(text: str) -> bool:
    """Whether a string may hold these characters as they are."""
    return PLAIN_TEXT.fullmatch(text) is not None


def find_shortest_completion(schema: Schema, text: str = "") -> str | None:
    """The shortest text that makes `text` whole; None where `text` begins no answer of the schema.

    Shortest in characters; of strings that are as short, the first in the order of the schema.
    """
    return JsonCompleter(schema).find_shortest(text)


class JsonCompleter:
    """`find_shortest_completion` of one schema, for many texts: what does not depend on the text is found once."""

    def __init__(self, schema: Schema) -> None:
        self.schema = lower_schema(schema)
        self._shortest_values: dict[int, str] = {}  # by the id of a part of the schema, as are the others
        self._literals: dict[int, list[str]] = {}
        self._object_parsers: dict[int, _ObjectParser] = {}

    def find_shortest(self, text: str = "") -> str | None:
        """As `find_shortest_completion`."""
        return self.find_completion(text)[0]

    def find_completion(self, text: str) -> tuple[str | None, float]:
        """The shortest end, and how many plain characters may come before it without changing it."""
        found = [(read.missing or "", read.free_characters) for read in _parse_value(self.schema, self, text, 0)
                 if read.missing is not None or read.end == len(text)]  # fmt: skip
        ending = min((missing for missing, _ in found), key=len, default=None)
        return ending, found[0][1] if len(found) == 1 else 0

    def shortest_value_of(self, part: Schema) -> str:
        """The shortest value of a part."""
        if id(part) not in self._shortest_values:
            found = find_shortest_value(part, self)
            assert found is not None
            self._shortest_values[id(part)] = found
        return self._shortest_values[id(part)]

    def literals(self, part: Schema) -> list[str]:
        """What an enum or a const may be, short ones first."""
        if id(part) not in self._literals:
            values = part.get("enum", [part.get("const")])
            self._literals[id(part)] = sorted((to_compact_json(value) for value in values), key=len)
        return self._literals[id(part)]

    def members_of(self, part: Schema) -> _ObjectParser:
        """The members of a part."""
        if id(part) not in self._object_parsers:
            self._object_parsers[id(part)] = _ObjectParser.from_schema(part, self)
        return self._object_parsers[id(part)]


def _parse_value(schema: Schema, completer: JsonCompleter, text: str, position: int) -> Iterator[PartialParse]:
    schema = resolve_reference(schema, completer.schema)
    if "enum" in schema or "const" in schema:
        yield from _parse_literals(completer.literals(schema), text, position)
    elif "anyOf" in schema or "oneOf" in schema:
        for one in schema.get("anyOf") or schema["oneOf"]:
            yield from _parse_value(one, completer, text, position)
    else:
        kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        for kind in kinds:
            yield from _parse_typed(kind, schema, completer, text, position)


def _parse_typed(
    kind: str, schema: Schema, completer: JsonCompleter, text: str, position: int
) -> Iterator[PartialParse]:
    if kind == "object":
        yield from _parse_object(completer.members_of(schema), text, position)
    elif kind == "array":
        yield from _parse_array(schema, completer, text, position)
    elif kind == "string":
        yield from (
            _parse_pattern(schema, text, position) if "pattern" in schema else _parse_string(schema, text, position)
        )
    elif kind == "integer":
        yield from (PartialParse(*found) for found in number_completion.parse_integer(schema, text, position))
    elif kind == "number":
        yield from (PartialParse(*found) for found in number_completion.parse_number(schema, text, position))
    else:
        yield from _parse_literals(["null"] if kind == "null" else ["true", "false"], text, position)


def _parse_literals(literals: Sequence[str], text: str, position: int) -> Iterator[PartialParse]:
    """Of literals in the order of their length."""
    rest = text[position:]
    for literal in literals:
        if rest.startswith(literal):
            yield PartialParse(position + len(literal))
        elif literal.startswith(rest):
            yield PartialParse(missing=literal[len(rest) :])


def _continue_after(
    reads: Iterator[PartialParse], after: Callable[[], str]
) -> Iterator[tuple[int, PartialParse | None]]:
    """Ends to go on from, and readings that stop inside, with what comes after them at the least."""
    for read in reads:
        if read.missing is not None:
            yield -1, PartialParse(missing=read.missing + after(), free_characters=read.free_characters)
        else:
            yield read.end, None


def find_shortest_value(schema: Schema, completer: JsonCompleter) -> str | None:
    """The shortest value of a part of a schema."""
    return min(
        (r.missing for r in _parse_value(schema, completer, "", 0) if r.missing is not None), key=len, default=None
    )


@dataclass(frozen=True)
class _ObjectParser:
    """An object's members, read one after another."""

    member_prefixes: list[str]  # the names with their colons
    values: list[Schema]
    required: list[bool]
    last_required: int  # the place of the last needed member; -1: none is
    completer: JsonCompleter

    @classmethod
    def from_schema(cls, schema: Schema, completer: JsonCompleter) -> _ObjectParser:
        properties, required = schema.get("properties", {}), schema.get("required", ())
        needed = [name in required for name in properties]
        last = max((i for i, one in enumerate(needed) if one), default=-1)
        return cls(
            [f"{to_compact_json(name)}:" for name in properties], list(properties.values()), needed, last, completer
        )

    def complete(self, index: int, first: bool) -> str:
        """What is missing before the i-th property, its comma included."""
        parts = [
            self.member_prefixes[k] + self.completer.shortest_value_of(self.values[k])
            for k in range(index, self.last_required + 1)
            if self.required[k]
        ]
        return ("" if first or not parts else ",") + ",".join(parts) + "}"

    def parse_members(
        self, text: str, index: int, position: int, first: bool, seen: set[tuple[int, int]]
    ) -> Iterator[PartialParse]:
        """From before the i-th property's comma on. Where several readings meet, they go on as one."""
        if (index, position) in seen:  # else optional members would be read in exponentially many ways
            return
        seen.add((index, position))
        if position == len(text):
            yield PartialParse(missing=self.complete(index, first))
            return
        if index > self.last_required and text.startswith("}", position):
            yield PartialParse(position + 1)
        for k in range(index, len(self.member_prefixes)):  # any optional one may be left out, a required one may not
            yield from self._parse_member(text, k, position, first, seen)
            if self.required[k]:
                return

    def _parse_member(
        self, text: str, index: int, position: int, first: bool, seen: set[tuple[int, int]]
    ) -> Iterator[PartialParse]:
        """The k-th property and what comes after it."""
        head = self.member_prefixes[index] if first else "," + self.member_prefixes[index]
        if text.startswith(head, position):
            value = _parse_value(self.values[index], self.completer, text, position + len(head))
            for end, stopped in _continue_after(value, lambda: self.complete(index + 1, False)):
                yield from [stopped] if stopped else self.parse_members(text, index + 1, end, False, seen)
        elif head.startswith(rest := text[position : position + len(head)]):
            yield PartialParse(
                missing=head[len(rest) :]
                + self.completer.shortest_value_of(self.values[index])
                + self.complete(index + 1, False)
            )


def _parse_object(parser: _ObjectParser, text: str, position: int) -> Iterator[PartialParse]:
    if position == len(text):
        yield PartialParse(missing="{" + parser.complete(0, True))
    elif text[position] == "{":
        yield from parser.parse_members(text, 0, position + 1, True, set())


@dataclass(frozen=True)
class _ArrayParser:
    """An array's items, read one after another."""

    item: Schema
    min_items: int
    max_items: float
    completer: JsonCompleter
    text: str
    seen: set[tuple[int, int]] = field(default_factory=set)  # counts and places: several readings go on as one

    def complete(self, count: int) -> str:
        """What is missing after `count` items."""
        more = (
            [self.completer.shortest_value_of(self.item)] * (self.min_items - count) if count < self.min_items else []
        )
        return ("," if count and more else "") + ",".join(more) + "]"

    def parse_items(self, count: int, position: int) -> Iterator[PartialParse]:
        """After `count` items."""
        if (count, position) in self.seen:
            return
        self.seen.add((count, position))
        if position == len(self.text):
            yield PartialParse(missing=self.complete(count))
            return
        if count >= self.min_items and self.text[position] == "]":
            yield PartialParse(position + 1)
        if count >= self.max_items or (count and self.text[position] != ","):
            return
        item = _parse_value(self.item, self.completer, self.text, position + 1 if count else position)
        for end, stopped in _continue_after(item, lambda: self.complete(count + 1)):
            yield from [stopped] if stopped else self.parse_items(count + 1, end)


def _parse_array(schema: Schema, completer: JsonCompleter, text: str, position: int) -> Iterator[PartialParse]:
    one = _ArrayParser(
        schema["items"], schema.get("minItems", 0), schema.get("maxItems", float("inf")), completer, text
    )
    if position == len(text):
        yield PartialParse(missing="[" + one.complete(0))
    elif text[position] == "[":
        yield from one.parse_items(0, position + 1)


def _parse_string(schema: Schema, text: str, position: int) -> Iterator[PartialParse]:
    least, most = schema.get("minLength", 0), schema.get("maxLength")
    if position == len(text):
        yield PartialParse(missing=f'"{FILLER * least}"')
        return
    if text[position] != '"':
        return
    found = STRING_CHARACTERS.match(text, position + 1)
    assert found is not None
    end, said = found.end(), found.group()
    count = len(STRING_CHARACTER.findall(said)) if "\\" in said else len(said)
    if most is not None and count > most:
        return
    if end == len(text):
        room = (float("inf") if most is None else most - count) if count >= least else 0
        yield PartialParse(missing=FILLER * (least - count) + '"', free_characters=room)
    elif text[end] == '"':
        yield from [PartialParse(end + 1)] if count >= least else []
    elif (begun := PARTIAL_ESCAPE.fullmatch(text, end)) and (most is None or count < most):
        missing = "n" if begun.group(1) is None else "001f"[len(begun.group(1)) :]
        yield PartialParse(missing=missing + FILLER * (least - count - 1) + '"')


def _parse_pattern(schema: Schema, text: str, position: int) -> Iterator[PartialParse]:
    """Of strings with a pattern: they hold plain characters only, and end where their automaton does."""
    least, most = schema.get("minLength", 0), schema.get("maxLength", float("inf"))
    automaton = regex_automata.parse_pattern(schema["pattern"])[1]
    if position < len(text) and text[position] != '"':
        return
    state, place = 0, position + 1
    while place < len(text) and text[place] != '"':
        found = automaton.step(state, text[place])
        if found is None or place - position > most:
            return
        state, place = found, place + 1
    count = place - position - 1
    if place < len(text):
        yield from [PartialParse(place + 1)] if state in automaton.accepting and count >= least else []
        return
    count = max(count, 0)
    rest = automaton.find_shortest(state, max(least - count, 0), most - count)
    if rest is not None:
        yield PartialParse(missing=('"' if position == len(text) else "") + rest + '"')
