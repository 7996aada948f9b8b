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

from loratory.errors import Unfit
from loratory.formats import ANY_TEXT, FORMATS
from loratory.models import numerals, patterns
from loratory.models.lowering import lower
from loratory.protocols import Schema
from loratory.schemas import resolved, written

MEANT = {  # what is understood of each type; anything else is refused
    "object": {"properties", "required", "additionalProperties"},
    "array": {"items", "minItems", "maxItems"},
    "string": {"minLength", "maxLength", "pattern", "format"},
    "integer": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"},
    "number": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"},
    "boolean": set(),
    "null": set(),
}
BESIDE = {"$defs", "definitions"}
CHECKED = "leave it out of the contract and check it after the answer"
REMEDIES = {
    "nullable": 'write what OpenAPI 3.1 writes: type: [TYPE, "null"], or anyOf: [..., {type: "null"}]',
    "format": f"write it as a pattern, or {CHECKED}",
    "allOf": "write its parts as one schema",
    "prefixItems": "make it an object with a named property for each place",
    "additionalProperties": "name the properties, or make it an array of objects with a key and a value",
    "unevaluatedProperties": "write additionalProperties: false",
}
PLAIN, ESCAPE = r'[^"\\\x00-\x1f]', r'\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})'  # characters of a string, as they are written
CHARACTER, CHARACTERS = re.compile(f"{PLAIN}|{ESCAPE}"), re.compile(f"(?:{PLAIN}++|{ESCAPE})*+")
RUN = re.compile(f"{PLAIN}+")
BEGUN = re.compile(r"\\(?:u([0-9a-fA-F]{0,3}))?")  # an escape that is not whole
FILLER = "a"  # of strings that have to be longer


@dataclass(frozen=True)
class Read:
    """One way to read a text from some place: the value ended at `end`, or the text did and `missing` would end it.

    `room` says how many plain characters of a string may still come before `missing`, which stays what it is.
    """

    end: int = -1
    missing: str | None = None
    room: float = 0


def plain(text: str) -> bool:
    """Whether a string may hold these characters as they are."""
    return RUN.fullmatch(text) is not None


def check(schema: Schema) -> None:
    """Raises Unfit, with the place and the reason, for a schema that cannot be promised to be closed."""
    made = lower(schema)
    _check(made, made, "#", ())


def shortest(schema: Schema, text: str = "") -> str | None:
    """The shortest text that makes `text` whole; None where `text` begins no answer of the schema.

    Shortest in characters; of strings that are as short, the first in the order of the schema.
    """
    return Ends(schema).shortest(text)


class Ends:
    """`shortest` of one schema, for many texts: what does not depend on the text is found once."""

    def __init__(self, schema: Schema) -> None:
        self.schema = lower(schema)
        self._least: dict[int, str] = {}  # by the id of a part of the schema, as are the others
        self._literals: dict[int, list[str]] = {}
        self._objects: dict[int, _Object] = {}

    def shortest(self, text: str = "") -> str | None:
        """As above."""
        return self.end(text)[0]

    def end(self, text: str) -> tuple[str | None, float]:
        """The shortest end, and how many plain characters may come before it without changing it."""
        found = [(read.missing or "", read.room) for read in _value(self.schema, self, text, 0)
                 if read.missing is not None or read.end == len(text)]  # fmt: skip
        ending = min((missing for missing, _ in found), key=len, default=None)
        return ending, found[0][1] if len(found) == 1 else 0

    def least(self, part: Schema) -> str:
        """The shortest value of a part."""
        if id(part) not in self._least:
            found = shortest_of(part, self)
            assert found is not None
            self._least[id(part)] = found
        return self._least[id(part)]

    def literals(self, part: Schema) -> list[str]:
        """What an enum or a const may be, short ones first."""
        if id(part) not in self._literals:
            values = part.get("enum", [part.get("const")])
            self._literals[id(part)] = sorted((written(value) for value in values), key=len)
        return self._literals[id(part)]

    def object(self, part: Schema) -> _Object:
        """The members of a part."""
        if id(part) not in self._objects:
            self._objects[id(part)] = _Object.of(part, self)
        return self._objects[id(part)]


# --- reading


def _value(schema: Schema, ends: Ends, text: str, at: int) -> Iterator[Read]:
    schema = resolved(schema, ends.schema)
    if "enum" in schema or "const" in schema:
        yield from _literals(ends.literals(schema), text, at)
    elif "anyOf" in schema or "oneOf" in schema:
        for one in schema.get("anyOf") or schema["oneOf"]:
            yield from _value(one, ends, text, at)
    else:
        kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        for kind in kinds:
            yield from _typed(kind, schema, ends, text, at)


def _typed(kind: str, schema: Schema, ends: Ends, text: str, at: int) -> Iterator[Read]:
    if kind == "object":
        yield from _object(ends.object(schema), text, at)
    elif kind == "array":
        yield from _array(schema, ends, text, at)
    elif kind == "string":
        yield from _patterned(schema, text, at) if "pattern" in schema else _string(schema, text, at)
    elif kind == "integer":
        yield from (Read(*found) for found in numerals.integer(schema, text, at))
    elif kind == "number":
        yield from (Read(*found) for found in numerals.number(schema, text, at))
    else:
        yield from _literals(["null"] if kind == "null" else ["true", "false"], text, at)


def _literals(literals: Sequence[str], text: str, at: int) -> Iterator[Read]:
    """Of literals in the order of their length."""
    rest = text[at:]
    for literal in literals:
        if rest.startswith(literal):
            yield Read(at + len(literal))
        elif literal.startswith(rest):
            yield Read(missing=literal[len(rest) :])


def _then(reads: Iterator[Read], after: Callable[[], str]) -> Iterator[tuple[int, Read | None]]:
    """Ends to go on from, and readings that stop inside, with what comes after them at the least."""
    for read in reads:
        if read.missing is not None:
            yield -1, Read(missing=read.missing + after(), room=read.room)
        else:
            yield read.end, None


def shortest_of(schema: Schema, ends: Ends) -> str | None:
    """The shortest value of a part of a schema."""
    return min((r.missing for r in _value(schema, ends, "", 0) if r.missing is not None), key=len, default=None)


@dataclass(frozen=True)
class _Object:
    """An object's members, read one after another."""

    heads: list[str]  # the names with their colons
    values: list[Schema]
    needed: list[bool]
    last: int  # the place of the last needed member; -1: none is
    ends: Ends

    @classmethod
    def of(cls, schema: Schema, ends: Ends) -> _Object:
        properties, required = schema.get("properties", {}), schema.get("required", ())
        needed = [name in required for name in properties]
        last = max((i for i, one in enumerate(needed) if one), default=-1)
        return cls([f"{written(name)}:" for name in properties], list(properties.values()), needed, last, ends)

    def ending(self, i: int, first: bool) -> str:
        """What is missing before the i-th property, its comma included."""
        parts = [self.heads[k] + self.ends.least(self.values[k]) for k in range(i, self.last + 1) if self.needed[k]]
        return ("" if first or not parts else ",") + ",".join(parts) + "}"

    def members(self, text: str, i: int, at: int, first: bool, seen: set[tuple[int, int]]) -> Iterator[Read]:
        """From before the i-th property's comma on. Where several readings meet, they go on as one."""
        if (i, at) in seen:
            return
        seen.add((i, at))
        if at == len(text):
            yield Read(missing=self.ending(i, first))
            return
        if i > self.last and text.startswith("}", at):
            yield Read(at + 1)
        for k in range(i, len(self.heads)):
            yield from self._member(text, k, at, first, seen)
            if self.needed[k]:
                return

    def _member(self, text: str, k: int, at: int, first: bool, seen: set[tuple[int, int]]) -> Iterator[Read]:
        """The k-th property and what comes after it."""
        head = self.heads[k] if first else "," + self.heads[k]
        if text.startswith(head, at):
            value = _value(self.values[k], self.ends, text, at + len(head))
            for end, stopped in _then(value, lambda: self.ending(k + 1, False)):
                yield from [stopped] if stopped else self.members(text, k + 1, end, False, seen)
        elif head.startswith(rest := text[at : at + len(head)]):
            yield Read(missing=head[len(rest) :] + self.ends.least(self.values[k]) + self.ending(k + 1, False))


def _object(one: _Object, text: str, at: int) -> Iterator[Read]:
    if at == len(text):
        yield Read(missing="{" + one.ending(0, True))
    elif text[at] == "{":
        yield from one.members(text, 0, at + 1, True, set())


@dataclass(frozen=True)
class _Array:
    """An array's items, read one after another."""

    item: Schema
    least: int
    most: float
    ends: Ends
    text: str
    seen: set[tuple[int, int]] = field(default_factory=set)  # counts and places: several readings go on as one

    def ending(self, count: int) -> str:
        """What is missing after `count` items."""
        more = [self.ends.least(self.item)] * (self.least - count) if count < self.least else []
        return ("," if count and more else "") + ",".join(more) + "]"

    def items(self, count: int, at: int) -> Iterator[Read]:
        """After `count` items."""
        if (count, at) in self.seen:
            return
        self.seen.add((count, at))
        if at == len(self.text):
            yield Read(missing=self.ending(count))
            return
        if count >= self.least and self.text[at] == "]":
            yield Read(at + 1)
        if count >= self.most or (count and self.text[at] != ","):
            return
        item = _value(self.item, self.ends, self.text, at + 1 if count else at)
        for end, stopped in _then(item, lambda: self.ending(count + 1)):
            yield from [stopped] if stopped else self.items(count + 1, end)


def _array(schema: Schema, ends: Ends, text: str, at: int) -> Iterator[Read]:
    one = _Array(schema["items"], schema.get("minItems", 0), schema.get("maxItems", float("inf")), ends, text)
    if at == len(text):
        yield Read(missing="[" + one.ending(0))
    elif text[at] == "[":
        yield from one.items(0, at + 1)


def _string(schema: Schema, text: str, at: int) -> Iterator[Read]:
    least, most = schema.get("minLength", 0), schema.get("maxLength")
    if at == len(text):
        yield Read(missing=f'"{FILLER * least}"')
        return
    if text[at] != '"':
        return
    found = CHARACTERS.match(text, at + 1)
    assert found is not None
    end, said = found.end(), found.group()
    count = len(CHARACTER.findall(said)) if "\\" in said else len(said)
    if most is not None and count > most:
        return
    if end == len(text):
        room = (float("inf") if most is None else most - count) if count >= least else 0
        yield Read(missing=FILLER * (least - count) + '"', room=room)
    elif text[end] == '"':
        yield from [Read(end + 1)] if count >= least else []
    elif (begun := BEGUN.fullmatch(text, end)) and (most is None or count < most):
        missing = "n" if begun.group(1) is None else "001f"[len(begun.group(1)) :]
        yield Read(missing=missing + FILLER * (least - count - 1) + '"')


def _patterned(schema: Schema, text: str, at: int) -> Iterator[Read]:
    """Of strings with a pattern: they hold plain characters only, and end where their automaton does."""
    least, most = schema.get("minLength", 0), schema.get("maxLength", float("inf"))
    automaton = patterns.read(schema["pattern"])[1]
    if at < len(text) and text[at] != '"':
        return
    state, place = 0, at + 1
    while place < len(text) and text[place] != '"':
        found = automaton.step(state, text[place])
        if found is None or place - at > most:
            return
        state, place = found, place + 1
    count = place - at - 1
    if place < len(text):
        yield from [Read(place + 1)] if state in automaton.ends and count >= least else []
        return
    count = max(count, 0)
    rest = automaton.shortest(state, max(least - count, 0), most - count)
    if rest is not None:
        yield Read(missing=('"' if at == len(text) else "") + rest + '"')


# --- what is understood


def _check(schema: Any, root: Schema, where: str, above: tuple[str, ...]) -> None:
    if not isinstance(schema, Mapping):
        raise Unfit(f"{written(schema)} is no schema", where=where, allowed="an object with type, enum, const or anyOf")
    if "$ref" in schema:
        _known(schema, {"$ref"}, where)
        _check_reference(schema, root, where, above)
        return
    for key in ("anyOf", "oneOf"):
        if key in schema:
            if key == "oneOf" and len(schema[key]) > 1 and "anyOf" not in schema:
                raise Unfit(
                    "the branches of this oneOf cannot be told apart",
                    where=where,
                    allowed="branches of different types, or objects with a required property and a const of its own",
                    remedy="write anyOf, or give each branch such a property",
                )
            _known(schema, {key}, where)
            if not schema[key]:
                raise Unfit(f"{key} of nothing cannot be answered", where=where)
            for i, one in enumerate(schema[key]):
                _check(one, root, f"{where}/{key}/{i}", above)
            return
    if "enum" in schema or "const" in schema:
        _known(schema, {"enum", "const", "type"}, where)
        if "enum" in schema and not schema["enum"]:
            raise Unfit("an enum of nothing (of this type) cannot be answered", where=where)
        return
    _check_kinds(schema, root, where, above)


def _check_kinds(schema: Schema, root: Schema, where: str, above: tuple[str, ...]) -> None:
    kinds: Any = schema.get("type")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    for kind in kinds:
        if kind is None:
            _known(schema, set().union(*MEANT.values()), where)
            raise Unfit("it has no type, so it could be anything", where=where, allowed=f"type: {', '.join(MEANT)}")
        if kind not in MEANT:
            raise Unfit(f"type {kind!r} is not understood", where=where, allowed=", ".join(MEANT))
    _known(schema, {"type"}.union(*(MEANT[kind] for kind in kinds)), where)
    for kind in kinds:
        _check_kind(kind, schema, root, where, above)


def _check_reference(schema: Schema, root: Schema, where: str, above: tuple[str, ...]) -> None:
    name = str(schema["$ref"])
    if not name.startswith("#/"):
        raise Unfit(f"$ref {name!r} leads outside", where=where, allowed="#/$defs/...")
    if name in above:
        raise Unfit(f"{name} holds itself: there is no longest answer", where=where, remedy="write the levels out")
    try:
        found = resolved(schema, root)
    except (KeyError, TypeError, IndexError):
        raise Unfit(f"$ref {name!r} leads nowhere", where=where) from None
    _check(found, root, name, (*above, name))


def _known(schema: Schema, meant: set[str], where: str) -> None:
    strange = sorted(set(schema) - meant - BESIDE)
    if strange:
        raise Unfit(
            f"{strange[0]!r} is not understood here",
            where=where,
            allowed=", ".join(sorted(meant)),
            remedy=REMEDIES.get(strange[0], CHECKED),
        )


def _check_kind(kind: str, schema: Schema, root: Schema, where: str, above: tuple[str, ...]) -> None:
    if kind == "object":
        if schema.get("additionalProperties", False) is not False:
            raise Unfit(
                "additional properties have no end",
                where=where,
                allowed="additionalProperties: false",
                remedy=REMEDIES["additionalProperties"],
            )
        absent = sorted(set(schema.get("required", ())) - set(schema.get("properties", {})))
        if absent:
            raise Unfit(f"{absent[0]!r} is required and not described", where=where)
        for name, value in schema.get("properties", {}).items():
            _check(value, root, f"{where}/properties/{name}", above)
    elif kind == "array":
        if "items" not in schema:
            raise Unfit("an array without items could hold anything", where=where, remedy="describe items")
        _check(schema["items"], root, f"{where}/items", above)
        _ordered(schema, "minItems", "maxItems", where)
    elif kind == "string":
        _ordered(schema, "minLength", "maxLength", where)
        _check_text(schema, where)
    elif kind in ("integer", "number") and shortest_of({**schema, "type": kind}, Ends(root)) is None:
        raise Unfit("no number lies between these bounds", where=where)


def _check_text(schema: Schema, where: str) -> None:
    """Raises Unfit for a format that is none of ours, and a pattern that cannot be held."""
    if "format" in schema:
        both = "pattern" in schema
        raise Unfit(
            f"format {schema['format']!r} beside a pattern"
            if both
            else f"format {schema['format']!r} is not understood",
            where=where,
            allowed="one of the two" if both else ", ".join([*FORMATS, *sorted(ANY_TEXT)]),
            remedy=REMEDIES["format"],
        )
    if "pattern" not in schema:
        return
    try:
        automaton = patterns.read(schema["pattern"])[1]
    except Unfit as problem:
        raise Unfit(problem.problem, where=where, allowed=problem.allowed, remedy=problem.remedy) from None
    if automaton.shortest(0, schema.get("minLength", 0), schema.get("maxLength", float("inf"))) is None:
        raise Unfit(
            "no text is of this pattern (or format), and as long as minLength and maxLength say",
            where=where,
            remedy="change the lengths, or the pattern",
        )


def _ordered(schema: Schema, least: str, most: str, where: str) -> None:
    if schema.get(least, 0) > schema.get(most, float("inf")):
        raise Unfit(f"{least} is above {most}", where=where)
