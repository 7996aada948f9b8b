"""`prototype`: the nearest mean of each label's embeddings (Snell et al. 2017, with cosine similarity)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, cast

from pydantic import Field

from loratory.protocols import FitContext, Network, RegimeOptions, Start, StartKind, Task, TrainSet
from loratory.protocols.events import PredictorFitted
from loratory.regimes.compatibility import check_support

if TYPE_CHECKING:
    from loratory.backbones.forward.encoder_backbone import EncoderBackbone
    from loratory.predictors.encoder import Encoder

CANDIDATE_SCALES = (5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 60.0, 80.0)


class Prototype(RegimeOptions):
    """No training: each label is the mean embedding of its training examples. The scale of the similarity is the one
    with the lowest log-loss on the validation split.
    """

    starts: ClassVar[tuple[str, ...]] = ("encoder", "causal")

    label_names: float | None = Field(
        None,
        ge=0,
        le=100,
        description="How many examples the words of a label (its description, or its name) count as. Default: 1 where "
        "labels have few examples (a median of at most 16), else 0. 0: not at all.",
    )

    def check_support(self, task: Task, start: StartKind) -> str | None:
        return check_support("prototype", task, start, self.starts)

    def predictor_kind(self, task: Task, start: StartKind) -> str:
        return "encoder"

    def fit(self, task: Task, train_set: TrainSet, start: Start, context: FitContext) -> Encoder:
        import math

        from loratory.predictors.encoder import Encoder
        from loratory.specs.training import LossSpec
        from loratory.training.encoders import (
            EncodedDataset,
            choose_label_name_weight,
            initialise_head,
        )
        from loratory.training.pooled_heads import make_states_scorer

        backbone = cast("EncoderBackbone", start)
        material = EncodedDataset.from_train_set(task, backbone, train_set, context, LossSpec())
        weight = choose_label_name_weight(self.label_names, material.targets)
        head: Any = initialise_head("pooled", backbone, material, context, weight).requires_grad_(False).eval()
        learned = head.prototypes.numel() + 1
        network = Network(backbone, None, head)
        made = Encoder.from_training(task, material.output_adapter_name, network, learned, context.training)
        score = make_states_scorer(made, train_set.validation, context)
        losses: dict[float, float] = {}
        for scale in CANDIDATE_SCALES:
            head.log_scale.fill_(math.log(scale))
            losses[scale] = score()["log_loss"]
        best = min(losses, key=losses.__getitem__)
        head.log_scale.fill_(math.log(best))
        context.report(PredictorFitted({"scale": best}))
        return made
