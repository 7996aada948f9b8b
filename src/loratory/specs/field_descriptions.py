"""What a key of the spec may hold, in words: for errors and for docs/spec.md, from the models themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

TYPE_WORDS: Mapping[Any, tuple[str, str]] = {  # type -> one of them, many of them
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    str: ("text", "texts"),
    bool: ("true or false", "true or false"),
    Path: ("a path", "paths"),
}
BOUND_WORDS = (("ge", "at least"), ("gt", "more than"), ("le", "at most"), ("lt", "less than"))


def describe_allowed(field: FieldInfo) -> str:
    """A field's type and bounds: "a whole number, at least 1 and at most 1000"."""
    bounds = [
        f"{word} {getattr(rule, name):g}"
        for name, word in BOUND_WORDS
        for rule in field.metadata
        if getattr(rule, name, None) is not None
    ]
    words = describe_type(field.annotation)
    if not bounds:
        return words
    said, null, _ = words.partition(", or null")
    return f"{said}, {' and '.join(bounds)}{null}"


def summarise_field(field: FieldInfo) -> str:
    """The first sentence of a field's help text as a part of another sentence; empty if it has none."""
    text = (field.description or "").partition(". ")[0].rstrip(".")
    return text[:1].lower() + text[1:] if text[1:2].islower() else text  # JSON stays JSON


def describe_type(kind: object, plural: bool = False) -> str:
    """A type in words."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        parts = [describe_type(one, plural) for one in inner if one is not NoneType]
        return ", or ".join(parts) + (", or null" if NoneType in inner else "")
    if origin is Annotated:
        return describe_type(inner[0], plural)
    if origin is Literal:
        return " or ".join(map(str, inner))
    if origin in (list, tuple):
        return f"{'lists' if plural else 'a list'} of {describe_type(inner[0], plural=True)}"
    if origin is dict:
        return f"{'mappings' if plural else 'a mapping'} of {describe_type(inner[0])} to {describe_type(inner[1])}"
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return f"{'mappings' if plural else 'a mapping'} with the keys {', '.join(kind.model_fields)}"
    return TYPE_WORDS.get(kind, ("anything", "anything"))[plural]


def find_field(cls: type[BaseModel], path: Sequence[Any]) -> FieldInfo | None:
    """The innermost field on a path of keys: through models, and through mappings and lists of models."""
    found: FieldInfo | None = None
    holder: type[BaseModel] | None = cls
    for key in path:
        if holder is None:
            break
        if str(key) in holder.model_fields:
            found = holder.model_fields[str(key)]
            kind = found.annotation
        holder = _find_inner_model(kind) if found is not None else None
    return found


def find_model(cls: type[BaseModel], path: Sequence[Any]) -> type[BaseModel]:
    """The model that holds the last key of a path."""
    for key in path[:-1]:
        if str(key) in cls.model_fields:
            cls = _find_inner_model(cls.model_fields[str(key)].annotation) or cls
    return cls


def _find_inner_model(kind: object) -> type[BaseModel] | None:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind
    return next((found for inner in get_args(kind) if (found := _find_inner_model(inner))), None)
