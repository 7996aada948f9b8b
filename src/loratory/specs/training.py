"""`training:` what every trained regime shares; the budget is the same for all of them."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import CoreSchema

from loratory.discovery import load_named
from loratory.errors import SpecError
from loratory.perturbations.changes import Perturbation
from loratory.perturbations.perturbation_specs import (
    ALLOWED_FORMS,
    DEFAULT_PERTURBATIONS,
    PerturbationSpec,
    create_perturbations,
)

ObjectiveSpec = str | dict[str, dict[str, Any] | None]  # `focal`, or `{focal: {gamma: 3}}`


class LossSpec(BaseModel):
    """The training loss of one regime; `loss: NAME` is short for `loss: {objective: NAME}`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    class_weights: Literal["balanced"] | dict[str, float] | None = Field(
        None, description='"balanced" weighs each label by the inverse of its share; or label -> weight'
    )
    focal_gamma: float = Field(0.0, ge=0, le=10, description="focal loss (Lin et al. 2017); 0 is cross-entropy")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of the target spread over all labels")
    objective: ObjectiveSpec | None = Field(
        None,
        description="name of an objective, or name: {options}; left out: cross-entropy with the two keys above",
    )

    @model_validator(mode="before")
    @classmethod
    def _read_name(cls, values: object) -> object:
        return {"objective": values} if isinstance(values, str) else values

    @model_validator(mode="after")
    def _check_objective(self) -> Self:
        if self.objective is not None and (self.focal_gamma or self.label_smoothing):
            raise ValueError(
                "with objective: its own options are given with its name, as in objective: {focal: {gamma: 2}}; "
                "take out focal_gamma and label_smoothing"
            )
        self.create_objective()
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """A name alone will do."""
        return {"anyOf": [{"type": "string"}, handler(core_schema)]}

    def create_objective(self) -> Any:
        """The loss with its options, a `protocols.Objective`; raises ValueError for what is no name or no option."""
        if self.objective is not None:
            return create_objective(self.objective)
        smoothed = {"label_smoothing": self.label_smoothing}
        return create_objective(
            {"focal": {"gamma": self.focal_gamma, **smoothed}} if self.focal_gamma else {"cross-entropy": smoothed}
        )


def create_objective(spec: ObjectiveSpec) -> Any:
    """The objective that a name, or {name: options}, means. Raises ValueError with the nearest name."""
    if not isinstance(spec, str) and len(spec) != 1:
        raise ValueError("objective is one name, or one name with its options below it")
    name, options = (spec, None) if isinstance(spec, str) else next(iter(spec.items()))
    try:
        cls = load_named("objectives", name)
    except SpecError as problem:
        raise ValueError(f"{problem.problem} (allowed: {problem.allowed})") from None
    try:
        return cls.model_validate(options or {})
    except ValidationError as problem:
        first = problem.errors(include_url=False)[0]
        place = ": ".join(map(str, (name, *first["loc"])))
        raise ValueError(f"{place}: {first['msg']} (allowed: {', '.join(cls.model_fields) or 'no options'})") from None


class ContrastiveSpec(BaseModel):
    """A supervised contrastive warm-up (Khosla et al. 2020) before the head learns."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(1, ge=1, le=100, description="of the warm-up, beside training: epochs")
    temperature: float = Field(0.1, gt=0, le=1, description="divides the similarities")
    labels: int = Field(8, ge=2, le=256, description="of one step: a label and those whose examples are most like its")
    examples: int = Field(4, ge=2, le=256, description="of each label in a step")


class ConsistencySpec(BaseModel):
    """Each example learns together with a perturbed twin, and both have to give one answer (Liang et al. 2021)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weight: float = Field(1.0, ge=0, le=100, description="of the divergence of the two answers; 0: twins as examples")
    of: tuple[PerturbationSpec, ...] = Field(DEFAULT_PERTURBATIONS, min_length=1, description=ALLOWED_FORMS)
    strength: float | None = Field(None, gt=0, le=1, description="of every perturbation; left out: each one's own")

    @field_validator("of")
    @classmethod
    def _check_perturbations(cls, of: tuple[PerturbationSpec, ...]) -> tuple[PerturbationSpec, ...]:
        create_perturbations(of)
        return of

    def build_perturbations(self) -> dict[str, Perturbation]:
        """Each by its name, at the strength asked for."""
        change = {} if self.strength is None else {"strength": self.strength}
        return {name: one.model_copy(update=change) for name, one in create_perturbations(self.of).items()}


class TrainingSpec(BaseModel):
    """Budget, batches and precision."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(8, ge=1, le=1000, description="passes over train at most")
    batch_tokens: int = Field(
        1024,
        ge=16,
        description="padded tokens of one optimizer step (texts of a step are of like length: little is padding)",
    )
    batch_examples: int = Field(16, ge=1, description="examples of one optimizer step at least, however long they are")
    micro_batch_tokens: int = Field(
        8192, ge=16, description="padded tokens that go through the backbone at once; a larger step is accumulated"
    )
    accumulation: int = Field(1, ge=1, description="batches accumulated into one optimizer step")
    max_tokens: int = Field(256, ge=8, description="longer texts are cut (never above what the base can read)")
    long: Literal["head", "ends", "windows"] = Field(
        "head",
        description="of a text that is longer (encoders, labels): its beginning; a quarter of the tokens from its "
        "beginning and the rest from its end (Sun et al. 2019); or all of it in windows, their logits averaged",
    )
    seeds: int = Field(
        1, ge=1, le=50, description="fits of each seeded regime; the one that ships is chosen on validation"
    )
    trials: int = Field(1, ge=1, le=9, description="validation trials of each trained regime's tunable option")
    patience: int | None = Field(
        None,
        ge=1,
        description="stop after so many epochs without a better validation score; "
        "without it all epochs run (the schedule's last ones are often the "
        "best), and the best epoch is kept either way",
    )
    seed: int = Field(6, ge=0, description="seed that every fit's seed is derived from")
    optimizer: Literal["adamw", "adamw8bit"] = Field(
        "adamw",
        description="adamw8bit: the moments of weights of 4,096 numbers and more are held in eight bits (bitsandbytes)",
    )
    schedule: Literal["linear", "cosine", "constant"] = Field(
        "linear", description="of the learning rate after warm-up"
    )
    warmup: float = Field(0.05, ge=0, lt=1, description="share of all steps in which the learning rate rises")
    weight_decay: float = Field(0.01, ge=0, lt=1, description="AdamW's decoupled weight decay, on matrices only")
    average: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="decay of a running mean of the learned weights, which is what is validated and kept; 0: no mean",
    )
    clip: float = Field(1.0, gt=0, description="the gradient's norm is clipped to this")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="of the matrix products in training; answers are always computed in fp32"
    )
    attention: Literal["auto", "short", "stock"] = Field(
        "auto",
        description="short: plain products for short rows (on a CPU, up to the length where the fused kernel wins); "
        "stock: always the library's",
    )
    product: Literal["auto", "fused", "peft"] = Field(
        "auto", description="of a layer with its LoRA update: fused is one function, peft is that library's own layer"
    )
    cache: Literal["auto", "off"] = Field(
        "auto",
        description="auto: with lora.layers: top-k the layers below are computed once for each text, not in each epoch",
    )
    packing: Literal["off", "on"] = Field(
        "off",
        description="on: the rows of a pass are one row in which each sees itself alone (causal bases that write); "
        "batches of like length leave little padding to save",
    )
    gradient_checkpointing: bool = Field(
        False,
        description="keep only what enters each layer and compute the rest again in the backward pass: less memory, "
        "more time, the same result",
    )
    checkpoint_seconds: float = Field(
        30.0, ge=0, description="time between checkpoints (they do not change the result)"
    )
    threads: int = Field(0, ge=0, description="CPU threads; 0: all cores")
