"""`head`: a trained head on a frozen base."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from loratory.protocols import Context, Labelled, Lessons, Spanned, Start, Task
from loratory.regimes.objections import ENCODED, refuse
from loratory.specs.training import LossSpec

if TYPE_CHECKING:
    from loratory.predictors.encoder import Encoder


class Head(BaseModel):
    """The base's states are computed once; only the head learns."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    adapts: ClassVar[bool] = False
    tunable: ClassVar[str | None] = "learning_rate"
    seeded: ClassVar[bool] = True
    starts: ClassVar[tuple[str, ...]] = ("encoder", "causal")

    head: Literal["pooled", "stock"] = Field(
        "pooled",
        description="pooled: cosine to learned prototypes (of spans: one linear layer on every token); "
        "stock: the architecture's own classification head",
    )
    learning_rate: float = Field(2e-3, gt=0, lt=1, description="of the head")
    epochs: int = Field(
        20,
        ge=1,
        le=1000,
        description="passes over the remembered states (pooled); the stock head and spans take training: epochs",
    )
    label_names: float = Field(
        0.0,
        ge=0,
        le=100,
        description="how many examples the label's own words count as where a prototype starts",
    )
    loss: LossSpec = Field(default_factory=LossSpec)

    def objection(self, task: Task, start: str) -> str | None:
        if isinstance(task, Spanned) and self.label_names:
            return "head on spans has a head on every token: label_names is for labels of texts"
        return refuse("head", task, start, self.starts, ENCODED)

    def inspect(self, task: Any, trunk: Any, context: Context) -> None:
        from loratory.regimes.rehearsal import inspect_head, inspect_ways

        if self.head == "stock" or isinstance(task, Spanned):
            inspect_ways(trunk, context, learns=False)
        inspect_head(self.head, task, trunk)

    def rehearse(self, task: Any, lessons: Lessons, trunk: Any, context: Context) -> None:
        from loratory.regimes.rehearsal import rehearse_weights

        rehearse_weights(self, task, lessons)

    def fit(self, task: Any, lessons: Lessons, start: Start, context: Context) -> Encoder:
        from loratory.training.encoders import Options, head_on_states, through_trunk, ways

        options = Options(self.head, self.learning_rate, self.learning_rate, self.loss, label_names=self.label_names)
        if self.head == "pooled" and isinstance(task, Labelled):
            made, facts = head_on_states(task, lessons, start, options, self.epochs, context)
        else:
            made, facts = through_trunk(task, lessons, start.open(ways=ways(context)), options, context)
        context.report("fitted", facts)
        return made
