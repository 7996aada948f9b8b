"""`zero-shot`: the labels' names, by embedding similarity; by entailment when the base is an NLI model."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from pydantic import Field, field_validator

from loratory.protocols import FitContext, Labelled, Network, Predictor, RegimeOptions, Start, StartKind, Task, TrainSet
from loratory.regimes.compatibility import check_support

if TYPE_CHECKING:
    from loratory.backbones.forward.encoder_backbone import EncoderBackbone
    from loratory.predictors.encoder import Encoder


class ZeroShot(RegimeOptions):
    """No training: the base compares the text with the label names, or with `task: descriptions`."""

    starts: ClassVar[tuple[str, ...]] = ("encoder", "nli")

    hypothesis: str = Field(
        "This example is {}.",
        description="Sentence that an NLI base judges; {} becomes the label in words. Write it in the language of the "
        "texts.",
    )
    scale: float = Field(
        20.0,
        gt=0,
        description="Factor of the cosine similarity before the softmax. A higher one gives more confident answers.",
    )

    @field_validator("hypothesis")
    @classmethod
    def _check_hypothesis(cls, hypothesis: str) -> str:
        if hypothesis.count("{}") != 1 or hypothesis.count("{") != 1 or hypothesis.count("}") != 1:
            raise ValueError("the hypothesis has exactly one {}, where the label goes")
        return hypothesis

    def check_support(self, task: Task, start: StartKind) -> str | None:
        return check_support("zero-shot", task, start, self.starts)

    def predictor_kind(self, task: Task, start: StartKind) -> str:
        return "entailment" if start == "nli" else "encoder"

    def fit(self, task: Labelled, train_set: TrainSet, start: Start, context: FitContext) -> Predictor:
        backbone = cast("EncoderBackbone", start)
        if backbone.kind == "nli":
            from loratory.predictors.entailment import Entailment

            return Entailment(task, Network(backbone), self.hypothesis)
        return self._fit_by_similarity(task, backbone, context)

    def _fit_by_similarity(self, task: Labelled, backbone: EncoderBackbone, context: FitContext) -> Encoder:
        import math

        from loratory.predictors.encoder import Encoder
        from loratory.predictors.heads import PooledHead
        from loratory.predictors.output_adapters import find_output_adapter_name

        rows = [backbone.tokenizer.encode(task.describe(label))[0] for label in task.labels or ()]
        head = PooledHead(backbone.width, len(task.labels or ()), backbone.pooling).requires_grad_(False)
        head.prototypes.copy_(context.activations.compute_pooled(backbone, backbone.pooling, rows))
        head.log_scale.fill_(math.log(self.scale))
        network = Network(backbone, None, head.eval().to(context.device))
        return Encoder.from_training(task, find_output_adapter_name(task), network, 0, context.training)
