"""`qlora`: LoRA over a base whose matrices are held in four bits (Dettmers et al. 2023)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from loratory.protocols import FitContext, Predictor, Start, StartKind, Task, TrainSet
from loratory.regimes.compatibility import check_start
from loratory.regimes.lora import Lora

if TYPE_CHECKING:
    from loratory.backbones.forward.encoder_backbone import EncoderBackbone


class Qlora(Lora):
    """LoRA on a base in four bits, which takes a quarter of the memory. All measured answers use the four-bit base, and
    results say so.
    """

    starts: ClassVar[tuple[str, ...]] = ("encoder", "causal")

    def check_support(self, task: Task, start: StartKind) -> str | None:
        return check_start("qlora", start, self.starts) or self.check_regime_support("qlora", task, start)

    def check_backbone(self, task: Task, backbone: EncoderBackbone, context: FitContext) -> None:
        from loratory.backbones.forward.quantization import find_quantizable_layers

        super().check_backbone(task, backbone, context)
        find_quantizable_layers(backbone.model, backbone.depth)

    def fit(self, task: Task, train_set: TrainSet, start: Start, context: FitContext) -> Predictor:
        return super().fit(task, train_set, cast("EncoderBackbone", start).quantize(), context)
