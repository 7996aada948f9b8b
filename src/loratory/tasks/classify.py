"""`classify`: one label of a fixed list for a text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator

from loratory.errors import DataError, FieldError, format_value, suggest_nearest
from loratory.measures import classification_metrics as measures
from loratory.measures.ratios import Ratio
from loratory.protocols import Answer, Column, Counts, Example, Input, Prediction, Schema, Scores
from loratory.protocols.probabilities import find_likeliest
from loratory.tasks.row_values import parse_group, parse_label


class Classify(BaseModel):
    """Each text gets one label. The answer is `{"label": "refund"}`, with a probability for every label."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: ClassVar[Mapping[str, Column]] = {
        "text": Column(
            "the text to classify",
            aliases=(
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
            "the label of the text",
            aliases=(
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
            "examples with the same value stay in the same split",
            required=False,
            aliases=("group", "family", "template_id", "group_id", "template"),
        ),
    }
    lower_is_better: ClassVar[frozenset[str]] = frozenset({"log_loss", "ece"})

    kind: Literal["classify"] = "classify"
    labels: tuple[str, ...] | None = Field(
        None, description="Labels in a fixed order. Default: the labels of the training split."
    )
    descriptions: dict[str, str] = Field(
        default_factory=dict,
        description="Label -> its meaning in words, read by `zero-shot`. Set it when label names are codes.",
    )
    headline: Literal["accuracy", "macro_f1"] = Field(
        "accuracy",
        description="Score that early stopping and the verdict use. Choose macro_f1 when rare labels matter as much "
        "as common ones.",
    )

    @field_validator("labels", mode="before")
    @classmethod
    def _labels_to_text(cls, labels: object) -> object:
        return [_to_label_text(label, "labels") for label in labels] if isinstance(labels, (list, tuple)) else labels

    @field_validator("descriptions", mode="before")
    @classmethod
    def _description_keys_to_text(cls, descriptions: object) -> object:
        if not isinstance(descriptions, Mapping):
            return descriptions
        return {_to_label_text(label, "descriptions"): text for label, text in descriptions.items()}

    @field_validator("labels")
    @classmethod
    def _check_labels(cls, labels: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if labels is not None and (len(labels) < 2 or len(set(labels)) < len(labels) or not all(labels)):
            raise ValueError("give at least two distinct, non-empty labels")
        return labels

    def input_schema(self) -> Schema:
        return _build_object_schema(text={"type": "string", "minLength": 1})

    def contract(self, input: Input | None = None) -> Schema:
        return _build_object_schema(label={"enum": list(self.labels or ())})

    def check_answer(self, input: Input, answer: Answer) -> list[str]:
        return []

    def read(self, row: Mapping[str, Any]) -> Example:
        text, label = row.get("text"), row.get("label")
        if not isinstance(text, str):
            raise FieldError("text", f"the text is {_shorten(text)}", allowed="a string")
        label = parse_label(label)
        if self.labels is not None and label not in self.labels:
            raise FieldError(
                "label",
                f"{format_value(label)} is no label of this task{suggest_nearest(label, self.labels)}",
                allowed=_join_labels(self.labels),
                remedy="correct the row, or add the label under task: labels:",
            )
        return Example({"text": text}, {"label": label}, group=parse_group(row.get("group")))

    def resolve_options(self, examples: Iterable[Example], others: Iterable[Example] = ()) -> Self:
        """Labels from the examples when the spec gives none; raises DataError where train has nothing to tell apart."""
        found = sorted({self.label_of(example.answer) for example in examples if example.answer is not None})
        if len(found) < 2:
            raise DataError(
                f"train holds {len(found)} label{'s' if len(found) != 1 else ''}: {format_value(found)}",
                allowed="at least two different labels",
                remedy="check the label column (data: columns: label:) or add examples of another label",
            )
        more = {self.label_of(example.answer) for example in others if example.answer is not None}
        return self if self.labels else self.model_copy(update={"labels": tuple(sorted({*found, *more}))})

    def score_example(self, example: Example, prediction: Prediction) -> Counts:
        answered = None if prediction.answer is None else self.label_of(prediction.answer)
        return measures.count_outcomes(self.label_of(example.answer), answered, prediction.probabilities.get("/label"))

    def summarise(self, totals: Counts) -> Scores:
        return measures.compute_scores(totals, self.labels or ())

    # -- Decomposable
    def ratios(self, score: str) -> tuple[Ratio, ...]:
        return measures.get_score_ratios(score, self.labels or ())

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

    def describe_contract(self) -> str:
        return (
            f'The answer is `{{"label": one of {len(self.labels or ())} labels}}` with a probability for every label; '
            "`labels.json` holds their order."
        )

    def from_probabilities(self, input: Input, probabilities: Mapping[str, float]) -> Prediction:
        return Prediction({"label": find_likeliest(probabilities)}, {"/label": probabilities})


def _build_object_schema(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _to_label_text(label: object, field: str) -> object:
    """A number, true or false as data would give it; text as it is, and what is no label to be refused."""
    return parse_label(label, field) if isinstance(label, (bool, int, float)) else label


def _shorten(value: object) -> str:
    return "missing" if value is None else repr(value) if len(repr(value)) < 60 else repr(value)[:57] + "..."


def _join_labels(labels: tuple[str, ...]) -> str:
    return ", ".join(labels[:12]) + (f" and {len(labels) - 12} more" if len(labels) > 12 else "")
