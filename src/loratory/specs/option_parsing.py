"""Options of an extension that are given by name: the command line's --set, or a mapping in code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel

from loratory.errors import SpecError
from loratory.specs.field_descriptions import describe_allowed
from loratory.specs.overrides import apply_overrides
from loratory.specs.parser import KeyPath, SpecParser

Model = TypeVar("Model", bound=BaseModel)


def parse_assignments(assignments: Sequence[str]) -> dict[str, Any]:
    """KEY=VALUE, each VALUE in YAML; raises SpecError."""
    return apply_overrides({}, assignments)[0]


def parse_options(cls: type[Model], given: Mapping[str, Any], where: str) -> Model:
    """A model from options by name; raises SpecError, which names the option, its value and what is allowed."""
    for name, field in cls.model_fields.items():
        if field.is_required() and name not in given:
            raise SpecError(
                f"the option {name!r} is missing",
                where=where,
                allowed=describe_allowed(field),
                remedy=f"add --set {name}=VALUE",
            )
    changes: dict[KeyPath, str] = {(name,): f"--set {name}={value}" for name, value in given.items()}
    return SpecParser(where, {}, _find_nothing, _find_nothing, (), changes).validate_model(cls, given, ())


def _find_nothing(name: str, where: str) -> Any:
    raise SpecError(f"options name no {name!r}", where=where)


def list_options(cls: type[BaseModel]) -> list[dict[str, Any]]:
    """Each option: its name, what it may hold in words, its default and what it is for."""
    return [
        {
            "name": name,
            "allowed": describe_allowed(field),
            "default": None if field.is_required() else field.get_default(call_default_factory=True),
            "help": field.description or "",
        }
        for name, field in cls.model_fields.items()
    ]


def verify_options(cls: type[BaseModel]) -> None:
    """Raise AssertionError where the options of an extension are not frozen, not closed, or without a help text."""
    assert cls.model_config.get("frozen"), f"{cls.__name__} is not frozen"
    assert cls.model_config.get("extra") == "forbid", f"{cls.__name__} does not forbid unknown keys"
    for name, option in cls.model_fields.items():
        assert option.description, f"the option {name!r} of {cls.__name__} has no description"
