"""`lora`: low-rank adapters on a frozen base (Hu et al. 2021), with a head."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, field_validator

from loratory.errors import SpecError, suggest_nearest
from loratory.protocols import JSON, FitContext, Labelled, Predictor, Start, StartKind, Task, TrainSet
from loratory.protocols.events import Message, PredictorFitted
from loratory.regimes.encoder_options import EncoderOptions
from loratory.regimes.training_starts import TrainingStart, find_start_kind, has_same_shape, merge_start, read_start

if TYPE_CHECKING:
    from loratory.backbones.forward.encoder_backbone import EncoderBackbone
    from loratory.training.trainable_backbones import TrainableBackbone


MIN_HALVED_DEPTH = 4  # layers of an encoder from which on `layers: auto` leaves the lower half alone


class Lora(EncoderOptions):
    """Low-rank adapters on a frozen base: W' = W + scale * B A, with scale alpha / rank (rsLoRA: alpha / sqrt(rank),
    Kalajdzievski, 2023).

    With `start:` it continues the adapter of another contender if rank, alpha, targets and layers are equal. Otherwise
    it merges that adapter into its own copy of the weights and trains a new adapter, which is merged too. It keeps the
    head of the start if the kind is the same.
    """

    rank: int = Field(
        16,
        ge=1,
        le=1024,
        description="Rank of the adapter. Raise it for hard tasks with many examples; the adapter grows with it.",
    )
    alpha: float = Field(32, gt=0, description="Scale of the adapter: alpha / rank.")
    dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Dropout on the input of the adapter during training. Raise it against overfitting.",
    )
    rslora: bool = Field(False, description="Scale by alpha / sqrt(rank) instead, which suits high ranks.")
    targets: Literal["auto"] | list[str] = Field(
        "auto", description="Names of the linear layers that get adapters. auto: chosen by architecture."
    )
    layers: str | list[int] = Field(
        "auto",
        description='"all", "top-2" (the top two layers), "top-half", or a list of layer numbers. Fewer layers train '
        "faster: the states below them are computed once. auto: top-half for labels on an encoder of at least four "
        "layers, else all; with start:, the layers of its adapter.",
    )
    learning_rate: float = Field(1e-3, gt=0, lt=1, description="Learning rate of the adapters.")

    @field_validator("layers")
    @classmethod
    def _check_layers(cls, layers: str | list[int]) -> str | list[int]:
        if isinstance(layers, str) and not re.fullmatch(r"auto|all|top-half|top-[1-9]\d*", layers):
            raise ValueError('layers is "auto", "all", "top-half", "top-2" or a list of layer numbers')
        return layers

    def check_support(self, task: Task, start: StartKind) -> str | None:
        return self.check_regime_support("lora", task, start)

    def check_backbone(self, task: Task, backbone: EncoderBackbone, context: FitContext) -> None:
        from loratory.training.trainable_backbones import TrainableBackbone

        super().check_backbone(task, backbone, context)
        settled = self._settle_layers(task, context.start_kind or backbone.kind, TrainingStart(backbone))
        TrainableBackbone(backbone, settled.build_adapter_config(backbone, context))

    def fit(self, task: Task, train_set: TrainSet, start: Start, context: FitContext) -> Predictor:
        from loratory.training.encoders import train_encoder

        begun, context = read_start(start), self.settle_budget(context)
        live = self._settle_layers(task, find_start_kind(start), begun)._make_trainable(begun, context)
        made: Predictor
        if self.generates_answer(find_start_kind(start)):
            made, facts = self.fit_causal(task, train_set, live, context)
        else:
            made, facts = train_encoder(task, train_set, live, self.to_training_options(begun), context)
        made = self.add_span_rules(task, train_set, made)
        context.report(PredictorFitted({**facts, "targets": (live.adapter_config or {})["target_modules"]}))
        return made

    def _make_trainable(self, start: TrainingStart, context: FitContext) -> TrainableBackbone:
        """The start's backbone with an adapter that learns: the start's own, or a fresh one."""
        import torch

        from loratory.training.encoders import make_compute_config
        from loratory.training.seeds import derive_seed
        from loratory.training.trainable_backbones import TrainableBackbone

        config, adapter = self.build_adapter_config(start.backbone, context), start.adapter
        backbone, merges = start.backbone, start.owns_backbone
        if adapter is not None and (merges or not has_same_shape(adapter, config)):
            backbone, adapter, merges = merge_start(start), None, True
            text = "the start's adapter has another shape: it is merged into weights of this contender's own"
            context.report(Message(text))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(context.seed, "adapter"))
            return TrainableBackbone(
                backbone, config, False, make_compute_config(context), start_adapter=adapter, merges=merges
            )

    def build_adapter_config(self, backbone: EncoderBackbone, context: FitContext) -> dict[str, JSON]:
        """The adapter's PEFT configuration on this backbone; says so when the architecture is unknown."""
        targets, known = (
            backbone.find_target_modules() if self.targets == "auto" else (self._check_targets(backbone), True)
        )
        if not known:
            context.report(
                Message(
                    f"{backbone.config.model_type} is not in the table of architectures: adapting "
                    f"every linear layer of its backbone ({', '.join(targets)})"
                )
            )
        chosen, pattern = self._select_layers(backbone)
        turned: dict[str, JSON] = {"fan_in_fan_out": True} if backbone.has_transposed_weights(targets) else {}
        config: dict[str, JSON] = {
            "r": self.rank,
            "lora_alpha": self.alpha,
            "lora_dropout": self.dropout,
            "use_rslora": self.rslora,
            "target_modules": list(targets),
        }
        return config | turned | ({"layers_to_transform": chosen, "layers_pattern": pattern} if chosen else {})

    def _check_targets(self, backbone: EncoderBackbone) -> tuple[str, ...]:
        unknown, there = backbone.find_unknown_targets(self.targets)
        if unknown or not self.targets:
            seen = f"{unknown[0]!r}{suggest_nearest(unknown[0], there)}" if unknown else "an empty list"
            raise SpecError(
                f"{backbone.name} has no such linear layer: {seen}", where="lora: targets", allowed=", ".join(there)
            )
        return tuple(self.targets)

    def count_frozen_layers(self, task: Task, depth: int) -> int:
        """The layers of an encoder below the first that has an adapter."""
        layers = self.layers
        if layers == "auto":
            layers = _choose_layers(task, depth)
        if isinstance(layers, str):
            return 0 if layers == "all" else max(depth - _count_top_layers(layers, depth), 0)
        return max(min(layers, default=0), 0)

    def _settle_layers(self, task: Task, kind: StartKind, start: TrainingStart) -> Self:
        """With `auto` replaced: by the start's own layers, or by the task and the depth of its encoder."""
        if self.layers != "auto":
            return self
        layers: str | list[int] = "all"
        if start.adapter is not None:
            layers = list(start.adapter.config.get("layers_to_transform") or []) or "all"
        elif not self.generates_answer(kind) and start.backbone.kind == "encoder":
            layers = _choose_layers(task, start.backbone.depth)
        return self.model_copy(update={"layers": layers})

    def _select_layers(self, backbone: EncoderBackbone) -> tuple[list[int], str]:
        pattern, depth = backbone.find_layers()
        if self.layers in ("all", "auto"):
            return [], pattern
        if isinstance(self.layers, str):
            chosen = list(range(depth - _count_top_layers(self.layers, depth), depth))
        else:
            chosen = sorted(set(self.layers))
        if not chosen or chosen[0] < 0 or chosen[-1] >= depth:
            raise SpecError(
                f"layers {self.layers} do not fit {backbone.name}, which has {depth}",
                where="lora: layers",
                allowed=f"all, top-1 to top-{depth}, or a list of numbers from 0 to {depth - 1}",
            )
        return chosen, pattern


def _choose_layers(task: Task, depth: int) -> str:
    """What `auto` stands for on an encoder (docs/defaults.md)."""
    return "top-half" if isinstance(task, Labelled) and depth >= MIN_HALVED_DEPTH else "all"


def _count_top_layers(layers: str, depth: int) -> int:
    """Of "top-half" or "top-2"."""
    return (depth + 1) // 2 if layers == "top-half" else int(layers.removeprefix("top-"))
