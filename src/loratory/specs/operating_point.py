"""`operating:` what is done to a classifier's probabilities before it answers."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

ScopeScore = Literal["confidence", "margin", "entropy", "energy", "prototype"]


class ThresholdSpec(BaseModel):
    """What the answers as they are served have to hold of a label; its threshold is found by that."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recall: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="share of the label's texts that are given it, at least; a text without an answer is missed",
    )
    false_positives: float | None = Field(
        None, gt=0, lt=1, description="share of all other texts that are given this label, at most"
    )
    confidence: float = Field(
        0.95,
        gt=0.5,
        lt=1,
        description="of the one-sided bound that proves it; of all thresholds together",
    )

    @model_validator(mode="after")
    def _check_one_requirement(self) -> Self:
        if (self.recall is None) == (self.false_positives is None):
            raise ValueError("give recall or false_positives, one of the two")
        return self


class AbstainSpec(BaseModel):
    """When no answer is given."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    score: Literal["auto"] | ScopeScore = Field(
        "auto",
        description="what tells texts in scope from others: the best probability, its lead, the entropy, the energy of "
        "the logits or the nearest prototype; auto: the best on validation against `out_of_scope`, else confidence",
    )
    keep: float = Field(0.95, gt=0, lt=1, description="share of calibration texts that score high enough")
    out_of_scope: str | None = Field(None, description="a file of texts that no label fits, to choose the score by")
    test: dict[str, str] = Field(
        default_factory=dict, description="name -> a file of such texts that are measured, and nothing is chosen by"
    )


class OperatingSpec(BaseModel):
    """The operating point of every contender, fitted on the calibration part and kept with the predictor."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: bool = Field(True, description="scale the log-odds by one number (Guo et al. 2017)")
    thresholds: dict[str, ThresholdSpec] = Field(
        default_factory=dict, description="label -> what its threshold has to hold"
    )
    abstain: AbstainSpec | None = Field(None, description="give no answer to texts that seem out of scope")
