"""`qlora`: LoRA over a base whose matrices are held in four bits (Dettmers et al. 2023)."""

from __future__ import annotations

from typing import Any

from loratory.protocols import Context, Lessons, Predictor, Start, Task
from loratory.regimes.lora import Lora


class Qlora(Lora):
    """A quarter of the memory for the base. What is measured answers over the four-bit base too, and names it."""

    def objection(self, task: Task, start: str) -> str | None:
        return self.refused("qlora", task, start)

    def inspect(self, task: Any, trunk: Any, context: Context) -> None:
        from loratory.models.quantised import quantisable

        super().inspect(task, trunk, context)
        quantisable(trunk.model, trunk.depth)

    def fit(self, task: Any, lessons: Lessons, start: Start, context: Context) -> Predictor:
        return super().fit(task, lessons, start.quantised(), context)
