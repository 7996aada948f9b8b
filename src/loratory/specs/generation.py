"""`writing:` how open answers are written. Labels are not drawn, so nothing here touches them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class GenerationSpec(BaseModel):
    """Length, sampling and stop texts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_new_tokens: int | None = Field(
        None,
        ge=1,
        description="Maximum length of an answer in tokens, limited by the room after the prompt. Default: the "
        "longest training answer plus a quarter.",
    )
    temperature: float = Field(
        0.0, ge=0, le=10, description="Sampling temperature. 0 always takes the most probable token."
    )
    top_p: float = Field(
        1.0, gt=0, le=1, description="Sample only from the most probable tokens that together have this probability."
    )
    repetition_penalty: float = Field(
        1.0,
        gt=0,
        le=10,
        description="Lowers the probability of tokens that were already used (Keskar et al., 2019). 1: off.",
    )
    seed: int = Field(0, ge=0, description="Random seed of the sampling: the same input gets the same answer.")
    stop: tuple[str, ...] = Field((), description="A text answer ends before the first of these texts.")
