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
    """What is done to the texts, and to which; without the section a run leaves them as they are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    of: tuple[PerturbationSpec, ...] = Field(DEFAULT_PERTURBATIONS, min_length=1, description=ALLOWED_FORMS)
    part: Literal["test", "validation"] = Field("test", description="whose texts; reading test is noted in the ledger")
    texts: int = Field(2000, ge=1, description="so many of them at most, drawn by the seed")
    examples: int = Field(5, ge=0, le=100, description="changed answers that are shown for each perturbation")
    seed: int = Field(6, ge=0, description="of the draw and of every perturbation")

    @field_validator("of")
    @classmethod
    def _check_perturbations(cls, of: tuple[PerturbationSpec, ...]) -> tuple[PerturbationSpec, ...]:
        create_perturbations(of)
        return of

    def build_perturbations(self) -> dict[str, Perturbation]:
        """Each by its name."""
        return create_perturbations(self.of)
