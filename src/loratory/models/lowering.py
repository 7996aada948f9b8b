"""A schema in the few words that a writer is held to: without annotations, formats as patterns, patterns anchored.

What cannot be said in them stays as it is: `closing.check` refuses it by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import combinations
from typing import Any

from loratory.errors import Unfit
from loratory.formats import ANY_NUMBER, ANY_TEXT, FORMATS, WHOLE
from loratory.models import patterns
from loratory.protocols import Schema
from loratory.schemas import resolved, rewrite, without_annotations, written

TYPES = frozenset(("string", "number", "boolean", "null", "object", "array"))
DEPTH = 24
LARGEST = 10**18 - 1  # whole numbers that are written: 18 digits


def lower(schema: Schema) -> Schema:
    """The schema that is held while writing: every answer of it is one of the given schema."""
    root: Schema = rewrite(without_annotations(schema), _lowered)
    made: Schema = rewrite(root, partial(_one_of, root))
    return made


def _one_of(root: Schema, one: dict[str, Any]) -> dict[str, Any]:
    """`oneOf` is `anyOf` where no value can be of two branches; else it stays."""
    branches = one.get("oneOf")
    if not isinstance(branches, list) or "anyOf" in one:
        return one
    if not all(apart(left, right, root) for left, right in combinations(branches, 2)):
        return one
    return {("anyOf" if key == "oneOf" else key): value for key, value in one.items()}


def apart(left: Any, right: Any, root: Schema, depth: int = 0) -> bool:
    """Whether it is plain that no value is of both schemas: by type, by their literals, or by a property of both."""
    try:
        left, right = resolved(left, root), resolved(right, root)
    except (KeyError, TypeError, IndexError):
        return False
    if depth > DEPTH:
        return False
    for one, other in ((left, right), (right, left)):
        if branches := one.get("anyOf") or one.get("oneOf"):
            return all(apart(branch, other, root, depth + 1) for branch in branches)
    values, others = _values(left), _values(right)
    if values is not None and others is not None:
        return not values & others
    if not _types(left) & _types(right):
        return True
    both = set(left.get("required", ())) & set(right.get("required", ()))
    first, second = left.get("properties", {}), right.get("properties", {})
    return _types(left) == _types(right) == {"object"} and any(
        apart(first[name], second[name], root, depth + 1) for name in both if name in first and name in second
    )


def _values(one: Schema) -> set[str] | None:
    """The literals that it allows, as JSON; None where these are not all."""
    if "const" in one:
        return {written(one["const"])}
    return set(map(written, one["enum"])) if isinstance(one.get("enum"), list) else None


def _types(one: Schema) -> set[str]:
    """The types that its values may have; a whole number is a number."""
    values = [one["const"]] if "const" in one else one.get("enum")
    if isinstance(values, list):
        return {kind for kind in TYPES for value in values if _is(kind, value)}
    kinds = TYPES if one.get("type") is None else set(map(str, _kinds(one)))
    return {"number" if kind == "integer" else kind for kind in kinds}


def _lowered(one: dict[str, Any]) -> dict[str, Any]:
    one = _joined(one)
    if "enum" in one or "const" in one:
        return _literals(one)
    return _pattern(_format(one))


def _joined(one: dict[str, Any]) -> dict[str, Any]:
    """`allOf` of one schema with nothing beside it is that schema (pydantic 1 and OpenAPI write references so)."""
    parts = one.get("allOf")
    if not isinstance(parts, list) or len(parts) != 1 or not isinstance(parts[0], Mapping):
        return one
    defs: dict[str, Any] = {key: one[key] for key in ("$defs", "definitions") if key in one}
    return {**defs, **parts[0]} if len(defs) + 1 == len(one) else one


def _kinds(one: Mapping[str, Any]) -> list[Any]:
    kinds = one.get("type")
    return kinds if isinstance(kinds, list) else [kinds]


def _format(one: dict[str, Any]) -> dict[str, Any]:
    """The format as a pattern, or as bounds; left out where it says nothing of values of this type."""
    name, kinds = one.get("format"), _kinds(one)
    if not isinstance(name, str):
        return one
    rest = {key: value for key, value in one.items() if key != "format"}
    if "string" in kinds:
        if name in ANY_TEXT:
            return rest
        if name in FORMATS and "pattern" not in one:
            return _sized(rest, name)
    elif name in WHOLE and "integer" in kinds:
        return _bounded(rest, *WHOLE[name])
    elif name in FORMATS or name in ANY_TEXT or name in ANY_NUMBER or name in WHOLE:
        return rest
    return one


def _sized(rest: dict[str, Any], name: str) -> dict[str, Any]:
    made = {**rest, "pattern": f"^(?:{FORMATS[name].pattern})$"}
    longest, most = FORMATS[name].longest, rest.get("maxLength")
    if longest is not None:
        made["maxLength"] = min(longest, most) if isinstance(most, (int, float)) else longest
    return made


def _bounded(rest: dict[str, Any], least: int, most: int) -> dict[str, Any]:
    low, high = rest.get("minimum"), rest.get("maximum")
    least, most = max(least, -LARGEST), min(most, LARGEST)
    return {
        **rest,
        "minimum": max(low, least) if isinstance(low, (int, float)) else least,
        "maximum": min(high, most) if isinstance(high, (int, float)) else most,
    }


def _pattern(one: dict[str, Any]) -> dict[str, Any]:
    """The pattern in words that every engine takes alike; left out where no text is meant."""
    if not isinstance(one.get("pattern"), str):
        return one
    if "string" not in _kinds(one):
        return one if one.get("type") is None else {key: value for key, value in one.items() if key != "pattern"}
    try:
        return {**one, "pattern": patterns.read(one["pattern"])[0]}
    except Unfit:
        return one


def _literals(one: dict[str, Any]) -> dict[str, Any]:
    """An enum without values of another type."""
    values = one.get("enum")
    if not isinstance(values, list) or one.get("type") is None:
        return one
    return {**one, "enum": [value for value in values if any(_is(kind, value) for kind in _kinds(one))]}


def _is(kind: Any, value: Any) -> bool:
    """Whether a value is of a type of JSON Schema."""
    if kind in ("integer", "number"):
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return number and (kind == "number" or float(value).is_integer())
    types: Mapping[Any, Any] = {"string": str, "boolean": bool, "null": type(None), "object": Mapping, "array": list}
    return isinstance(value, types.get(kind, ()))
