"""`qlora`: LoRA over a base whose matrices are held in four bits (Dettmers et al. 2023)."""

from __future__ import annotations

from typing import Any

from loratory.protocols import FitContext, Predictor, Start, Task, TrainSet
from loratory.regimes.lora import Lora


class Qlora(Lora):
    """A quarter of the memory for the base. What is measured answers over the four-bit base too, and names it."""

    def check_support(self, task: Task, start: str) -> str | None:
        return self.check_regime_support("qlora", task, start)

    def check_backbone(self, task: Any, backbone: Any, context: FitContext) -> None:
        from loratory.backbones.forward.quantization import find_quantizable_layers

        super().check_backbone(task, backbone, context)
        find_quantizable_layers(backbone.model, backbone.depth)

    def fit(self, task: Any, train_set: TrainSet, start: Start, context: FitContext) -> Predictor:
        return super().fit(task, train_set, start.quantize(), context)
