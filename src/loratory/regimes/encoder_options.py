"""What `lora` and `full` share: the head that they train, and how."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from loratory.errors import SpecError, suggest_nearest
from loratory.protocols import JSON, FitContext, Predictor, Spanned, Task, TrainSet
from loratory.regimes.causal_options import build_decoder
from loratory.regimes.compatibility import ENCODER_CAPABILITIES, check_causal_support, check_support
from loratory.regimes.span_rule_mining import ValidatorName, select_by_precision
from loratory.specs.generation import GenerationSpec
from loratory.specs.training import ConsistencySpec, ContrastiveSpec, LossSpec

MIN_VALIDATOR_PRECISION = (
    0.9  # share of a validator's finds in train that are right, before it is believed over what is learnt
)


class EncoderOptions(BaseModel):
    """Options of a regime that trains a head together with its backbone."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    starts: ClassVar[tuple[str, ...]] = ("encoder", "causal")

    head: Literal["auto", "pooled", "stock", "none"] = Field(
        "auto",
        description="pooled: cosine to learned prototypes; stock: opens wholly in AutoModelForSequenceClassification; "
        "none: a causal base writes its answer; auto: pooled on an encoder, none on a causal base",
    )
    prompt: str | None = Field(
        None, description="of a base that writes: a prompt file (version, system, user); without it the project's own"
    )
    writing: GenerationSpec = Field(
        default_factory=GenerationSpec, description="of open answers: budget, drawing, stops"
    )
    head_learning_rate: float = Field(5e-3, gt=0, lt=1, description="of the head")
    learn_scale: bool = Field(
        False,
        description="learn the pooled head's scale too; kept where it starts it holds back over-confidence, which was "
        "the better choice on banking77",
    )
    label_names: float = Field(
        0.0, ge=0, le=100, description="how many examples the label's own words count as where a prototype starts"
    )
    contrastive: ContrastiveSpec | None = Field(
        None, description="a supervised contrastive warm-up with mined hard negatives (pooled head)"
    )
    validators: Literal["auto", "off"] | dict[ValidatorName, str] = Field(
        "auto",
        description="of spans: what finds cards, accounts and the like by form and check digits -> the label it speaks "
        "for; what they find stands. auto: those that were right on train",
    )
    consistency: ConsistencySpec | None = Field(
        None, description="perturbed twins of the examples, whose answers are to be the same (tasks of labels)"
    )
    loss: LossSpec = Field(default_factory=LossSpec)
    learning_rate: float

    @model_validator(mode="after")
    def _check_contrastive_head(self) -> Self:
        if self.contrastive and self.head not in ("auto", "pooled"):
            raise ValueError("contrastive warms up for prototypes: set head: pooled with it")
        return self

    def generates_answer(self, start: str) -> bool:
        """Whether an answer is written, from this kind of start."""
        return self.head == "none" or (self.head == "auto" and start == "causal")

    def check_regime_support(self, name: str, task: Task, start: str) -> str | None:
        """Why this task cannot be fulfilled from this kind of start, or None; loads no weights."""
        if self.head == "none" and start == "encoder":
            return f"{name} with head: none lets the base write its answer, and an encoder cannot write"
        if self.generates_answer(start) and (self.contrastive or self.label_names):
            return f"{name} on a causal base writes its answer: contrastive and label_names need head: pooled"
        if self.consistency and (self.generates_answer(start) or isinstance(task, Spanned)):
            return f"{name} with consistency compares the odds of labels: it needs a task of labels and a head"
        if self.generates_answer(start):
            return check_causal_support(name, task, start, self.starts)
        if isinstance(task, Spanned) and (self.contrastive or self.label_names):
            return f"{name} on spans has a head on every token: contrastive and label_names are for labels of texts"
        return check_support(name, task, start, self.starts, ENCODER_CAPABILITIES)

    def check_backbone(self, task: Any, backbone: Any, context: FitContext) -> None:
        from loratory.regimes.preflight_checks import (
            check_causal_backbone,
            check_compute_config,
            check_head,
            check_packing_support,
        )

        check_compute_config(backbone, context, trains_layers=True)
        if self.generates_answer(backbone.kind):
            check_causal_backbone(task, backbone)
            check_packing_support(self, backbone, context)
        else:
            check_head(self.head, task, backbone)

    def check_examples(self, task: Any, train_set: TrainSet, backbone: Any, context: FitContext) -> None:
        from loratory.regimes.preflight_checks import build_checked_decoder, check_class_weights, check_sft_examples

        check_class_weights(self, task, train_set)
        if self.generates_answer(backbone.kind):
            check_sft_examples(build_checked_decoder(self, task, train_set, backbone, context), train_set, context)
            return
        if self.consistency and context.training.long == "windows":
            from loratory.training.consistency import build_windows_error

            raise build_windows_error()
        if isinstance(task, Spanned):
            self.check_validator_labels(task)

    def check_validator_labels(self, task: Any) -> None:
        """Raise SpecError where a validator speaks for an unknown label."""
        for label in () if isinstance(self.validators, str) else self.validators.values():
            if label not in task.span_labels:
                said = f"{label!r} is no label{suggest_nearest(label, task.span_labels)}"
                raise SpecError(said, where="validators", allowed=", ".join(task.span_labels))

    def add_span_rules(self, task: Any, train_set: TrainSet, predictor: Any) -> Any:
        """A predictor of spans with its validators; any other as it is. Raises SpecError for an unknown label."""
        if not isinstance(task, Spanned) or self.validators == "off":
            return predictor
        self.check_validator_labels(task)
        marked = [(task.text(e.input), task.spans_of(e.answer)) for e in train_set.train]
        return replace(
            predictor, span_rules=tuple(select_by_precision(self.validators, marked, MIN_VALIDATOR_PRECISION))
        )

    def fit_causal(
        self, task: Any, train_set: TrainSet, backbone: Any, context: FitContext
    ) -> tuple[Predictor, dict[str, JSON]]:
        """Teach a causal base to write the answer."""
        from loratory.training.causal import train_causal

        start = build_decoder(self, task, train_set, backbone, context)
        return train_causal(train_set, start, backbone, self.learning_rate, self.loss, context)
