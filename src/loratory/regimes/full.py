"""`full`: every weight of the base and a head."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from loratory.protocols import Context, Lessons, Start, Task
from loratory.regimes.headed import Headed
from loratory.regimes.objections import refuse

if TYPE_CHECKING:
    from loratory.predictors.encoder import Encoder


class Full(Headed):
    """The predictor owns its trunk: nothing is shared with other tasks."""

    adapts: ClassVar[bool] = True
    tunable: ClassVar[str | None] = "learning_rate"
    seeded: ClassVar[bool] = True
    starts: ClassVar[tuple[str, ...]] = ("encoder", "causal")

    learning_rate: float = Field(1e-4, gt=0, lt=1, description="of the base's weights")

    def objection(self, task: Task, start: str) -> str | None:
        return refuse("full", task, start, self.starts)

    def fit(self, task: Any, lessons: Lessons, start: Start, context: Context) -> Encoder:
        from loratory.training.encoders import Options, through_trunk, ways

        live = start.open(every_weight=True, ways=ways(context))
        made, facts = through_trunk(task, lessons, live, Options.of(self), context)
        context.report("fitted", facts)
        return made
