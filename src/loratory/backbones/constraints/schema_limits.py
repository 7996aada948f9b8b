"""Bounds of a schema from outside: what is tiny to send may be endless to hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from loratory.backbones.constraints import regex_automata, schema_support
from loratory.backbones.constraints.schema_lowering import lower_schema
from loratory.errors import UnsupportedTask
from loratory.protocols import JSON, Schema
from loratory.schemas import resolve_reference, strip_annotations, to_compact_json

MAX_SCHEMA_BYTES = 8_192  # of a schema
MAX_PARTS = 256  # with every reference written out
MAX_SHORTEST_ANSWER = 2_048  # characters of the shortest answer
MAX_NUMBER, MAX_LENGTH = 1e15, 4_096  # bounds in it: of numbers, and of lengths
MAX_DEPTH = 24
LENGTH_KEYWORDS = ("minLength", "maxLength", "minItems", "maxItems")


def check_schema_limits(schema: JSON) -> None:
    """Raises UnsupportedTask, with the place and the reason, for a schema that is too much, or cannot be promised
    to end.
    """
    if not isinstance(schema, Mapping):
        raise UnsupportedTask("the schema is no JSON object", allowed="a JSON Schema")
    try:
        plain = strip_annotations(schema)
        _check_values(plain, 0)
        size = len(to_compact_json(plain).encode("utf-8", "replace"))
        if size > MAX_SCHEMA_BYTES:
            raise UnsupportedTask(
                f"the schema has {size} bytes, without what only describes it", allowed=f"at most {MAX_SCHEMA_BYTES}"
            )
        made = lower_schema(plain)
        parts, least = _SchemaSize(made).measure(made, ())
        if parts > MAX_PARTS or least > MAX_SHORTEST_ANSWER:
            raise UnsupportedTask(
                f"with its references written out it has {parts:g} parts, and its shortest answer {least:g} characters",
                allowed=f"{MAX_PARTS} parts, {MAX_SHORTEST_ANSWER} characters",
            )
        schema_support.check_completable(schema)
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError, IndexError, RecursionError):
        raise UnsupportedTask("it is no JSON Schema", allowed="https://json-schema.org/draft/2020-12") from None


def _check_values(value: JSON, depth: int) -> None:
    if depth > MAX_DEPTH * 2:
        raise UnsupportedTask("the schema is too deep", allowed=f"{MAX_DEPTH} levels")
    if isinstance(value, (int, float)) and not abs(value) <= MAX_NUMBER:
        raise UnsupportedTask("a number in it is too large", allowed=f"numbers within {MAX_NUMBER:g}")
    for inner in value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ():
        _check_values(inner, depth + 1)
    for name in LENGTH_KEYWORDS if isinstance(value, Mapping) else ():
        if isinstance(value.get(name), (int, float)) and value[name] > MAX_LENGTH:
            raise UnsupportedTask(f"{name} is too large", allowed=f"at most {MAX_LENGTH}")


class _SchemaSize:
    """Parts of a schema, and characters of its shortest answer, each reference followed once."""

    def __init__(self, root: Schema) -> None:
        self._root = root
        self._measured: dict[str, tuple[float, float]] = {}

    def measure(self, part: JSON, parents: tuple[str, ...]) -> tuple[float, float]:
        if not isinstance(part, Mapping):
            return 1, 1
        if "$ref" in part:
            return self._measure_reference(str(part["$ref"]), parents)
        if "enum" in part or "const" in part:
            values = [len(to_compact_json(value)) for value in part.get("enum", [part.get("const")])]
            return 1, min(values, default=1)
        branches = [self.measure(one, parents) for one in (*part.get("anyOf", ()), *part.get("oneOf", ()))]
        if branches:
            return 1 + sum(parts for parts, _ in branches), min(least for _, least in branches)
        found = list(self._measure_children(part, parents))
        return 1 + sum(parts for parts, _ in found), 2 + _count_min_characters(part) + sum(least for _, least in found)

    def _measure_reference(self, name: str, parents: tuple[str, ...]) -> tuple[float, float]:
        if name in parents:
            raise UnsupportedTask(
                f"{name[:80]} holds itself: there is no longest answer", remedy="write the levels out"
            )
        if name not in self._measured:
            self._measured[name] = self.measure(resolve_reference({"$ref": name}, self._root), (*parents, name))
        return self._measured[name]

    def _measure_children(self, part: Schema, parents: tuple[str, ...]) -> Iterator[tuple[float, float]]:
        """Of members and items: parts, and characters where they have to be there."""
        for name, value in part.get("properties", {}).items():
            parts, least = self.measure(value, parents)
            yield parts, (len(name) + 4 + least) if name in part.get("required", ()) else 0
        if "items" in part:
            parts, least = self.measure(part["items"], parents)
            yield parts, part.get("minItems", 0) * (least + 1)


def _count_min_characters(part: Schema) -> int:
    """Of a string at least."""
    least: int = part.get("minLength", 0)
    if "pattern" not in part:
        return least
    try:
        return len(regex_automata.parse_pattern(part["pattern"])[1].find_shortest(0, least) or "")
    except UnsupportedTask:  # it is refused in its place
        return least
