"""`writing:` how open answers are written. Labels are not drawn, so nothing here touches them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class GenerationSpec(BaseModel):
    """Budget, drawing and stops."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_new_tokens: int | None = Field(
        None,
        ge=1,
        description="of an answer at most, and never more than the base has room for behind the prompt; left out: what "
        "the longest answer of train takes, and a quarter more",
    )
    temperature: float = Field(0.0, ge=0, le=10, description="of the draw; 0 takes the likeliest token")
    top_p: float = Field(
        1.0, gt=0, le=1, description="draw from the likeliest tokens that have so much probability together"
    )
    repetition_penalty: float = Field(
        1.0, gt=0, le=10, description="lessens what was said before (Keskar et al. 2019); 1 does nothing"
    )
    seed: int = Field(0, ge=0, description="of the draw: the same input gets the same answer")
    stop: tuple[str, ...] = Field((), description="an answer of text ends before any of these")
