"""`zero-shot`: the labels' names, by embedding similarity; by entailment when the base is an NLI model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, field_validator

from loratory.protocols import Context, Lessons, Network, Predictor, Start, Task
from loratory.regimes.objections import refuse

if TYPE_CHECKING:
    from loratory.predictors.encoder import Encoder


class ZeroShot(BaseModel):
    """Learns nothing: what the base knows about the labels' names (or task: descriptions)."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    adapts: ClassVar[bool] = False
    tunable: ClassVar[str | None] = None
    seeded: ClassVar[bool] = False
    starts: ClassVar[tuple[str, ...]] = ("encoder", "nli")

    hypothesis: str = Field("This example is {}.", description="what an NLI base is asked, {} being the label in words")
    scale: float = Field(20.0, gt=0, description="of the cosine similarity before the softmax")

    @field_validator("hypothesis")
    @classmethod
    def _one_gap(cls, hypothesis: str) -> str:
        if hypothesis.count("{}") != 1 or hypothesis.count("{") != 1 or hypothesis.count("}") != 1:
            raise ValueError("the hypothesis has exactly one {}, where the label goes")
        return hypothesis

    def objection(self, task: Task, start: str) -> str | None:
        return refuse("zero-shot", task, start, self.starts)

    def fit(self, task: Any, lessons: Lessons, start: Start, context: Context) -> Predictor:
        if start.kind == "nli":
            from loratory.predictors.entailment import Entailment

            return Entailment(task, Network(start), self.hypothesis)
        return self._by_similarity(task, start, context)

    def _by_similarity(self, task: Any, trunk: Any, context: Context) -> Encoder:
        import math

        from loratory.predictors.encoder import Encoder
        from loratory.predictors.forms import form_of
        from loratory.predictors.heads import PooledHead

        rows = [trunk.tokenizer.ids(task.describe(label))[0] for label in task.labels]
        head = PooledHead(trunk.width, len(task.labels), trunk.pooling).requires_grad_(False)
        head.prototypes.copy_(context.activations.pooled(trunk, trunk.pooling, rows))
        head.log_scale.fill_(math.log(self.scale))
        network = Network(trunk, None, head.eval().to(context.device))
        return Encoder.fresh(task, form_of(task), network, 0, context.training)
