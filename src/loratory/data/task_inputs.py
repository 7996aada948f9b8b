"""What an input of a task looks like, and inputs from text or JSON that a person or a client gives."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loratory.errors import DataError, format_value
from loratory.protocols import JSON, Input, Task


@dataclass(frozen=True)
class InputFormat:
    """What an input of a task looks like, from its JSON Schema."""

    fields: Mapping[str, Any]  # name -> schema
    required: Sequence[str]

    @classmethod
    def from_task(cls, task: Task) -> InputFormat:
        """Every property of its schema; where that does not say which are required, all of them are."""
        schema = task.input_schema()
        fields = dict(schema.get("properties", {}))
        return cls(fields, list(schema.get("required", fields)))

    @property
    def text_field(self) -> str | None:
        """The field that plain text fills: the only one that is required, when it is a string."""
        only = self.required[0] if len(self.required) == 1 else None
        return only if only is not None and self.fields[only].get("type") == "string" else None

    def describe(self) -> str:
        """What an input may be, in words."""
        example = ", ".join(f'"{name}": ...' for name in self.required)
        return f"a line of text, or {{{example}}}" if self.text_field else f"a JSON object {{{example}}}"

    def parse_input(self, value: JSON, where: str) -> Input:
        """An input from text or from an object that may hold more than the task asks for. Raises DataError."""
        if isinstance(value, str) and self.text_field:
            value = {self.text_field: value}
        if not isinstance(value, Mapping):
            raise DataError(f"{format_value(value)} is no input of this task", where=where, allowed=self.describe())
        made = {name: value[name] for name in self.fields if name in value}
        for name in self.required:
            if made.get(name) is None:
                raise DataError(f"no {json.dumps(name)} in this input", where=where, allowed=self.describe())
        for name, given in made.items():
            if self.fields[name].get("type") == "string" and not isinstance(given, str):
                raise DataError(f"the {name} is {format_value(given)}", where=f"{where}: {name}", allowed="a string")
        return made
