"""Examples and predictions, and the types of their parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel

from loratory.protocols.probabilities import find_highest

JSON = Any
Input = Mapping[str, JSON]  # validates against task.input_schema()
Answer = JSON  # validates against task.contract(input)
Schema = Mapping[str, JSON]
JsonPointer = str  # RFC 6901, into the answer: "/label", "/2", ""
Counts = Mapping[str, float]  # one example's marks, additive over examples; "n" and "reward" in [0, 1] always there
Scores = Mapping[str, float]  # flat: "accuracy", "recall/FRAUD"; higher is better unless listed in Task.lower_is_better
OptionsT = TypeVar("OptionsT", bound=BaseModel, contravariant=True)  # the options that an extension reads
TokenIds = tuple[int, ...]
Offsets = tuple[tuple[int, int], ...]  # character offsets of each token


@dataclass(frozen=True)
class Example:
    """An input with its expected answer."""

    input: Input
    answer: Answer | None = None  # None: unlabelled
    group: str = ""  # never crosses a split
    weight: float = 1.0
    origin: str = ""  # "file:line", so that every figure can be traced to its row
    rejected: Answer | None = None  # an answer that is worse than the expected one: what preferences are learnt from
    extras: Mapping[str, JSON] = field(default_factory=dict)  # what else its row says, by the spec's own names

    @property
    def content(self) -> JSON:
        """All that it says, for digests: input and answer, with what it holds beside them where it holds more."""
        beside = {} if self.rejected is None else {"rejected": self.rejected}
        beside |= {"extras": dict(self.extras)} if self.extras else {}
        return [self.input, self.answer, *([beside] if beside else [])]


@dataclass(frozen=True)
class Prediction:
    """What a predictor says about one input."""

    answer: Answer | None  # None: no answer, and `reason` says why
    probabilities: Mapping[JsonPointer, Mapping[str, float]] = field(default_factory=dict)
    reason: str | None = None  # "abstained" | "invalid" | "late" | "long" (the input does not fit) | "failed"
    raw: str | None = None  # what a causal model wrote
    answered_by: str | None = None  # who answered; set by whoever knows names, never by the predictor

    @property
    def confidence(self) -> float:
        """The least probable field's best probability: an answer is as sure as its weakest part."""
        if self.answer is None:
            return 0.0
        return min((find_highest(odds) for odds in self.probabilities.values()), default=1.0)


@dataclass(frozen=True)
class Column:
    """One field of the user's rows that a task reads."""

    help: str
    required: bool = True
    aliases: tuple[str, ...] = ()  # column names that mean this, in order of preference
