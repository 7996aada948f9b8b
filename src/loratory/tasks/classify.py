"""`classify`: one label of a fixed list for a text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator

from loratory.errors import DataError, FieldError, nearest, shown
from loratory.measures import labels as measures
from loratory.measures.ratios import Ratio
from loratory.protocols import Answer, Column, Counts, Example, Input, Prediction, Schema, Scores
from loratory.tasks.fields import group_of, label_of_value


class Classify(BaseModel):
    """The answer is `{"label": one of labels}`, with a probability for every label."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: ClassVar[Mapping[str, Column]] = {
        "text": Column(
            "the text to classify",
            guesses=(
                "text",
                "input",
                "message",
                "sentence",
                "utterance",
                "query",
                "question",
                "content",
                "body",
                "seq.in",
            ),
        ),
        "label": Column(
            "its label",
            guesses=(
                "label_text",
                "label",
                "category",
                "intent",
                "class",
                "target",
                "output.label",
                "output",
                "tag",
                "topic",
            ),
        ),
        "group": Column(
            "examples of one group never cross a split",
            required=False,
            guesses=("group", "family", "template_id", "group_id", "template"),
        ),
    }
    lower_is_better: ClassVar[frozenset[str]] = frozenset({"log_loss", "ece"})

    kind: Literal["classify"] = "classify"
    labels: tuple[str, ...] | None = Field(None, description="the labels in their order; read from train when left out")
    descriptions: dict[str, str] = Field(
        default_factory=dict, description="label -> what it means in words, for zero-shot"
    )
    headline: Literal["accuracy", "macro_f1"] = Field(
        "accuracy", description="score that early stopping and the verdict go by"
    )

    @field_validator("labels", mode="before")
    @classmethod
    def _texts(cls, labels: Any) -> Any:
        return [_text(label, "labels") for label in labels] if isinstance(labels, (list, tuple)) else labels

    @field_validator("descriptions", mode="before")
    @classmethod
    def _keyed(cls, descriptions: Any) -> Any:
        if not isinstance(descriptions, Mapping):
            return descriptions
        return {_text(label, "descriptions"): text for label, text in descriptions.items()}

    @field_validator("labels")
    @classmethod
    def _distinct(cls, labels: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if labels is not None and (len(labels) < 2 or len(set(labels)) < len(labels) or not all(labels)):
            raise ValueError("give at least two distinct, non-empty labels")
        return labels

    def question(self) -> Schema:
        return _object(text={"type": "string", "minLength": 1})

    def contract(self, input: Input | None = None) -> Schema:
        return _object(label={"enum": list(self.labels or ())})

    def check(self, input: Input, answer: Answer) -> list[str]:
        return []

    def read(self, row: Mapping[str, Any]) -> Example:
        text, label = row.get("text"), row.get("label")
        if not isinstance(text, str):
            raise FieldError("text", f"the text is {_shown(text)}", allowed="a string")
        label = label_of_value(label)
        if self.labels is not None and label not in self.labels:
            raise FieldError(
                "label",
                f"{shown(label)} is no label of this task{nearest(label, self.labels)}",
                allowed=_listed(self.labels),
                remedy="correct the row, or add the label under task: labels:",
            )
        return Example({"text": text}, {"label": label}, group=group_of(row.get("group")))

    def settle(self, examples: Iterable[Example], others: Iterable[Example] = ()) -> Self:
        """Labels from the examples when the spec gives none; raises DataError where train has nothing to tell apart."""
        found = sorted({self.label_of(example.answer) for example in examples if example.answer is not None})
        if len(found) < 2:
            raise DataError(
                f"train holds {len(found)} label{'s' if len(found) != 1 else ''}: {shown(found)}",
                allowed="at least two different labels",
                remedy="check the label column (data: columns: label:) or add examples of another label",
            )
        more = {self.label_of(example.answer) for example in others if example.answer is not None}
        return self if self.labels else self.model_copy(update={"labels": tuple(sorted({*found, *more}))})

    def mark(self, example: Example, prediction: Prediction) -> Counts:
        answered = None if prediction.answer is None else self.label_of(prediction.answer)
        return measures.counts(self.label_of(example.answer), answered, prediction.probabilities.get("/label"))

    def summarise(self, totals: Counts) -> Scores:
        return measures.scores(totals, self.labels or ())

    # -- Decomposable
    def ratios(self, score: str) -> tuple[Ratio, ...]:
        return measures.ratios(score, self.labels or ())

    # -- Labelled
    def text(self, input: Input) -> str:
        return str(input["text"])

    def label_of(self, answer: Answer) -> str:
        return str(answer["label"])

    def describe(self, label: str) -> str:
        """The label's description, or its name with underscores, dashes and camel case made words."""
        if label in self.descriptions:
            return self.descriptions[label]
        words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", label)
        return re.sub(r"[\W_]+", " ", words).strip().lower() or label

    def from_odds(self, input: Input, odds: Mapping[str, float]) -> Prediction:
        return Prediction({"label": max(odds, key=odds.__getitem__)}, {"/label": odds})


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _text(label: Any, field: str) -> Any:
    """A number, true or false as data would give it; text as it is, and what is no label to be refused."""
    return label_of_value(label, field) if isinstance(label, (bool, int, float)) else label


def _shown(value: Any) -> str:
    return "missing" if value is None else repr(value) if len(repr(value)) < 60 else repr(value)[:57] + "..."


def _listed(labels: tuple[str, ...]) -> str:
    return ", ".join(labels[:12]) + (f" and {len(labels) - 12} more" if len(labels) > 12 else "")
