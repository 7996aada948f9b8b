"""Values into models; what a model refuses becomes a SpecError that names line, value seen and what is allowed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from loratory.errors import SpecError, format_value, suggest_nearest
from loratory.specs.field_descriptions import describe_allowed, find_field, find_model, summarise_field
from loratory.specs.yaml_lines import KeyPath as KeyPath
from loratory.specs.yaml_lines import find_line

Model = TypeVar("Model", bound=BaseModel)
ERROR_REASONS = (  # pydantic's error types, by prefix, in words
    ("greater_than", "is too small"),
    ("less_than", "is too large"),
    ("int_", "is no whole number"),
    ("float_", "is no number"),
    ("finite_number", "is no finite number"),
    ("string_", "is no text"),
    ("bool_", "is neither true nor false"),
    ("list_", "is no list"),
    ("tuple_", "is no list"),
    ("dict_", "is no mapping"),
    ("model_", "is no mapping"),
    ("literal_error", "is none of them"),
)


def _find_no_tracker(name: str, where: str) -> Any:
    raise SpecError(f"there is no tracker called {name!r}", where=where)


@dataclass(frozen=True)
class SpecParser:
    """One parse: where each key stands, and the classes that may be named."""

    file: str
    lines: Mapping[KeyPath, int]
    find_task: Callable[[str, str], Any]  # (kind, where) -> class; raises SpecError
    find_regime: Callable[[str, str], Any]
    regimes: Sequence[str]
    changes: Mapping[KeyPath, str] = field(default_factory=dict)  # where a changed key came from: "--set base=x"
    find_tracker: Callable[[str, str], Any] = _find_no_tracker

    def locate(self, path: KeyPath) -> str:
        """file:line: key path; for what a change put there, that change."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.changes:
                return self.changes[path[:length]]
        if path and path not in self.lines:
            for changed, change in self.changes.items():
                if changed[: len(path)] == path:
                    return change
        return f"{self.file}:{find_line(self.lines, path)}" + "".join(f": {part}" for part in _format_keys(path))

    def require_mapping(self, values: object, path: KeyPath, example: str) -> Mapping[str, Any]:
        """The values of a section; a section that is left empty holds no keys. Raises SpecError."""
        if values is None:
            return {}
        if not isinstance(values, Mapping):
            raise SpecError(f"{format_value(values)} is no mapping", where=self.locate(path), allowed=example)
        return values

    def require_text(self, value: object, path: KeyPath) -> str:
        """A value that must be text. Raises SpecError."""
        if not isinstance(value, str) or not value:
            raise SpecError(f"{format_value(value)} is no text", where=self.locate(path), remedy=_suggest_quotes(value))
        return value

    def check_keys(self, values: Mapping[str, Any], keys: Sequence[str], path: KeyPath) -> None:
        """Refuse a key that is none of `keys`, and name the nearest."""
        for key in values:
            if key not in keys:
                raise self._make_unknown_key_error(key, keys, (*path, str(key)))

    def validate_model(self, cls: type[Model], values: object, path: KeyPath) -> Model:
        """Validate values into a model. Raises SpecError."""
        values = self.require_mapping(values, path, f"the keys {', '.join(cls.model_fields)}")
        try:
            made = cls.model_validate(dict(values))
        except ValidationError as problem:
            raise self._make_error(cls, problem.errors(include_url=False, include_context=False), path) from None
        for inner, value in _find_coerced_values(made, values):
            raise self._make_value_error(cls, value, "is no number", path, inner)
        return made

    def _make_error(self, cls: type[BaseModel], errors: Sequence[Any], path: KeyPath) -> SpecError:
        error = errors[0]
        loc = _clean_location(cls, error["loc"])
        if error["type"] == "extra_forbidden":
            return self._make_unknown_key_error(
                error["loc"][-1], list(find_model(cls, error["loc"]).model_fields), (*path, *loc)
            )
        if error["type"] == "missing":
            name = loc[-1]
            return SpecError(
                f"{name!r} is missing",
                where=self.locate((*path, *loc[:-1])),
                allowed=_describe_allowed(cls, loc),
                remedy=f"add {name}: ...",
            )
        if error["type"] == "value_error":
            said = error["msg"].removeprefix("Value error, ")
            return SpecError(f"{said}; found {format_value(error['input'])}", where=self.locate((*path, *loc)))
        return self._make_value_error(cls, error["input"], _explain_reason(cls, errors, loc), path, loc)

    def _make_value_error(
        self, cls: type[BaseModel], value: object, reason: str, path: KeyPath, loc: KeyPath
    ) -> SpecError:
        return SpecError(
            f"{format_value(value)} {reason}",
            where=self.locate((*path, *loc)),
            allowed=_describe_allowed(cls, loc),
            remedy=_suggest_quotes(value) if reason == "is no text" else "",
        )

    def _make_unknown_key_error(self, key: object, keys: Sequence[str], path: KeyPath) -> SpecError:
        return SpecError(
            f"unknown key {format_value(key)}{suggest_nearest(str(key), keys)}",
            where=self.locate(path),
            allowed=", ".join(keys),
        )


def _format_keys(path: KeyPath) -> Iterator[str]:
    """Keys as they are written; a row's number is left out where its name follows."""
    for part, after in zip(path, (*path[1:], 0), strict=True):
        if isinstance(part, str):
            yield part
        elif isinstance(after, int):
            yield f"number {part + 1}"


def _clean_location(cls: type[BaseModel], loc: Sequence[Any]) -> KeyPath:
    """Pydantic's location without the names that it gives to the branches of a union and to a mapping's keys."""
    kept: list[Any] = []
    for part in loc:
        field = find_field(cls, kept)
        branch = field is not None and str(part).split("[", 1)[0] in ("str", "int", "float", "list", "dict", "literal")
        if part != "[key]" and not (branch and find_model(cls, [*kept, part]).model_fields.get(str(part)) is None):
            kept.append(part)
    return tuple(kept)


def _explain_reason(cls: type[BaseModel], errors: Sequence[Any], loc: KeyPath) -> str:
    error = errors[0]
    if len(errors) > 1 and len({str(_clean_location(cls, one["loc"])) for one in errors}) == 1:
        return "is not allowed"  # no branch of a union takes it
    if error["type"] == "literal_error":
        field = find_field(cls, loc)
        choices = describe_allowed(field).partition(", or null")[0].split(" or ") if field else []
        return f"is not allowed{suggest_nearest(str(error['input']), choices)}"
    return next((words for prefix, words in ERROR_REASONS if error["type"].startswith(prefix)), error["msg"].lower())


def _describe_allowed(cls: type[BaseModel], loc: KeyPath) -> str:
    field = find_field(cls, loc)
    if field is None:
        return ""
    about = summarise_field(field)
    return describe_allowed(field) + (f" ({about})" if about else "")


def _suggest_quotes(value: object) -> str:
    return f'put quotes around it: "{format_value(value)}"' if isinstance(value, (bool, int, float)) else ""


def _find_coerced_values(parsed: object, values: object, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """What pydantic lets pass for a number and is none: true, false and infinity."""
    if isinstance(values, Mapping):
        for key, value in values.items():
            inner = parsed.get(key) if isinstance(parsed, Mapping) else getattr(parsed, str(key), None)
            yield from _find_coerced_values(inner, value, (*path, str(key)))
    elif isinstance(values, bool) and not isinstance(parsed, bool):
        yield path, values
    elif isinstance(parsed, float) and not math.isfinite(parsed):
        yield path, values
