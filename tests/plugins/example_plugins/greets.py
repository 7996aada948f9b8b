"""A check without options: the answer must begin with a greeting."""

from __future__ import annotations

from loratory.protocols import Answer, Input

GREETINGS = ("hello", "hi", "dear", "good morning")


def greets(input: Input, answer: Answer, expected: Answer) -> float | None:
    """1 or 0; None if the expected answer has no greeting."""
    if not str(expected).lower().startswith(GREETINGS):
        return None
    return float(str(answer).lower().startswith(GREETINGS))
