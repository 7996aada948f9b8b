"""`full`: every weight of the base and a head."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from loratory.protocols import FitContext, Predictor, Start, Task, TrainSet
from loratory.protocols.events import PredictorFitted
from loratory.regimes.encoder_options import EncoderOptions


class Full(EncoderOptions):
    """The predictor owns its backbone: nothing is shared with other tasks."""

    adapts: ClassVar[bool] = True
    tunable: ClassVar[str | None] = "learning_rate"
    seeded: ClassVar[bool] = True

    learning_rate: float = Field(1e-4, gt=0, lt=1, description="of the base's weights")

    def check_support(self, task: Task, start: str) -> str | None:
        return self.check_regime_support("full", task, start)

    def check_backbone(self, task: Any, backbone: Any, context: FitContext) -> None:
        from loratory.training.trainable_backbones import TrainableBackbone

        super().check_backbone(task, backbone, context)
        TrainableBackbone(backbone, full_finetuning=True)

    def fit(self, task: Any, train_set: TrainSet, start: Start, context: FitContext) -> Predictor:
        from loratory.training.encoders import EncoderTrainingOptions, make_compute_config, train_encoder
        from loratory.training.trainable_backbones import TrainableBackbone

        live = TrainableBackbone(start, full_finetuning=True, compute_config=make_compute_config(context))
        made: Predictor
        if self.generates_answer(start.kind):
            made, facts = self.fit_causal(task, train_set, live, context)
        else:
            made, facts = train_encoder(task, train_set, live, EncoderTrainingOptions.from_regime(self), context)
        made = self.add_span_rules(task, train_set, made)
        context.report(PredictorFitted(facts))
        return made
