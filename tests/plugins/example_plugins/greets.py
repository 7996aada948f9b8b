"""A check without options: an answer begins with a greeting."""

from __future__ import annotations

from loratory.protocols import Answer, Input

GREETINGS = ("hello", "hi", "dear", "good morning")


def greets(input: Input, answer: Answer, expected: Answer) -> float | None:
    """1 or 0; nothing to say where the expected answer does not greet either."""
    if not str(expected).lower().startswith(GREETINGS):
        return None
    return float(str(answer).lower().startswith(GREETINGS))
