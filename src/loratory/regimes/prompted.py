"""`prompted`: a causal base is told what to do, and shown some examples; nothing learns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from loratory.data.examples import labels_of
from loratory.protocols import Context, Example, Lessons, Start, Task
from loratory.regimes.asking import asked
from loratory.regimes.objections import refuse_writing
from loratory.specs.writing import WritingSpec

if TYPE_CHECKING:
    from loratory.predictors.decoder import Decoder


class Prompted(BaseModel):
    """The zero-shot (or few-shot) of an instruction model: its own probability of each answer."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    adapts: ClassVar[bool] = False
    tunable: ClassVar[str | None] = None
    seeded: ClassVar[bool] = False
    starts: ClassVar[tuple[str, ...]] = ("causal",)

    shots: int = Field(0, ge=0, le=256, description="answered examples in the prompt, the labels in turn")
    prompt: str | None = Field(None, description="a prompt file (version, system, user); without it the project's own")

    writing: WritingSpec = Field(default_factory=WritingSpec, description="of open answers: budget, drawing, stops")

    def objection(self, task: Task, start: str) -> str | None:
        return refuse_writing("prompted", task, start, self.starts)

    def inspect(self, task: Any, trunk: Any, context: Context) -> None:
        from loratory.regimes.rehearsal import inspect_writing

        inspect_writing(task, trunk)

    def rehearse(self, task: Any, lessons: Lessons, trunk: Any, context: Context) -> None:
        from loratory.regimes.rehearsal import rehearse_writing

        rehearse_writing(self, task, lessons, trunk, context, self._shots(task, lessons))

    def fit(self, task: Any, lessons: Lessons, start: Start, context: Context) -> Decoder:
        made = asked(self, task, lessons, start, context, self._shots(task, lessons))
        context.report("fitted", {"prompt": made.prompt.digest, "room": made.room})
        return made

    def _shots(self, task: Any, lessons: Lessons) -> tuple[Example, ...]:
        """Examples of train at random (always the same ones), the labels in turn."""
        import torch

        from loratory.training.seeds import generator

        chance = generator("shots")
        waiting: dict[str, list[Example]] = {}
        labels = labels_of(task, lessons.train)
        for i in torch.randperm(len(lessons.train), generator=chance).tolist():
            waiting.setdefault(labels[i], []).append(lessons.train[i])
        chosen: list[Example] = []
        while len(chosen) < self.shots and any(waiting.values()):
            for left in waiting.values():
                if left and len(chosen) < self.shots:
                    chosen.append(left.pop())
        return tuple(chosen)
