"""What a key of the spec may hold, in words: for errors and for docs/spec.md, from the models themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

WORDS: Mapping[Any, tuple[str, str]] = {  # type -> one of them, many of them
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    str: ("text", "texts"),
    bool: ("true or false", "true or false"),
    Path: ("a path", "paths"),
}
BOUNDS = (("ge", "at least"), ("gt", "more than"), ("le", "at most"), ("lt", "less than"))


def allowed(field: FieldInfo) -> str:
    """A field's type and bounds: "a whole number, at least 1 and at most 1000"."""
    bounds = [
        f"{word} {getattr(rule, name):g}"
        for name, word in BOUNDS
        for rule in field.metadata
        if getattr(rule, name, None) is not None
    ]
    words = described(field.annotation)
    if not bounds:
        return words
    said, null, _ = words.partition(", or null")
    return f"{said}, {' and '.join(bounds)}{null}"


def described(kind: Any, many: bool = False) -> str:
    """A type in words."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        parts = [described(one, many) for one in inner if one is not NoneType]
        return ", or ".join(parts) + (", or null" if NoneType in inner else "")
    if origin is Literal:
        return " or ".join(map(str, inner))
    if origin in (list, tuple):
        return f"{'lists' if many else 'a list'} of {described(inner[0], many=True)}"
    if origin is dict:
        return f"{'mappings' if many else 'a mapping'} of {described(inner[0])} to {described(inner[1])}"
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return f"{'mappings' if many else 'a mapping'} with the keys {', '.join(kind.model_fields)}"
    return WORDS.get(kind, ("anything", "anything"))[many]


def field_at(cls: type[BaseModel], path: Sequence[Any]) -> FieldInfo | None:
    """The innermost field on a path of keys: through models, and through mappings and lists of models."""
    found: FieldInfo | None = None
    holder: type[BaseModel] | None = cls
    for key in path:
        if holder is None:
            break
        if str(key) in holder.model_fields:
            found = holder.model_fields[str(key)]
            kind = found.annotation
        holder = _model_in(kind) if found is not None else None
    return found


def model_at(cls: type[BaseModel], path: Sequence[Any]) -> type[BaseModel]:
    """The model that holds the last key of a path."""
    for key in path[:-1]:
        if str(key) in cls.model_fields:
            cls = _model_in(cls.model_fields[str(key)].annotation) or cls
    return cls


def _model_in(kind: Any) -> type[BaseModel] | None:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind
    return next((found for inner in get_args(kind) if (found := _model_in(inner))), None)
