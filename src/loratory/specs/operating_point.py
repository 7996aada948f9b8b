"""`operating:` what is done to a classifier's probabilities before it answers."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

ScopeScore = Literal["confidence", "margin", "entropy", "energy", "prototype"]


class ThresholdSpec(BaseModel):
    """A requirement on the served answers for one label. The threshold of the label is the value that meets it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recall: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Minimum share of the texts of this label that get it. A text without an answer counts as missed.",
    )
    false_positives: float | None = Field(
        None, gt=0, lt=1, description="Maximum share of all other texts that get this label."
    )
    confidence: float = Field(
        0.95,
        gt=0.5,
        lt=1,
        description="Confidence level of the one-sided bound, for all thresholds together.",
    )

    @model_validator(mode="after")
    def _check_one_requirement(self) -> Self:
        if (self.recall is None) == (self.false_positives is None):
            raise ValueError("give recall or false_positives, one of the two")
        return self


class AbstainSpec(BaseModel):
    """When the model gives no answer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    score: Literal["auto"] | ScopeScore = Field(
        "auto",
        description="Score that separates in-scope from out-of-scope texts: confidence (highest probability), margin "
        "(its lead over the second), entropy, energy (of the logits) or prototype (similarity to the "
        "nearest one). auto: the best one on the validation split against `out_of_scope`, else "
        "confidence.",
    )
    keep: float = Field(
        0.95, gt=0, lt=1, description="Share of calibration texts that are answered. Lower it to abstain more often."
    )
    out_of_scope: str | None = Field(None, description="File of texts that no label fits, used to choose the score.")
    test: dict[str, str] = Field(
        default_factory=dict,
        description="Name -> file of out-of-scope texts that are only measured. Nothing is chosen from them.",
    )


class OperatingSpec(BaseModel):
    """The operating point of every contender. It is fitted on the calibration split and saved with the predictor."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: bool = Field(
        True, description="Temperature scaling: divide the logits by one fitted number (Guo et al., 2017)."
    )
    thresholds: dict[str, ThresholdSpec] = Field(
        default_factory=dict, description="Label -> requirement that its threshold must meet: {fraud: {recall: 0.95}}."
    )
    abstain: AbstainSpec | None = Field(None, description="Give no answer for texts that seem out of scope.")
