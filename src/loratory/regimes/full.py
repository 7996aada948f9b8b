"""`full`: every weight of the base and a head."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from loratory.protocols import Context, Lessons, Predictor, Start, Task
from loratory.regimes.headed import Headed


class Full(Headed):
    """The predictor owns its trunk: nothing is shared with other tasks."""

    adapts: ClassVar[bool] = True
    tunable: ClassVar[str | None] = "learning_rate"
    seeded: ClassVar[bool] = True

    learning_rate: float = Field(1e-4, gt=0, lt=1, description="of the base's weights")

    def objection(self, task: Task, start: str) -> str | None:
        return self.refused("full", task, start)

    def inspect(self, task: Any, trunk: Any, context: Context) -> None:
        super().inspect(task, trunk, context)
        trunk.open(every_weight=True)

    def fit(self, task: Any, lessons: Lessons, start: Start, context: Context) -> Predictor:
        from loratory.training.encoders import Options, through_trunk, ways

        live = start.open(every_weight=True, ways=ways(context))
        made: Predictor
        if self.writes(start.kind):
            made, facts = self.written(task, lessons, live, context)
        else:
            made, facts = through_trunk(task, lessons, live, Options.of(self), context)
        made = self.assisted(task, lessons, made)
        context.report("fitted", facts)
        return made
