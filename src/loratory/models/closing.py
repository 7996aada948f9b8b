"""How to end what has been begun: the shortest text that makes a beginning of JSON whole under a schema.

Grammar engines say which token may come next, none says how far the end is. Here a text is read along the schema by
descent, in every way that it can be read; where it stops, what is still missing is spelled out as shortly as can be. So
a writer with a budget of tokens can be kept where the end is in reach.

Objects have their properties in the schema's order, and JSON has no spaces: as the grammar is told to write it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loratory.errors import Unfit
from loratory.models import numerals
from loratory.protocols import JSON, Schema

MEANT = {  # what is understood of each type; anything else is refused
    "object": {"properties", "required", "additionalProperties"},
    "array": {"items", "minItems", "maxItems"},
    "string": {"minLength", "maxLength"},
    "integer": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"},
    "number": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"},
    "boolean": set(),
    "null": set(),
}
TELLING = {"title", "description", "examples", "default", "$schema", "$comment", "$id"}
ESCAPES = frozenset('"\\/bfnrt')
FILLER = "a"  # of strings that have to be longer


@dataclass(frozen=True)
class Read:
    """One way to read a text from some place: the value ended at `end`, or the text did and `missing` would end it."""

    end: int = -1
    missing: str | None = None


def written(value: JSON) -> str:
    """JSON as the grammar writes it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def check(schema: Schema) -> None:
    """Raises Unfit, with the place and the reason, for a schema that cannot be promised to be closed."""
    _check(schema, schema, "#", ())


def shortest(schema: Schema, text: str = "") -> str | None:
    """The shortest text that makes `text` whole; None where `text` begins no answer of the schema.

    Shortest in characters; of strings that are as short, the first in the order of the schema.
    """
    found = [read.missing if read.missing is not None else "" for read in _value(schema, schema, text, 0)
             if read.missing is not None or read.end == len(text)]  # fmt: skip
    return min(found, key=len, default=None)


# --- reading


def _value(schema: Schema, root: Schema, text: str, at: int) -> Iterator[Read]:
    schema = _resolved(schema, root)
    if "enum" in schema or "const" in schema:
        yield from _literals([written(v) for v in schema.get("enum", [schema.get("const")])], text, at)
    elif "anyOf" in schema or "oneOf" in schema:
        for one in schema.get("anyOf") or schema["oneOf"]:
            yield from _value(one, root, text, at)
    else:
        kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        for kind in kinds:
            yield from _typed(kind, schema, root, text, at)


def _typed(kind: str, schema: Schema, root: Schema, text: str, at: int) -> Iterator[Read]:
    if kind == "object":
        yield from _object(schema, root, text, at)
    elif kind == "array":
        yield from _array(schema, root, text, at)
    elif kind == "string":
        yield from _string(schema, text, at)
    elif kind == "integer":
        yield from (Read(*found) for found in numerals.integer(schema, text, at))
    elif kind == "number":
        yield from (Read(*found) for found in numerals.number(schema, text, at))
    else:
        yield from _literals(["null"] if kind == "null" else ["true", "false"], text, at)


def _literals(literals: Sequence[str], text: str, at: int) -> Iterator[Read]:
    rest = text[at:]
    for literal in sorted(literals, key=len):
        if rest.startswith(literal):
            yield Read(at + len(literal))
        elif literal.startswith(rest):
            yield Read(missing=literal[len(rest) :])


def _then(reads: Iterator[Read], after: str) -> Iterator[tuple[int, Read | None]]:
    """Ends to go on from, and readings that stop inside, with what comes after them at the least."""
    for read in reads:
        if read.missing is not None:
            yield -1, Read(missing=read.missing + after)
        else:
            yield read.end, None


def _least(schema: Schema, root: Schema) -> str:
    found = shortest_of(schema, root)
    assert found is not None
    return found


def shortest_of(schema: Schema, root: Schema) -> str | None:
    """The shortest value of a part of a schema."""
    return min((r.missing for r in _value(schema, root, "", 0) if r.missing is not None), key=len, default=None)


@dataclass(frozen=True)
class _Object:
    """An object's members, read one after another."""

    names: list[str]
    properties: Mapping[str, Schema]
    needed: frozenset[str]
    root: Schema
    text: str

    def ending(self, i: int, first: bool) -> str:
        """What is missing before the i-th property, its comma included."""
        needed = [name for name in self.names[i:] if name in self.needed]
        parts = [f"{written(name)}:{_least(self.properties[name], self.root)}" for name in needed]
        return ("" if first or not parts else ",") + ",".join(parts) + "}"

    def members(self, i: int, at: int, first: bool) -> Iterator[Read]:
        """From before the i-th property's comma on."""
        if at == len(self.text):
            yield Read(missing=self.ending(i, first))
            return
        if self.needed.isdisjoint(self.names[i:]) and self.text.startswith("}", at):
            yield Read(at + 1)
        for k in range(i, len(self.names)):
            yield from self._member(k, at, first)
            if self.names[k] in self.needed:
                return

    def _member(self, k: int, at: int, first: bool) -> Iterator[Read]:
        """The k-th property and what comes after it."""
        value = self.properties[self.names[k]]
        head = ("" if first else ",") + written(self.names[k]) + ":"
        rest = self.text[at:]
        if rest.startswith(head):
            for end, stopped in _then(_value(value, self.root, self.text, at + len(head)), self.ending(k + 1, False)):
                yield from [stopped] if stopped else self.members(k + 1, end, False)
        elif head.startswith(rest):
            yield Read(missing=head[len(rest) :] + _least(value, self.root) + self.ending(k + 1, False))


def _object(schema: Schema, root: Schema, text: str, at: int) -> Iterator[Read]:
    properties = schema.get("properties", {})
    one = _Object(list(properties), properties, frozenset(schema.get("required", ())), root, text)
    if at == len(text):
        yield Read(missing="{" + one.ending(0, True))
    elif text[at] == "{":
        yield from one.members(0, at + 1, True)


@dataclass(frozen=True)
class _Array:
    """An array's items, read one after another."""

    item: Schema
    least: int
    most: float
    root: Schema
    text: str

    def ending(self, count: int) -> str:
        """What is missing after `count` items."""
        more = [_least(self.item, self.root)] * (self.least - count) if count < self.least else []
        return ("," if count and more else "") + ",".join(more) + "]"

    def items(self, count: int, at: int) -> Iterator[Read]:
        """After `count` items."""
        if at == len(self.text):
            yield Read(missing=self.ending(count))
            return
        if count >= self.least and self.text[at] == "]":
            yield Read(at + 1)
        if count >= self.most or (count and self.text[at] != ","):
            return
        start = at + 1 if count else at
        for end, stopped in _then(_value(self.item, self.root, self.text, start), self.ending(count + 1)):
            yield from [stopped] if stopped else self.items(count + 1, end)


def _array(schema: Schema, root: Schema, text: str, at: int) -> Iterator[Read]:
    one = _Array(schema["items"], schema.get("minItems", 0), schema.get("maxItems", float("inf")), root, text)
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
    count, i = 0, at + 1
    while i < len(text):
        if text[i] == '"':
            if count >= least:
                yield Read(i + 1)
            return
        size, missing = _character(text, i)
        if size == 0 or (most is not None and count >= most):
            return
        count += 1
        if missing is not None:
            yield Read(missing=missing + FILLER * (least - count) + '"')
            return
        i += size
    yield Read(missing=FILLER * (least - count) + '"')


def _character(text: str, i: int) -> tuple[int, str | None]:
    """How long the character at i is as it is written (0: none that may stand there), and what is missing of it."""
    if text[i] != "\\":
        return (0 if ord(text[i]) < 32 else 1), None
    if i + 1 == len(text):
        return 1, "n"
    if text[i + 1] in ESCAPES:
        return 2, None
    if text[i + 1] != "u":
        return 0, None
    given = text[i + 2 : i + 6]
    if any(c not in "0123456789abcdefABCDEF" for c in given):
        return 0, None
    return (6, None) if len(given) == 4 else (2 + len(given), "001f"[len(given) :])


# --- what is understood


def _resolved(schema: Schema, root: Schema) -> Schema:
    """Behind a local reference."""
    while "$ref" in schema:
        found: Any = root
        for part in str(schema["$ref"]).removeprefix("#/").split("/"):
            found = found[part.replace("~1", "/").replace("~0", "~")]
        schema = found
    return schema


def _check(schema: Any, root: Schema, where: str, above: tuple[str, ...]) -> None:
    if not isinstance(schema, Mapping):
        raise Unfit(f"{written(schema)} is no schema", where=where, allowed="an object with type, enum, const or anyOf")
    if "$ref" in schema:
        _check_reference(schema, root, where, above)
        return
    for key in ("anyOf", "oneOf"):
        if key in schema:
            _known(schema, {key}, where)
            for i, one in enumerate(schema[key]):
                _check(one, root, f"{where}/{key}/{i}", above)
            return
    if "enum" in schema or "const" in schema:
        _known(schema, {"enum", "const", "type"}, where)
        if "enum" in schema and not schema["enum"]:
            raise Unfit("an enum of nothing cannot be answered", where=where)
        return
    _check_kinds(schema, root, where, above)


def _check_kinds(schema: Schema, root: Schema, where: str, above: tuple[str, ...]) -> None:
    kinds: Any = schema.get("type")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    for kind in kinds:
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
        found = _resolved(schema, root)
    except (KeyError, TypeError, IndexError):
        raise Unfit(f"$ref {name!r} leads nowhere", where=where) from None
    _check(found, root, name, (*above, name))


def _known(schema: Schema, meant: set[str], where: str) -> None:
    strange = sorted(set(schema) - meant - TELLING - {"$defs", "definitions"})
    if strange:
        raise Unfit(
            f"{strange[0]!r} is not understood here",
            where=where,
            allowed=", ".join(sorted(meant)),
            remedy="leave it out of the contract and check it after the answer",
        )


def _check_kind(kind: str, schema: Schema, root: Schema, where: str, above: tuple[str, ...]) -> None:
    if kind == "object":
        if schema.get("additionalProperties", False) is not False:
            raise Unfit("additional properties have no end", where=where, allowed="additionalProperties: false")
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
    elif kind in ("integer", "number") and shortest_of({**schema, "type": kind}, root) is None:
        raise Unfit("no number lies between these bounds", where=where)


def _ordered(schema: Schema, least: str, most: str, where: str) -> None:
    if schema.get(least, 0) > schema.get(most, float("inf")):
        raise Unfit(f"{least} is above {most}", where=where)
