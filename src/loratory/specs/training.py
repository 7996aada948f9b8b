"""`training:` what every trained regime shares; the budget is the same for all of them."""

from __future__ import annotations

from math import ceil
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

# Of epochs that nobody has set (docs/defaults.md): more passes gain nothing on larger sets, small ones need the steps.
AUTO_EPOCHS, AUTO_STEPS, MAX_AUTO_EPOCHS = 4, 40, 24
ObjectiveSpec = str | dict[str, dict[str, Any] | None]  # `focal`, or `{focal: {gamma: 3}}`


class LossSpec(BaseModel):
    """The training loss of one regime. `loss: NAME` is short for `loss: {objective: NAME}`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    class_weights: Literal["balanced"] | dict[str, float] | None = Field(
        None,
        description='"balanced" weights each label by the inverse of its share; or label -> weight. Use it for rare '
        "labels.",
    )
    focal_gamma: float = Field(
        0.0,
        ge=0,
        le=10,
        description="Focal loss (Lin et al., 2017): a higher value gives easy examples less weight. 0 is "
        "cross-entropy.",
    )
    label_smoothing: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of the target that is spread over all labels. Raise it against over-confidence.",
    )
    objective: ObjectiveSpec | None = Field(
        None,
        description="Name of an objective, or name: {options}. Default: cross-entropy with the two keys above.",
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
    """Supervised contrastive warm-up (Khosla et al., 2020) before the head is trained."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(1, ge=1, le=100, description="Epochs of the warm-up, in addition to training: epochs.")
    temperature: float = Field(
        0.1, gt=0, le=1, description="Divisor of the similarities. A lower one separates hard negatives more strongly."
    )
    labels: int = Field(8, ge=2, le=256, description="Labels in one step: one label and the labels most similar to it.")
    examples: int = Field(4, ge=2, le=256, description="Examples of each label in one step.")


class ConsistencySpec(BaseModel):
    """Each example is trained with a perturbed copy, and both should get the same answer (Liang et al., 2021)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weight: float = Field(
        1.0,
        ge=0,
        le=100,
        description="Weight of the divergence between the two answers. 0: copies are plain extra examples.",
    )
    of: tuple[PerturbationSpec, ...] = Field(DEFAULT_PERTURBATIONS, min_length=1, description=ALLOWED_FORMS)
    strength: float | None = Field(
        None, gt=0, le=1, description="Strength of every perturbation. Default: the default of each one."
    )

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
    """Budget, batches and precision. All trained regimes share them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="Maximum number of passes over the training split. Default: 4 (spans: 8), and more for small "
        "data, until there are 40 optimizer steps, but at most 24.",
    )
    batch_tokens: int = Field(
        1024,
        ge=16,
        description="Size of one optimizer step, in tokens with padding. Texts of similar length share a step, so "
        "padding is small.",
    )
    batch_examples: int = Field(
        16, ge=1, description="Minimum number of examples in one optimizer step, even if they exceed batch_tokens."
    )
    micro_batch_tokens: int = Field(
        8192,
        ge=16,
        description="Maximum number of padded tokens in one pass; a larger step is accumulated. Lower it if memory "
        "runs out: the result is the same within rounding.",
    )
    accumulation: int = Field(
        1, ge=1, description="Batches that are joined into one optimizer step. Raise it for larger effective batches."
    )
    max_tokens: int = Field(
        256,
        ge=8,
        description="Maximum length of a text in tokens, limited by the base. A longer text is cut; see long.",
    )
    long: Literal["head", "ends", "windows"] = Field(
        "head",
        description="What is read of a longer text (encoders, labels). head: its beginning. ends: a quarter of the "
        "tokens from the beginning, the rest from the end (Sun et al., 2019). windows: all of it, with "
        "averaged logits.",
    )
    seeds: int = Field(
        1,
        ge=1,
        le=50,
        description="Fits of each seeded regime, each with its own seed; the validation split chooses the one to "
        "ship. Use 3 or more to see the variance.",
    )
    trials: int = Field(
        1,
        ge=1,
        le=9,
        description="Values tried on the validation split for the tunable option of each trained regime, such as the "
        "learning rate. 1: no tuning.",
    )
    patience: int | None = Field(
        None,
        ge=1,
        description="Stop after this many epochs without a better validation score. Default: never, because the last "
        "epochs of the schedule are often the best. The best epoch is always kept.",
    )
    seed: int = Field(6, ge=0, description="Random seed from which the seed of every fit is derived.")
    optimizer: Literal["adamw", "adamw8bit"] = Field(
        "adamw",
        description="adamw8bit stores the moments of weights with at least 4,096 values in eight bits (bitsandbytes). "
        "Use it to save memory.",
    )
    schedule: Literal["linear", "cosine", "constant", "plateau"] = Field(
        "linear",
        description="Schedule of the learning rate after the warm-up. plateau: constant until the validation score "
        "stops rising (see patience), then linear to zero in one last epoch; epochs is the most it takes.",
    )
    warmup: float = Field(0.05, ge=0, lt=1, description="Share of all steps in which the learning rate rises.")
    weight_decay: float = Field(0.01, ge=0, lt=1, description="Decoupled weight decay of AdamW, on matrices only.")
    average: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Decay of a moving average of the trained weights; the average is validated and saved. 0: no "
        "average.",
    )
    clip: float = Field(1.0, gt=0, description="Maximum norm of the gradient. Lower it if training is unstable.")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="Number format of matrix products in training. Answers are always computed in fp32."
    )
    attention: Literal["auto", "short", "stock"] = Field(
        "auto",
        description="short: plain matrix products for short rows (on a CPU, up to the length where the fused kernel "
        "is faster). stock: always the kernel of the library.",
    )
    product: Literal["auto", "fused", "peft"] = Field(
        "auto",
        description="How a layer with LoRA is computed: fused is one function, peft is the layer of the PEFT library.",
    )
    cache: Literal["auto", "off"] = Field(
        "auto",
        description="auto: with lora: {layers: top-k}, the layers below are computed once for each text instead of in "
        "every epoch.",
    )
    packing: Literal["off", "on"] = Field(
        "off",
        description="on: several rows of a pass are packed into one, and each attends only to itself (causal bases "
        "that write). It saves little when rows have similar length.",
    )
    share_prefix: Literal["auto", "off"] = Field(
        "auto",
        description="auto: the tokens that all prompts begin with (system message, labels, shots) are computed once "
        "for a pass, not for each example (causal bases that write).",
    )
    gradient_checkpointing: bool = Field(
        False,
        description="Store only the input of each layer and recompute the rest in the backward pass: less memory, "
        "more time, the same result.",
    )
    racing: Literal["auto", "on", "off"] = Field(
        "auto",
        description="on: a fit is stopped when its validation scores cannot reach those of another contender any "
        "more; the contender is then not measured on the test set, and the ladder says so. off: every contender is "
        "trained to its end. auto: on with one seed, off with several.",
    )
    checkpoint_seconds: float = Field(
        30.0, ge=0, description="Time between checkpoints, in seconds. It does not change the result."
    )
    threads: int = Field(0, ge=0, description="Number of CPU threads. 0: all cores.")

    def count_epochs(self, steps_per_epoch: int, least: int = AUTO_EPOCHS) -> int:
        """The passes over the training split: those asked for, or `least`, or more where one has few steps."""
        if self.epochs is not None:
            return self.epochs
        return min(max(least, ceil(AUTO_STEPS / max(steps_per_epoch, 1))), MAX_AUTO_EPOCHS)

    @property
    def races(self) -> bool:
        """Whether contenders that cannot win are stopped: several seeds are asked for where the evidence is final."""
        return self.racing == "on" or (self.racing == "auto" and self.seeds == 1)
