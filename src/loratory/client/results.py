"""What a server answers, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, TypeVar

JSON = Any
AnswerType = TypeVar("AnswerType")


@dataclass(frozen=True)
class Answer:
    """What a task says about one input, and who said it. `status` is answered, or why `answer` is None."""

    answer: JSON
    status: str
    confidence: float
    served_by: str  # the contender
    release: str  # SHA-256 of the manifest of its artifact
    fallback: Mapping[str, str] | None = None  # {from, reason}: who should have answered, and why that one did not
    probabilities: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # JSON pointer -> value -> odds


@dataclass(frozen=True)
class Generation:
    """An answer that was written. `text` is what was written, `answer` what it says (JSON where the task has it)."""

    answer: JSON
    text: str
    status: str
    confidence: float | None
    served_by: str
    release: str
    fallback: Mapping[str, str] | None = None
    usage: Mapping[str, int] = field(default_factory=dict)
    milliseconds: float | None = None


def parse_answer(kind: type[AnswerType], facts: Mapping[str, JSON]) -> AnswerType:
    """The value from a server's plain data; members that are unknown here are left. Raises ValueError."""
    known = fields(kind)  # type: ignore[arg-type]  # both kinds are dataclasses
    needed = {one.name for one in known if one.default is MISSING and one.default_factory is MISSING}
    if missing := sorted(needed - facts.keys()):
        raise ValueError(f"{', '.join(missing)} is missing")
    return kind(**{one.name: facts[one.name] for one in known if one.name in facts})
