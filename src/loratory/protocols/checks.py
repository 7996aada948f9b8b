"""A check of a written answer: how much of what was asked for it fulfils."""

from __future__ import annotations

from typing import Protocol

from loratory.protocols.values import Answer, Input


class Check(Protocol):
    """A function, or a frozen pydantic model whose fields are its options in the YAML."""

    def __call__(self, input: Input, answer: Answer, expected: Answer, /) -> float | bool | None:
        """A share in [0, 1] of what was asked for; None where the check has nothing to say of this example."""
