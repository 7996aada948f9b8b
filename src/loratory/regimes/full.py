"""`full`: every weight of the base and a head."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from loratory.protocols import Context, Lessons, Start, Task
from loratory.regimes.objections import refuse
from loratory.specs.training import ContrastiveSpec, LossSpec

if TYPE_CHECKING:
    from loratory.predictors.encoder import Encoder


class Full(BaseModel):
    """The predictor owns its trunk: nothing is shared with other tasks."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    adapts: ClassVar[bool] = True
    tunable: ClassVar[str | None] = "learning_rate"
    seeded: ClassVar[bool] = True
    starts: ClassVar[tuple[str, ...]] = ("encoder", "causal")

    head: Literal["pooled", "stock"] = Field("pooled", description="as for lora")
    learning_rate: float = Field(1e-4, gt=0, lt=1, description="of the base's weights")
    head_learning_rate: float = Field(5e-3, gt=0, lt=1, description="of the head")
    learn_scale: bool = Field(
        False,
        description="learn the pooled head's scale too; kept where it starts it holds back over-confidence, which was "
        "the better choice on banking77",
    )
    label_names: float = Field(
        0.0,
        ge=0,
        le=100,
        description="how many examples the label's own words count as where a prototype starts",
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

    def objection(self, task: Task, start: str) -> str | None:
        return refuse("full", task, start, self.starts)

    def fit(self, task: Any, lessons: Lessons, start: Start, context: Context) -> Encoder:
        from loratory.training.encoders import Options, through_trunk, ways

        live = start.open(every_weight=True, ways=ways(context))
        made, facts = through_trunk(task, lessons, live, Options.of(self), context)
        context.report("fitted", facts)
        return made
