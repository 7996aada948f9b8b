"""What an input of a task looks like, and inputs from text or JSON that a person or a client gives."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loratory.errors import DataError, shown
from loratory.protocols import JSON, Input, Task


@dataclass(frozen=True)
class Question:
    """What an input of a task looks like, from its JSON Schema."""

    fields: Mapping[str, Any]  # name -> schema
    required: Sequence[str]

    @classmethod
    def of(cls, task: Task) -> Question:
        schema = task.question()
        fields = dict(schema.get("properties", {}))
        return cls(fields, list(schema.get("required", fields)))

    @property
    def text(self) -> str | None:
        """The field that plain text fills: the only one that is required, when it is a string."""
        only = self.required[0] if len(self.required) == 1 else None
        return only if only is not None and self.fields[only].get("type") == "string" else None

    def said(self) -> str:
        """What an input may be, in words."""
        example = ", ".join(f'"{name}": ...' for name in self.required)
        return f"a line of text, or {{{example}}}" if self.text else f"a JSON object {{{example}}}"

    def input(self, value: JSON, where: str) -> Input:
        """An input from text or from an object that may hold more than the task asks for. Raises DataError."""
        if isinstance(value, str) and self.text:
            value = {self.text: value}
        if not isinstance(value, Mapping):
            raise DataError(f"{shown(value)} is no input of this task", where=where, allowed=self.said())
        made = {name: value[name] for name in self.fields if name in value}
        for name in self.required:
            if made.get(name) is None:
                raise DataError(f"no {json.dumps(name)} in this input", where=where, allowed=self.said())
        for name, given in made.items():
            if self.fields[name].get("type") == "string" and not isinstance(given, str):
                raise DataError(f"the {name} is {shown(given)}", where=f"{where}: {name}", allowed="a string")
        return made
