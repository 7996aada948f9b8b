"""Which columns of somebody's examples are meant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from loratory.experiment.init.task_inference import COLUMNS_BY_KIND


@dataclass(frozen=True)
class NamedColumns:
    """The columns that a caller names; what is left out is found by its name and content."""

    text: str | None = None
    label: str | None = None
    others: Mapping[str, str | None] | None = None  # by the task's own names

    def to_dict(self, kind: str = "") -> dict[str, str]:
        """Column by name: text and label have the names that a kind of task has for them."""
        text, label = COLUMNS_BY_KIND.get(kind, ("text", "label"))
        known = {text: self.text, label: self.label, **(self.others or {})}
        return {name: column for name, column in known.items() if column is not None}

    def to_arguments(self, kind: str) -> list[str]:
        """NAME=COLUMN of each, as `--column` takes them."""
        return [f"{name}={column}" for name, column in self.to_dict(kind).items()]
