"""Bounds of a schema from outside: what is tiny to send may be endless to hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from loratory.errors import Unfit
from loratory.models import closing, patterns
from loratory.models.lowering import lower
from loratory.protocols import Schema
from loratory.schemas import resolved, without_annotations, written

BYTES = 8_192  # of a schema
PARTS = 256  # with every reference written out
LEAST = 2_048  # characters of the shortest answer
NUMBER, COUNT = 1e15, 4_096  # bounds in it: of numbers, and of lengths
DEPTH = 24
COUNTS = ("minLength", "maxLength", "minItems", "maxItems")


def check(schema: Any) -> None:
    """Raises Unfit, with the place and the reason, for a schema that is too much, or cannot be promised to end."""
    if not isinstance(schema, Mapping):
        raise Unfit("the schema is no JSON object", allowed="a JSON Schema")
    try:
        plain = without_annotations(schema)
        _check_values(plain, 0)
        size = len(written(plain).encode("utf-8", "replace"))
        if size > BYTES:
            raise Unfit(f"the schema has {size} bytes, without what only describes it", allowed=f"at most {BYTES}")
        made = lower(plain)
        parts, least = _Extent(made).of(made, ())
        if parts > PARTS or least > LEAST:
            raise Unfit(
                f"with its references written out it has {parts:g} parts, and its shortest answer {least:g} characters",
                allowed=f"{PARTS} parts, {LEAST} characters",
            )
        closing.check(schema)
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError, IndexError, RecursionError):
        raise Unfit("it is no JSON Schema", allowed="https://json-schema.org/draft/2020-12") from None


def _check_values(value: Any, depth: int) -> None:
    if depth > DEPTH * 2:
        raise Unfit("the schema is too deep", allowed=f"{DEPTH} levels")
    if isinstance(value, (int, float)) and not abs(value) <= NUMBER:
        raise Unfit("a number in it is too large", allowed=f"numbers within {NUMBER:g}")
    for inner in value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ():
        _check_values(inner, depth + 1)
    for name in COUNTS if isinstance(value, Mapping) else ():
        if isinstance(value.get(name), (int, float)) and value[name] > COUNT:
            raise Unfit(f"{name} is too large", allowed=f"at most {COUNT}")


class _Extent:
    """Parts of a schema, and characters of its shortest answer, each reference followed once."""

    def __init__(self, root: Schema) -> None:
        self._root = root
        self._known: dict[str, tuple[float, float]] = {}

    def of(self, part: Any, above: tuple[str, ...]) -> tuple[float, float]:
        if not isinstance(part, Mapping):
            return 1, 1
        if "$ref" in part:
            return self._referred(str(part["$ref"]), above)
        if "enum" in part or "const" in part:
            values = [len(written(value)) for value in part.get("enum", [part.get("const")])]
            return 1, min(values, default=1)
        branches = [self.of(one, above) for one in (*part.get("anyOf", ()), *part.get("oneOf", ()))]
        if branches:
            return 1 + sum(parts for parts, _ in branches), min(least for _, least in branches)
        found = list(self._inside(part, above))
        return 1 + sum(parts for parts, _ in found), 2 + _characters(part) + sum(least for _, least in found)

    def _referred(self, name: str, above: tuple[str, ...]) -> tuple[float, float]:
        if name in above:
            raise Unfit(f"{name[:80]} holds itself: there is no longest answer", remedy="write the levels out")
        if name not in self._known:
            self._known[name] = self.of(resolved({"$ref": name}, self._root), (*above, name))
        return self._known[name]

    def _inside(self, part: Schema, above: tuple[str, ...]) -> Iterator[tuple[float, float]]:
        """Of members and items: parts, and characters where they have to be there."""
        for name, value in part.get("properties", {}).items():
            parts, least = self.of(value, above)
            yield parts, (len(name) + 4 + least) if name in part.get("required", ()) else 0
        if "items" in part:
            parts, least = self.of(part["items"], above)
            yield parts, part.get("minItems", 0) * (least + 1)


def _characters(part: Schema) -> int:
    """Of a string at least."""
    least: int = part.get("minLength", 0)
    if "pattern" not in part:
        return least
    try:
        return len(patterns.read(part["pattern"])[1].shortest(0, least) or "")
    except Unfit:  # it is refused in its place
        return least
