"""`full`: every weight of the base and a head."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from loratory.protocols import FitContext, Predictor, Start, StartKind, Task, TrainSet
from loratory.protocols.events import PredictorFitted
from loratory.regimes.encoder_options import EncoderOptions
from loratory.regimes.training_starts import find_start_kind, merge_start, read_start

if TYPE_CHECKING:
    from loratory.backbones.forward.encoder_backbone import EncoderBackbone


class Full(EncoderOptions):
    """Full fine-tuning: all weights of the base and a head learn, and nothing is shared with other tasks.

    With `start:` it continues from the weights and the head of another contender; an adapter is merged first.
    """

    learning_rate: float = Field(1e-4, gt=0, lt=1, description="Learning rate of the base weights.")

    def check_support(self, task: Task, start: StartKind) -> str | None:
        return self.check_regime_support("full", task, start)

    def check_backbone(self, task: Task, backbone: EncoderBackbone, context: FitContext) -> None:
        from loratory.training.trainable_backbones import TrainableBackbone

        super().check_backbone(task, backbone, context)
        TrainableBackbone(backbone, full_finetuning=True)

    def fit(self, task: Task, train_set: TrainSet, start: Start, context: FitContext) -> Predictor:
        from loratory.training.encoders import make_compute_config, train_encoder
        from loratory.training.trainable_backbones import TrainableBackbone

        begun, context = read_start(start), self.settle_budget(context)
        live = TrainableBackbone(merge_start(begun), full_finetuning=True, compute_config=make_compute_config(context))
        made: Predictor
        if self.generates_answer(find_start_kind(start)):
            made, facts = self.fit_causal(task, train_set, live, context)
        else:
            made, facts = train_encoder(task, train_set, live, self.to_training_options(begun), context)
        made = self.add_span_rules(task, train_set, made)
        context.report(PredictorFitted(facts))
        return made
