"""A task whose options come with the input: each question has its own choices, and one of them is right."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from loratory.errors import FieldError, format_value
from loratory.measures.ratios import Ratio, build_ratio
from loratory.protocols import Answer, Column, Counts, Example, Input, Prediction, Schema, Scores

POINTER = "/choice"  # where in the answer its probabilities are


class MultipleChoice(BaseModel):
    """The input is `{"text": ..., "choices": [...]}`, the answer `{"choice": one of them}`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: ClassVar[Mapping[str, Column]] = {
        "text": Column("the question", aliases=("question", "text")),
        "choices": Column("the choices, a list", aliases=("choices", "options")),
        "answer": Column("the right choice, or its number from 0", aliases=("answer", "label")),
    }
    lower_is_better: ClassVar[frozenset[str]] = frozenset()

    kind: Literal["multiple-choice"] = "multiple-choice"
    headline: Literal["accuracy"] = Field("accuracy", description="score that the verdict uses")

    def input_schema(self) -> Schema:
        texts = {"type": "array", "items": {"type": "string"}, "minItems": 2, "uniqueItems": True}
        fields = {"text": {"type": "string", "minLength": 1}, "choices": texts}
        return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}

    def contract(self, input: Input | None = None) -> Schema:
        choice = {"type": "string"} if input is None else {"enum": list(self.options(input))}
        return {
            "type": "object",
            "properties": {"choice": choice},
            "required": ["choice"],
            "additionalProperties": False,
        }

    def check_answer(self, input: Input, answer: Answer) -> list[str]:
        return [] if answer["choice"] in self.options(input) else [f"{answer['choice']!r} is none of the choices"]

    def read(self, row: Mapping[str, Any]) -> Example:
        text, choices, right = row.get("text"), row.get("choices"), row.get("answer")
        if not isinstance(text, str):
            raise FieldError("text", f"the question is {format_value(text)}", allowed="text")
        if not isinstance(choices, Sequence) or isinstance(choices, str) or len(set(map(str, choices))) < 2:
            raise FieldError("choices", f"the choices are {format_value(choices)}", allowed="a list of two or more")
        options = [str(choice) for choice in choices]
        place = options[right] if isinstance(right, int) and 0 <= right < len(options) else str(right)
        return Example({"text": text, "choices": options}, {"choice": place})

    def resolve_options(self, examples: Iterable[Example], others: Iterable[Example] = ()) -> Self:
        return self

    def score_example(self, example: Example, prediction: Prediction) -> Counts:
        return {"n": 1.0, "reward": float(prediction.answer == example.answer)}

    def summarise(self, totals: Counts) -> Scores:
        return {"accuracy": totals.get("reward", 0.0) / totals["n"]}

    # -- Decomposable: intervals for the ratio behind a score
    def ratios(self, score: str) -> tuple[Ratio, ...]:
        return (build_ratio("reward", "n"),)

    # -- Optioned: a generative base picks one of the choices
    def options(self, input: Input) -> tuple[str, ...]:
        return tuple(input["choices"])

    def text(self, input: Input) -> str:
        return str(input["text"])

    def option_of(self, answer: Answer) -> str:
        return str(answer["choice"])

    def from_probabilities(self, input: Input, probabilities: Mapping[str, float]) -> Prediction:
        best = max(self.options(input), key=lambda option: probabilities.get(option, 0.0))
        return Prediction({"choice": best}, {POINTER: dict(probabilities)})
