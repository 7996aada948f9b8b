"""`stress:` by how much answers change where texts change harmlessly."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from loratory.perturbations.changes import Perturbation
from loratory.perturbations.perturbation_specs import (
    ALLOWED_FORMS,
    DEFAULT_PERTURBATIONS,
    PerturbationSpec,
    create_perturbations,
)


class StressSpec(BaseModel):
    """Which perturbations are applied to which texts. Without this section a run has no stress test."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    of: tuple[PerturbationSpec, ...] = Field(DEFAULT_PERTURBATIONS, min_length=1, description=ALLOWED_FORMS)
    part: Literal["test", "validation"] = Field(
        "test", description="Split whose texts are perturbed. A read of the test split is recorded in the ledger."
    )
    texts: int = Field(2000, ge=1, description="Maximum number of texts, drawn at random. Lower it to save time.")
    examples: int = Field(5, ge=0, le=100, description="Number of changed answers shown for each perturbation.")
    seed: int = Field(6, ge=0, description="Random seed of the drawn texts and of every perturbation.")

    @field_validator("of")
    @classmethod
    def _check_perturbations(cls, of: tuple[PerturbationSpec, ...]) -> tuple[PerturbationSpec, ...]:
        create_perturbations(of)
        return of

    def build_perturbations(self) -> dict[str, Perturbation]:
        """Each by its name."""
        return create_perturbations(self.of)
