"""What `lora` and `full` share: the head that they train, and how."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from loratory.specs.training import ContrastiveSpec, LossSpec


class Headed(BaseModel):
    """Options of a regime that trains a head together with its trunk."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    head: Literal["pooled", "stock"] = Field(
        "pooled",
        description="pooled: cosine to learned prototypes; stock: opens wholly in AutoModelForSequenceClassification",
    )
    head_learning_rate: float = Field(5e-3, gt=0, lt=1, description="of the head")
    learn_scale: bool = Field(
        False,
        description="learn the pooled head's scale too; kept where it starts it holds back over-confidence, which was "
        "the better choice on banking77",
    )
    label_names: float = Field(
        0.0, ge=0, le=100, description="how many examples the label's own words count as where a prototype starts"
    )
    contrastive: ContrastiveSpec | None = Field(
        None, description="a supervised contrastive warm-up with mined hard negatives (pooled head)"
    )
    loss: LossSpec = Field(default_factory=LossSpec)

    @model_validator(mode="after")
    def _warms_up_what_it_can(self) -> Self:
        if self.contrastive and self.head != "pooled":
            raise ValueError("contrastive warms up for prototypes: set head: pooled with it")
        return self
