"""Values into models; what a model refuses becomes a SpecError that names line, value seen and what is allowed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from loratory.errors import SpecError, nearest, shown
from loratory.specs.describing import allowed, field_at, model_at
from loratory.specs.lines import Path as KeyPath
from loratory.specs.lines import line_at

Model = TypeVar("Model", bound=BaseModel)
REASONS = (  # pydantic's error types, by prefix, in words
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


@dataclass(frozen=True)
class Parser:
    """One parse: where each key stands, and the classes that may be named."""

    file: str
    lines: Mapping[KeyPath, int]
    task_of: Callable[[str, str], Any]  # (kind, where) -> class; raises SpecError
    regime_of: Callable[[str, str], Any]
    regimes: Sequence[str]
    changes: Mapping[KeyPath, str] = field(default_factory=dict)  # what --set put there

    def where(self, path: KeyPath) -> str:
        """file:line: key path; for what --set put there, that."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.changes:
                return f"--set {self.changes[path[:length]]}"
        if path and path not in self.lines:
            for changed, change in self.changes.items():
                if changed[: len(path)] == path:
                    return f"--set {change}"
        return f"{self.file}:{line_at(self.lines, path)}" + "".join(f": {part}" for part in _spoken(path))

    def mapping(self, values: Any, path: KeyPath, example: str) -> Mapping[str, Any]:
        """The values of a section; a section that is left empty holds no keys. Raises SpecError."""
        if values is None:
            return {}
        if not isinstance(values, Mapping):
            raise SpecError(f"{shown(values)} is no mapping", where=self.where(path), allowed=example)
        return values

    def text(self, value: Any, path: KeyPath) -> str:
        """A value that must be text. Raises SpecError."""
        if not isinstance(value, str) or not value:
            raise SpecError(f"{shown(value)} is no text", where=self.where(path), remedy=_quoted(value))
        return value

    def known(self, values: Mapping[str, Any], keys: Sequence[str], path: KeyPath) -> None:
        """Refuse a key that is none of `keys`, and name the nearest."""
        for key in values:
            if key not in keys:
                raise self._unknown(key, keys, (*path, str(key)))

    def model(self, cls: type[Model], values: Any, path: KeyPath) -> Model:
        """Validate values into a model. Raises SpecError."""
        values = self.mapping(values, path, f"the keys {', '.join(cls.model_fields)}")
        try:
            made = cls.model_validate(dict(values))
        except ValidationError as problem:
            raise self._error(cls, problem.errors(include_url=False, include_context=False), path) from None
        for inner, value in _untrue(made, values):
            raise self._refused(cls, value, "is no number", path, inner)
        return made

    def _error(self, cls: type[BaseModel], errors: Sequence[Any], path: KeyPath) -> SpecError:
        error = errors[0]
        loc = _keys(cls, error["loc"])
        if error["type"] == "extra_forbidden":
            return self._unknown(error["loc"][-1], list(model_at(cls, error["loc"]).model_fields), (*path, *loc))
        if error["type"] == "missing":
            name = loc[-1]
            return SpecError(
                f"{name!r} is missing",
                where=self.where((*path, *loc[:-1])),
                allowed=_allowed(cls, loc),
                remedy=f"add {name}: ...",
            )
        if error["type"] == "value_error":
            said = error["msg"].removeprefix("Value error, ")
            return SpecError(f"{said}; found {shown(error['input'])}", where=self.where((*path, *loc)))
        return self._refused(cls, error["input"], _reason(cls, errors, loc), path, loc)

    def _refused(self, cls: type[BaseModel], value: Any, reason: str, path: KeyPath, loc: KeyPath) -> SpecError:
        return SpecError(
            f"{shown(value)} {reason}",
            where=self.where((*path, *loc)),
            allowed=_allowed(cls, loc),
            remedy=_quoted(value) if reason == "is no text" else "",
        )

    def _unknown(self, key: Any, keys: Sequence[str], path: KeyPath) -> SpecError:
        return SpecError(
            f"unknown key {shown(key)}{nearest(str(key), keys)}", where=self.where(path), allowed=", ".join(keys)
        )


def _spoken(path: KeyPath) -> Iterator[str]:
    """Keys as they are written; a row's number is left out where its name follows."""
    for part, after in zip(path, (*path[1:], 0), strict=True):
        if isinstance(part, str):
            yield part
        elif isinstance(after, int):
            yield f"number {part + 1}"


def _keys(cls: type[BaseModel], loc: Sequence[Any]) -> KeyPath:
    """Pydantic's location without the names that it gives to the branches of a union and to a mapping's keys."""
    kept: list[Any] = []
    for part in loc:
        field = field_at(cls, kept)
        branch = field is not None and str(part).split("[", 1)[0] in ("str", "int", "float", "list", "dict", "literal")
        if part != "[key]" and not (branch and model_at(cls, [*kept, part]).model_fields.get(str(part)) is None):
            kept.append(part)
    return tuple(kept)


def _reason(cls: type[BaseModel], errors: Sequence[Any], loc: KeyPath) -> str:
    error = errors[0]
    if len(errors) > 1 and len({str(_keys(cls, one["loc"])) for one in errors}) == 1:
        return "is not allowed"  # no branch of a union takes it
    if error["type"] == "literal_error":
        field = field_at(cls, loc)
        choices = allowed(field).split(" or ") if field else []
        return f"is not allowed{nearest(str(error['input']), choices)}"
    return next((words for prefix, words in REASONS if error["type"].startswith(prefix)), error["msg"].lower())


def _allowed(cls: type[BaseModel], loc: KeyPath) -> str:
    field = field_at(cls, loc)
    if field is None:
        return ""
    return allowed(field) + (f" ({field.description})" if field.description else "")


def _quoted(value: Any) -> str:
    return f'put quotes around it: "{shown(value)}"' if isinstance(value, (bool, int, float)) else ""


def _untrue(made: Any, values: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """What pydantic lets pass for a number and is none: true, false and infinity."""
    if isinstance(values, Mapping):
        for key, value in values.items():
            inner = made.get(key) if isinstance(made, Mapping) else getattr(made, str(key), None)
            yield from _untrue(inner, value, (*path, str(key)))
    elif isinstance(values, bool) and not isinstance(made, bool):
        yield path, values
    elif isinstance(made, float) and not math.isfinite(made):
        yield path, values
