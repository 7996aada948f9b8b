"""`head`: a trained head on a frozen base."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal, cast

from pydantic import Field

from loratory.protocols import FitContext, Labelled, RegimeOptions, Spanned, Start, StartKind, Task, TrainSet
from loratory.protocols.events import PredictorFitted
from loratory.protocols.objectives import OutputKind
from loratory.regimes.compatibility import ENCODER_CAPABILITIES, check_support
from loratory.regimes.objective_options import check_objective
from loratory.specs.training import LossSpec

if TYPE_CHECKING:
    from loratory.backbones.forward.encoder_backbone import EncoderBackbone
    from loratory.predictors.encoder import Encoder


class Head(RegimeOptions):
    """A head on a frozen base. The states of the base are computed once; only the head is trained."""

    tunable: ClassVar[str | None] = "learning_rate"
    seeded: ClassVar[bool] = True
    starts: ClassVar[tuple[str, ...]] = ("encoder", "causal")

    head: Literal["pooled", "stock"] = Field(
        "pooled",
        description="pooled: cosine similarity to learned prototypes (for spans: one linear layer on every token). "
        "stock: the classification head of the architecture.",
    )
    learning_rate: float = Field(2e-3, gt=0, lt=1, description="Learning rate of the head.")
    epochs: int = Field(
        20,
        ge=1,
        le=1000,
        description="Passes over the cached states (pooled head). The stock head and spans use training: epochs.",
    )
    label_names: float | None = Field(
        None,
        ge=0,
        le=100,
        description="How many examples the words of a label (its description, or its name) count as. Default: 1 where "
        "labels have few examples (a median of at most 16), else 0. 0: not at all.",
    )
    loss: LossSpec = Field(default_factory=LossSpec, description="Training loss: a name, or the keys of `loss`.")

    def check_support(self, task: Task, start: StartKind) -> str | None:
        if isinstance(task, Spanned) and self.label_names:
            return "head on spans has a head on every token: label_names is for labels of texts"
        outputs: OutputKind = "tags" if isinstance(task, Spanned) else "labels"
        return check_support("head", task, start, self.starts, ENCODER_CAPABILITIES) or check_objective(
            "head", self.loss, outputs
        )

    def predictor_kind(self, task: Task, start: StartKind) -> str:
        return "encoder"

    def check_backbone(self, task: Task, backbone: EncoderBackbone, context: FitContext) -> None:
        from loratory.regimes.preflight_checks import check_compute_config, check_head

        if self.head == "stock" or isinstance(task, Spanned):
            check_compute_config(backbone, context, trains_layers=False)
        check_head(self.head, task, backbone)

    def check_examples(self, task: Task, train_set: TrainSet, backbone: EncoderBackbone, context: FitContext) -> None:
        from loratory.regimes.preflight_checks import check_class_weights

        check_class_weights(self.loss, task, train_set)

    def fit(self, task: Task, train_set: TrainSet, start: Start, context: FitContext) -> Encoder:
        from loratory.training.encoders import (
            EncoderTrainingOptions,
            make_compute_config,
            train_encoder,
            train_head_on_states,
        )
        from loratory.training.trainable_backbones import TrainableBackbone

        backbone = cast("EncoderBackbone", start)
        options = EncoderTrainingOptions(
            self.head, self.learning_rate, self.learning_rate, self.loss, label_names=self.label_names or 0.0
        )
        if self.head == "pooled" and isinstance(task, Labelled):
            options = replace(options, label_names=self.label_names)
            made, facts = train_head_on_states(task, train_set, backbone, options, self.epochs, context)
        else:
            made, facts = train_encoder(
                task,
                train_set,
                TrainableBackbone(backbone, compute_config=make_compute_config(context)),
                options,
                context,
            )
        context.report(PredictorFitted(facts))
        return made
