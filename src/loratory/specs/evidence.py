"""`evidence:` and `gate:` how contenders are compared, and what a release must hold."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from loratory.discovery import NamedSpec, create_named


class EvidenceSpec(BaseModel):
    """How scores become a verdict."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    margin: float = Field(
        default=0.005,
        ge=0,
        lt=1,
        description="Non-inferiority margin on the headline score: a contender at most this much worse than the best "
        "counts as equally good. Raise it to prefer simpler contenders.",
    )
    confidence: float = Field(default=0.95, gt=0.5, lt=1, description="Confidence level of intervals and decisions.")
    resamples: int = Field(
        default=2000, ge=200, le=100_000, description="Number of bootstrap resamples, drawn over groups of examples."
    )
    power: float = Field(default=0.8, gt=0.5, lt=1, description="Statistical power for the minimum detectable effect.")
    seed: int = Field(default=6, ge=0, description="Random seed of the bootstrap.")
    latency_texts: int = Field(
        default=100, ge=5, description="Number of texts that are timed one at a time to measure latency."
    )
    unconstrained_texts: int = Field(
        default=100,
        ge=0,
        description="Number of test texts that a generative model also answers without constrained decoding, to "
        "measure the share of valid JSON. 0: none.",
    )
    scorers: tuple[NamedSpec, ...] = Field(
        default=(),
        description="Rewards in [0, 1] reported beside the scores of the task: names of scorers, or name: {options}. "
        "To use a name of your own: mine: {scorer: check, name: words}.",
    )

    @field_validator("scorers")
    @classmethod
    def _check_scorers(cls, scorers: tuple[Any, ...]) -> tuple[Any, ...]:
        create_named("scorers", scorers)
        return scorers


class Floor(BaseModel):
    """A score must be at least this. The one-sided lower confidence bound over groups of examples must reach it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at_least: float = Field(ge=0, le=1, description="Lowest allowed value of the score.")
    confidence: float = Field(default=0.95, gt=0.5, lt=1, description="Confidence level of the one-sided lower bound.")


class Ceiling(BaseModel):
    """A share must be at most this. The one-sided upper confidence bound over groups of examples must not exceed it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at_most: float = Field(ge=0, le=1, description="Highest allowed value of the share.")
    confidence: float = Field(default=0.95, gt=0.5, lt=1, description="Confidence level of the one-sided upper bound.")


class GateSpec(BaseModel):
    """Requirements for a release. A contender that misses one is not called fit for use."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    accuracy: Floor | None = Field(default=None, description="Floor on accuracy: {at_least: 0.9}.")
    recall: dict[str, Floor] = Field(default_factory=dict, description="Label -> floor on its recall.")
    precision: dict[str, Floor] = Field(default_factory=dict, description="Label -> floor on its precision.")
    not_worse_than: dict[str, float] = Field(
        default_factory=dict,
        description="Contender -> how far the headline score may be below the score of this contender (0.0: not at "
        "all).",
    )
    flips: dict[str, Ceiling] = Field(
        default_factory=dict,
        description="Perturbation of `stress:` -> ceiling on the share of answers that it changes. perturbation/LABEL "
        "counts only correctly answered texts of that label.",
    )


Decision = Literal["better", "worse", "undecided"]
