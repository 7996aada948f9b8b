"""`prototype`: the nearest mean of each label's embeddings (Snell et al. 2017, with cosine similarity)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from loratory.protocols import Context, Lessons, Network, Start, Task
from loratory.regimes.objections import refuse

if TYPE_CHECKING:
    from loratory.predictors.encoder import Encoder

SCALES = (5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 60.0, 80.0)


class Prototype(BaseModel):
    """No gradient: means on train; the scale of the similarity is the one with the least log-loss on validation."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    adapts: ClassVar[bool] = False
    tunable: ClassVar[str | None] = None
    seeded: ClassVar[bool] = False
    starts: ClassVar[tuple[str, ...]] = ("encoder", "causal")

    label_names: float = Field(
        0.0,
        ge=0,
        le=100,
        description="how many examples the label's own words count as where a prototype starts",
    )

    def objection(self, task: Task, start: str) -> str | None:
        return refuse("prototype", task, start, self.starts)

    def fit(self, task: Any, lessons: Lessons, start: Start, context: Context) -> Encoder:
        import math

        from loratory.predictors.encoder import Encoder
        from loratory.specs.training import LossSpec
        from loratory.training.encoders import Material, score_on_states, start_head

        material = Material.of(task, start, lessons, context, LossSpec())
        head: Any = start_head("pooled", start, material, context, self.label_names).requires_grad_(False).eval()
        learned = head.prototypes.numel() + 1
        network = Network(start, None, head)
        made = Encoder.fresh(task, material.form, network, learned, context.training)
        score = score_on_states(made, lessons.validation, context)
        losses: dict[float, float] = {}
        for scale in SCALES:
            head.log_scale.fill_(math.log(scale))
            losses[scale] = score()["log_loss"]
        best = min(losses, key=losses.__getitem__)
        head.log_scale.fill_(math.log(best))
        context.report("fitted", {"scale": best})
        return made
