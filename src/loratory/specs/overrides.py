"""Changes to a spec's plain values: `--set training.seeds=3` of the command line, `training={"seeds": 3}` of a call."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml.error import YAMLError

from loratory.errors import SpecError, first_line, format_value
from loratory.specs.yaml_lines import KeyPath as KeyPath
from loratory.specs.yaml_values import parse_yaml_value

OVERRIDE_FORM = "KEY=VALUE, such as training.seeds=3, lora.rank=8 or ladder.NAME.rank=8"


def apply_overrides(values: dict[str, Any], changes: Iterable[str]) -> tuple[dict[str, Any], dict[KeyPath, str]]:
    """A copy of the values with each KEY.PATH=VALUE applied (VALUE is YAML), and what was changed by what."""
    made, by = copy.deepcopy(values), {}
    for change in changes:
        key, equals, text = change.partition("=")
        if not equals or not all(key.split(".")):
            raise SpecError(f"{change!r} is no change", where="--set", allowed=OVERRIDE_FORM)
        try:
            value = parse_yaml_value(text, key.split(".")[-1])
        except YAMLError as problem:
            said = getattr(problem, "problem", None) or first_line(problem)
            raise SpecError(
                f"{text!r} is no YAML value: {said}", where=f"--set {change}", allowed=OVERRIDE_FORM
            ) from None
        by[_set_value(made, key.split("."), value, change)] = f"--set {change}"
    return made, by


def merge_changes(values: Mapping[str, Any], changes: Mapping[str, Any]) -> tuple[dict[str, Any], dict[KeyPath, str]]:
    """A copy of the values with the changes merged into it, and where each one came from.

    A mapping is merged key by key into the mapping that stands there; any other value takes the place of what is there.
    """
    made: dict[str, Any] = copy.deepcopy(dict(values))
    by: dict[KeyPath, str] = {}
    _merge_into(made, changes, (), by)
    return made, by


def _merge_into(values: dict[str, Any], changes: Mapping[str, Any], path: KeyPath, by: dict[KeyPath, str]) -> None:
    for name, change in changes.items():
        key, held = str(name), values.get(str(name))
        if isinstance(change, Mapping) and isinstance(held, dict):
            _merge_into(held, change, (*path, key), by)
        else:
            values[key] = _to_plain(change)
            by[(*path, key)] = "the argument " + ".".join(map(str, (*path, key)))


def _to_plain(value: Any) -> Any:
    """A value of Python as YAML would give it."""
    if isinstance(value, Mapping):
        return {str(key): _to_plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_to_plain(inner) for inner in value]
    return str(value) if isinstance(value, Path) else value


def _set_value(values: dict[str, Any], keys: list[str], value: object, change: str) -> KeyPath:
    """Put the value in its place; returns where that is."""
    inner, path = values, []
    for number, part in enumerate(keys[:-1]):
        path.append(part)
        if inner.get(part) is None:
            inner[part] = {}
        held = inner[part]
        if isinstance(held, list) and number == 0:
            place = _find_row(held, keys[1], change)
            if len(keys) == 2:
                held[place] = {keys[1]: value}
                return (part, place, keys[1])
            return (part, place, *_set_value(held[place], keys[1:], value, change))
        if not isinstance(held, dict):
            raise SpecError(
                f"{part!r} holds {format_value(held)}, and no keys", where=f"--set {change}", allowed=OVERRIDE_FORM
            )
        inner = held
    inner[keys[-1]] = value
    return (*path, keys[-1])


def _find_row(rows: list[Any], name: str, change: str) -> int:
    """The row of a contender, made a mapping that options can be put in."""
    for place, row in enumerate(rows):
        if row == name:
            rows[place] = {name: {}}
        if rows[place] == {name: None}:
            rows[place] = {name: {}}
        if isinstance(rows[place], dict) and name in rows[place]:
            return place
    known = [row if isinstance(row, str) else next(iter(row), "") for row in rows if isinstance(row, (str, dict))]
    raise SpecError(
        f"the ladder has no contender {name!r}", where=f"--set {change}", allowed=", ".join(map(str, known))
    )
