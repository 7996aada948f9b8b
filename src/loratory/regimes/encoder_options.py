"""What `lora` and `full` share: the head that they train, and how."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeVar

from pydantic import Field, model_validator

from loratory.errors import SpecError, suggest_nearest
from loratory.protocols import (
    JSON,
    FitContext,
    Predictor,
    RegimeOptions,
    Spanned,
    StartKind,
    Task,
    TrainSet,
    is_contender_kind,
    read_predictor_kind,
)
from loratory.protocols.objectives import OutputKind
from loratory.regimes.causal_options import build_decoder
from loratory.regimes.compatibility import ENCODER_CAPABILITIES, check_causal_support, check_support
from loratory.regimes.objective_options import check_objective
from loratory.regimes.span_rule_mining import ValidatorName, select_by_precision
from loratory.regimes.training_starts import TrainingStart, check_network_start
from loratory.specs.generation import GenerationSpec
from loratory.specs.training import ConsistencySpec, ContrastiveSpec, LossSpec

if TYPE_CHECKING:
    from torch import nn

    from loratory.backbones.forward.encoder_backbone import EncoderBackbone
    from loratory.training.encoders import EncoderTrainingOptions
    from loratory.training.trainable_backbones import TrainableBackbone

PredictorT = TypeVar("PredictorT", bound=Predictor)
MIN_VALIDATOR_PRECISION = (
    0.9  # share of a validator's finds in train that are right, before it is believed over what is learnt
)


class EncoderOptions(RegimeOptions):
    """Options of a regime that trains a head together with its backbone."""

    adapts: ClassVar[bool] = True
    tunable: ClassVar[str | None] = "learning_rate"
    seeded: ClassVar[bool] = True
    starts: ClassVar[tuple[str, ...]] = ("encoder", "causal", "contender")
    file_options: ClassVar[tuple[str, ...]] = ("prompt",)

    head: Literal["auto", "pooled", "stock", "none"] = Field(
        "auto",
        description="auto: pooled on an encoder, none on a causal base. pooled: cosine similarity to learned "
        "prototypes. stock: opens in AutoModelForSequenceClassification. none: a causal base generates "
        "the answer.",
    )
    prompt: str | None = Field(
        None,
        description="Prompt file (version, system, user) for a generated answer. Default: the built-in prompt.",
    )
    writing: GenerationSpec = Field(
        default_factory=GenerationSpec, description="Length, sampling and stop texts of generated answers."
    )
    epochs: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="Passes over the training split, for this contender alone. Default: training: epochs. Use fewer "
        "with start: NAME, which is trained already.",
    )
    head_learning_rate: float = Field(5e-3, gt=0, lt=1, description="Learning rate of the head.")
    learn_scale: bool = Field(
        False,
        description="Also learn the scale of the pooled head. Off is less over-confident and was better on banking77.",
    )
    label_names: float | None = Field(
        None,
        ge=0,
        le=100,
        description="How many examples the words of a label (its description, or its name) count as, in training and "
        "in the initial prototype. Default: 1 where labels have few examples (a median of at most 16) and the head "
        "is pooled, else 0. 0: not at all.",
    )
    refit_head: bool | None = Field(
        False,
        description="Fit the pooled head once more, alone, on the states of the trained backbone; the better of both "
        "heads on validation stays. null: where labels have few examples (a median of at most 16).",
    )
    contrastive: ContrastiveSpec | None = Field(
        None, description="Supervised contrastive warm-up with hard negatives (pooled head)."
    )
    validators: Literal["auto", "off"] | dict[ValidatorName, str] = Field(
        "auto",
        description="For spans: validator -> label. Validators find cards, accounts and the like by format and check "
        "digits, and override the model. auto: those that are precise on the training split.",
    )
    consistency: ConsistencySpec | None = Field(
        None,
        description="Also train on perturbed copies, so that both get the same answer (tasks with labels).",
    )
    loss: LossSpec = Field(default_factory=LossSpec, description="Training loss: a name, or the keys of `loss`.")
    learning_rate: float

    @model_validator(mode="after")
    def _check_contrastive_head(self) -> Self:
        if self.contrastive and self.head not in ("auto", "pooled"):
            raise ValueError("contrastive warms up for prototypes: set head: pooled with it")
        if self.refit_head and self.head not in ("auto", "pooled"):
            raise ValueError("refit_head fits prototypes again: set head: pooled with it")
        return self

    def generates_answer(self, start: StartKind) -> bool:
        """Whether an answer is written, from this kind of start: a contender goes on as it answered."""
        if is_contender_kind(start):
            return self.head in ("auto", "none") and read_predictor_kind(start) == "decoder"
        return self.head == "none" or (self.head == "auto" and start == "causal")

    def predictor_kind(self, task: Task, start: StartKind) -> str:
        return "decoder" if self.generates_answer(start) else "encoder"

    def check_regime_support(self, name: str, task: Task, start: StartKind) -> str | None:
        """Why this task cannot be fulfilled from this kind of start, or None; loads no weights."""
        writes = self.generates_answer(start)
        if self.head == "none" and (start == "encoder" or (is_contender_kind(start) and not writes)):
            return f"{name} with head: none lets the base write its answer, and {start} cannot write"
        if writes and (self.contrastive or self.label_names or self.refit_head):
            return f"{name} on a causal base writes its answer: contrastive, label_names, refit_head need head: pooled"
        if self.consistency and (writes or isinstance(task, Spanned)):
            return f"{name} with consistency compares the odds of labels: it needs a task of labels and a head"
        return check_network_start(name, start) or self._check_outputs(name, task, start)

    def _check_outputs(self, name: str, task: Task, start: StartKind) -> str | None:
        """Whether what is predicted is of this task, and of this loss."""
        if self.generates_answer(start):
            return check_causal_support(name, task, start, self.starts) or check_objective(name, self.loss, "answers")
        if isinstance(task, Spanned) and (self.contrastive or self.label_names or self.refit_head):
            return f"{name} on spans has a head on every token: contrastive, label_names and refit_head are for labels"
        outputs: OutputKind = "tags" if isinstance(task, Spanned) else "labels"
        return check_support(name, task, start, self.starts, ENCODER_CAPABILITIES) or check_objective(
            name, self.loss, outputs
        )

    def settle_budget(self, context: FitContext) -> FitContext:
        """The context with the epochs of this contender."""
        if self.epochs is None:
            return context
        return replace(context, training=context.training.model_copy(update={"epochs": self.epochs}))

    def to_training_options(self, start: TrainingStart) -> EncoderTrainingOptions:
        """What the training of an encoder reads of these options, and the head that it begins with."""
        from loratory.training.encoders import EncoderTrainingOptions

        return EncoderTrainingOptions(
            "pooled" if self.head == "auto" else self.head,
            self.learning_rate,
            self.head_learning_rate,
            self.loss,
            self.learn_scale,
            self.label_names,
            self.contrastive,
            self.consistency,
            self.refit_head,
            self._choose_start_head(start.head),
        )

    def _choose_start_head(self, head: nn.Module | None) -> nn.Module | None:
        """The start's head, where it is of the kind that these options ask for."""
        from loratory.predictors.heads import PooledHead, StockHead

        if head is None or (self.contrastive and not isinstance(head, PooledHead)):
            return None
        return head if self.head == "auto" or (self.head == "stock") == isinstance(head, StockHead) else None

    def check_backbone(self, task: Task, backbone: EncoderBackbone, context: FitContext) -> None:
        from loratory.regimes.preflight_checks import (
            check_causal_backbone,
            check_compute_config,
            check_head,
            check_packing_support,
        )

        check_compute_config(backbone, context, trains_layers=True)
        if self.generates_answer(context.start_kind or backbone.kind):
            check_causal_backbone(task, backbone)
            check_packing_support(backbone, context)
        else:
            check_head(self.head, task, backbone)

    def check_examples(self, task: Task, train_set: TrainSet, backbone: EncoderBackbone, context: FitContext) -> None:
        from loratory.regimes.preflight_checks import build_checked_decoder, check_class_weights, check_sft_examples

        check_class_weights(self.loss, task, train_set)
        if self.generates_answer(context.start_kind or backbone.kind):
            check_sft_examples(build_checked_decoder(self, task, train_set, backbone, context), train_set, context)
            return
        if self.consistency and context.training.long == "windows":
            from loratory.training.consistency import build_windows_error

            raise build_windows_error()
        if isinstance(task, Spanned):
            self.check_validator_labels(task)

    def check_validator_labels(self, task: Spanned) -> None:
        """Raise SpecError where a validator speaks for an unknown label."""
        for label in () if isinstance(self.validators, str) else self.validators.values():
            if label not in task.span_labels:
                said = f"{label!r} is no label{suggest_nearest(label, task.span_labels)}"
                raise SpecError(said, where="validators", allowed=", ".join(task.span_labels))

    def add_span_rules(self, task: Task, train_set: TrainSet, predictor: PredictorT) -> PredictorT:
        """A predictor of spans with its validators; any other as it is. Raises SpecError for an unknown label."""
        if not isinstance(task, Spanned) or self.validators == "off":
            return predictor
        self.check_validator_labels(task)
        marked = [(task.text(e.input), task.spans_of(e.answer)) for e in train_set.train]
        spanned: Any = predictor  # an Encoder or a Decoder, as the task is one of spans
        return replace(  # type: ignore[no-any-return]
            spanned, span_rules=tuple(select_by_precision(self.validators, marked, MIN_VALIDATOR_PRECISION))
        )

    def fit_causal(
        self, task: Task, train_set: TrainSet, backbone: TrainableBackbone, context: FitContext
    ) -> tuple[Predictor, dict[str, JSON]]:
        """Teach a causal base to write the answer."""
        from loratory.training.causal import CausalTrainingOptions, train_causal

        start = build_decoder(self, task, train_set, backbone, context)
        options = CausalTrainingOptions(self.learning_rate, self.loss.class_weights)
        loss = self.loss.create_objective().compute_losses
        return train_causal(train_set, start, backbone, options, context, loss=loss)
