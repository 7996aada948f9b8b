"""How to end what has been begun: the shortest text that makes a beginning of JSON whole under a schema.

Grammar engines say which token may come next, none says how far the end is. Here a text is read along the schema by
descent, in every way that it can be read; where it stops, what is still missing is spelled out as shortly as can be. So
a writer with a budget of tokens can be kept where the end is in reach.

Objects have their properties in the schema's order, and JSON has no spaces: as the grammar is told to write it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from loratory.backbones.constraints import number_completion, regex_automata
from loratory.backbones.constraints.schema_lowering import lower_schema
from loratory.errors import UnsupportedTask
from loratory.formats import FORMATS, UNCHECKED_TEXT_FORMATS
from loratory.protocols import Schema
from loratory.schemas import resolve_reference, to_compact_json

SUPPORTED_KEYWORDS = {  # what is understood of each type; anything else is refused
    "object": {"properties", "required", "additionalProperties"},
    "array": {"items", "minItems", "maxItems"},
    "string": {"minLength", "maxLength", "pattern", "format"},
    "integer": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"},
    "number": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"},
    "boolean": set(),
    "null": set(),
}
IGNORED_KEYWORDS = {"$defs", "definitions"}
CHECK_LATER = "leave it out of the contract and check it after the answer"
REMEDIES = {
    "nullable": 'write what OpenAPI 3.1 writes: type: [TYPE, "null"], or anyOf: [..., {type: "null"}]',
    "format": f"write it as a pattern, or {CHECK_LATER}",
    "allOf": "write its parts as one schema",
    "prefixItems": "make it an object with a named property for each place",
    "additionalProperties": "name the properties, or make it an array of objects with a key and a value",
    "unevaluatedProperties": "write additionalProperties: false",
}
PLAIN_CHARACTER, ESCAPE_SEQUENCE = (
    r'[^"\\\x00-\x1f]',
    r'\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})',
)  # characters of a string, as they are written
STRING_CHARACTER, STRING_CHARACTERS = (
    re.compile(f"{PLAIN_CHARACTER}|{ESCAPE_SEQUENCE}"),
    re.compile(f"(?:{PLAIN_CHARACTER}++|{ESCAPE_SEQUENCE})*+"),
)
PLAIN_TEXT = re.compile(f"{PLAIN_CHARACTER}+")
PARTIAL_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{0,3}))?")  # an escape that is not whole
FILLER = "a"  # of strings that have to be longer


@dataclass(frozen=True)
class PartialParse:
    """One way to read a text from some place: the value ended at `end`, or the text did and `missing` would end it.

    `room` says how many plain characters of a string may still come before `missing`, which stays what it is.
    """

    end: int = -1
    missing: str | None = None
    free_characters: float = 0


def is_plain_text(text: str) -> bool:
    """Whether a string may hold these characters as they are."""
    return PLAIN_TEXT.fullmatch(text) is not None


def check_completable(schema: Schema) -> None:
    """Raises UnsupportedTask, with the place and the reason, for a schema that cannot be promised to be closed."""
    made = lower_schema(schema)
    _check_schema(made, made, "#", ())


def find_shortest_completion(schema: Schema, text: str = "") -> str | None:
    """The shortest text that makes `text` whole; None where `text` begins no answer of the schema.

    Shortest in characters; of strings that are as short, the first in the order of the schema.
    """
    return JsonCompleter(schema).find_shortest(text)


class JsonCompleter:
    """`shortest` of one schema, for many texts: what does not depend on the text is found once."""

    def __init__(self, schema: Schema) -> None:
        self.schema = lower_schema(schema)
        self._shortest_values: dict[int, str] = {}  # by the id of a part of the schema, as are the others
        self._literals: dict[int, list[str]] = {}
        self._object_parsers: dict[int, _ObjectParser] = {}

    def find_shortest(self, text: str = "") -> str | None:
        """As above."""
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


# --- reading


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
        if (index, position) in seen:
            return
        seen.add((index, position))
        if position == len(text):
            yield PartialParse(missing=self.complete(index, first))
            return
        if index > self.last_required and text.startswith("}", position):
            yield PartialParse(position + 1)
        for k in range(index, len(self.member_prefixes)):
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


# --- what is understood


def _check_schema(schema: Any, root: Schema, where: str, parents: tuple[str, ...]) -> None:
    if not isinstance(schema, Mapping):
        raise UnsupportedTask(
            f"{to_compact_json(schema)} is no schema", where=where, allowed="an object with type, enum, const or anyOf"
        )
    if "$ref" in schema:
        _check_keywords(schema, {"$ref"}, where)
        _check_reference(schema, root, where, parents)
        return
    for key in ("anyOf", "oneOf"):
        if key in schema:
            if key == "oneOf" and len(schema[key]) > 1 and "anyOf" not in schema:
                raise UnsupportedTask(
                    "the branches of this oneOf cannot be told apart",
                    where=where,
                    allowed="branches of different types, or objects with a required property and a const of its own",
                    remedy="write anyOf, or give each branch such a property",
                )
            _check_keywords(schema, {key}, where)
            if not schema[key]:
                raise UnsupportedTask(f"{key} of nothing cannot be answered", where=where)
            for i, one in enumerate(schema[key]):
                _check_schema(one, root, f"{where}/{key}/{i}", parents)
            return
    if "enum" in schema or "const" in schema:
        _check_keywords(schema, {"enum", "const", "type"}, where)
        if "enum" in schema and not schema["enum"]:
            raise UnsupportedTask("an enum of nothing (of this type) cannot be answered", where=where)
        return
    _check_types(schema, root, where, parents)


def _check_types(schema: Schema, root: Schema, where: str, parents: tuple[str, ...]) -> None:
    kinds: Any = schema.get("type")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    for kind in kinds:
        if kind is None:
            _check_keywords(schema, set().union(*SUPPORTED_KEYWORDS.values()), where)
            raise UnsupportedTask(
                "it has no type, so it could be anything", where=where, allowed=f"type: {', '.join(SUPPORTED_KEYWORDS)}"
            )
        if kind not in SUPPORTED_KEYWORDS:
            raise UnsupportedTask(
                f"type {kind!r} is not understood", where=where, allowed=", ".join(SUPPORTED_KEYWORDS)
            )
    _check_keywords(schema, {"type"}.union(*(SUPPORTED_KEYWORDS[kind] for kind in kinds)), where)
    for kind in kinds:
        _check_type(kind, schema, root, where, parents)


def _check_reference(schema: Schema, root: Schema, where: str, parents: tuple[str, ...]) -> None:
    name = str(schema["$ref"])
    if not name.startswith("#/"):
        raise UnsupportedTask(f"$ref {name!r} leads outside", where=where, allowed="#/$defs/...")
    if name in parents:
        raise UnsupportedTask(
            f"{name} holds itself: there is no longest answer", where=where, remedy="write the levels out"
        )
    try:
        found = resolve_reference(schema, root)
    except (KeyError, TypeError, IndexError):
        raise UnsupportedTask(f"$ref {name!r} leads nowhere", where=where) from None
    _check_schema(found, root, name, (*parents, name))


def _check_keywords(schema: Schema, supported: set[str], where: str) -> None:
    strange = sorted(set(schema) - supported - IGNORED_KEYWORDS)
    if strange:
        raise UnsupportedTask(
            f"{strange[0]!r} is not understood here",
            where=where,
            allowed=", ".join(sorted(supported)),
            remedy=REMEDIES.get(strange[0], CHECK_LATER),
        )


def _check_type(kind: str, schema: Schema, root: Schema, where: str, parents: tuple[str, ...]) -> None:
    if kind == "object":
        if schema.get("additionalProperties", False) is not False:
            raise UnsupportedTask(
                "additional properties have no end",
                where=where,
                allowed="additionalProperties: false",
                remedy=REMEDIES["additionalProperties"],
            )
        absent = sorted(set(schema.get("required", ())) - set(schema.get("properties", {})))
        if absent:
            raise UnsupportedTask(f"{absent[0]!r} is required and not described", where=where)
        for name, value in schema.get("properties", {}).items():
            _check_schema(value, root, f"{where}/properties/{name}", parents)
    elif kind == "array":
        if "items" not in schema:
            raise UnsupportedTask("an array without items could hold anything", where=where, remedy="describe items")
        _check_schema(schema["items"], root, f"{where}/items", parents)
        _check_order(schema, "minItems", "maxItems", where)
    elif kind == "string":
        _check_order(schema, "minLength", "maxLength", where)
        _check_string(schema, where)
    elif kind in ("integer", "number") and find_shortest_value({**schema, "type": kind}, JsonCompleter(root)) is None:
        raise UnsupportedTask("no number lies between these bounds", where=where)


def _check_string(schema: Schema, where: str) -> None:
    """Raises UnsupportedTask for a format that is none of ours, and a pattern that cannot be held."""
    if "format" in schema:
        both = "pattern" in schema
        raise UnsupportedTask(
            f"format {schema['format']!r} beside a pattern"
            if both
            else f"format {schema['format']!r} is not understood",
            where=where,
            allowed="one of the two" if both else ", ".join([*FORMATS, *sorted(UNCHECKED_TEXT_FORMATS)]),
            remedy=REMEDIES["format"],
        )
    if "pattern" not in schema:
        return
    try:
        automaton = regex_automata.parse_pattern(schema["pattern"])[1]
    except UnsupportedTask as problem:
        raise UnsupportedTask(problem.problem, where=where, allowed=problem.allowed, remedy=problem.remedy) from None
    if automaton.find_shortest(0, schema.get("minLength", 0), schema.get("maxLength", float("inf"))) is None:
        raise UnsupportedTask(
            "no text is of this pattern (or format), and as long as minLength and maxLength say",
            where=where,
            remedy="change the lengths, or the pattern",
        )


def _check_order(schema: Schema, lower_key: str, upper_key: str, where: str) -> None:
    if schema.get(lower_key, 0) > schema.get(upper_key, float("inf")):
        raise UnsupportedTask(f"{lower_key} is above {upper_key}", where=where)
