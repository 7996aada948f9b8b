"""`evidence:` and `gate:` how contenders are compared, and what a release must hold."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class EvidenceSpec(BaseModel):
    """How figures become a verdict."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    margin: float = Field(
        default=0.005,
        ge=0,
        lt=1,
        description="non-inferiority margin on the headline score: how much worse than the best is still as good",
    )
    confidence: float = Field(default=0.95, gt=0.5, lt=1, description="of intervals and decisions")
    resamples: int = Field(default=2000, ge=200, le=100_000, description="bootstrap resamples over groups of examples")
    power: float = Field(default=0.8, gt=0.5, lt=1, description="power of the minimum detectable effect")
    seed: int = Field(default=6, ge=0, description="seed of the bootstrap")
    latency_texts: int = Field(default=100, ge=5, description="texts timed one by one for the latency of a single text")
    unconstrained_texts: int = Field(
        default=100,
        ge=0,
        description="test texts that a model that writes also answers with nothing to hold it to its contract, for the "
        "share of valid JSON; 0: none",
    )


class Floor(BaseModel):
    """A score must be at least this, with this confidence (a one-sided lower bound over groups of examples)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at_least: float = Field(ge=0, le=1, description="the floor")
    confidence: float = Field(default=0.95, gt=0.5, lt=1, description="confidence of the one-sided lower bound")


class Ceiling(BaseModel):
    """A share must be at most this, with this confidence (a one-sided upper bound over groups of examples)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at_most: float = Field(ge=0, le=1, description="the ceiling")
    confidence: float = Field(default=0.95, gt=0.5, lt=1, description="confidence of the one-sided upper bound")


class GateSpec(BaseModel):
    """What must hold before anything may be called fit for use."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    accuracy: Floor | None = Field(default=None, description="floor on accuracy")
    recall: dict[str, Floor] = Field(default_factory=dict, description="label -> floor on its recall")
    precision: dict[str, Floor] = Field(default_factory=dict, description="label -> floor on its precision")
    not_worse_than: dict[str, float] = Field(
        default_factory=dict, description="contender -> how much worse than it the headline may be (0.0: not at all)"
    )
    flips: dict[str, Ceiling] = Field(
        default_factory=dict,
        description="perturbation of stress: -> ceiling on the share of answers that it changes; perturbation/LABEL: "
        "of the texts of that label that were answered rightly",
    )


Decision = Literal["better", "worse", "undecided"]
