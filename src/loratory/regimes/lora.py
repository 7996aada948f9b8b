"""`lora`: low-rank adapters on a frozen base (Hu et al. 2021), with a head."""

from __future__ import annotations

import re
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from loratory.errors import SpecError, nearest
from loratory.protocols import JSON, Context, Lessons, Predictor, Start, Task
from loratory.regimes.headed import Headed


class Lora(Headed):
    """W' = W + scale * B A, with scale alpha / rank (rsLoRA: alpha / sqrt(rank), Kalajdzievski 2023)."""

    adapts: ClassVar[bool] = True
    tunable: ClassVar[str | None] = "learning_rate"
    seeded: ClassVar[bool] = True

    rank: int = Field(16, ge=1, le=1024, description="of the update")
    alpha: float = Field(32, gt=0, description="scales the update: alpha / rank")
    dropout: float = Field(0.0, ge=0, lt=1, description="on the adapter's input while training")
    rslora: bool = Field(False, description="scale by alpha / sqrt(rank)")
    targets: Literal["auto"] | list[str] = Field("auto", description="module names; auto: by architecture")
    layers: str | list[int] = Field(
        "all", description='"all", "top-2" (the two layers nearest the head), or layer numbers'
    )
    learning_rate: float = Field(1e-3, gt=0, lt=1, description="of the adapters")

    @field_validator("layers")
    @classmethod
    def _known_form(cls, layers: str | list[int]) -> str | list[int]:
        if isinstance(layers, str) and not re.fullmatch(r"all|top-[1-9]\d*", layers):
            raise ValueError('layers is "all", "top-2" or a list of layer numbers')
        return layers

    def objection(self, task: Task, start: str) -> str | None:
        return self.refused("lora", task, start)

    def inspect(self, task: Any, trunk: Any, context: Context) -> None:
        super().inspect(task, trunk, context)
        trunk.open(self.config(trunk, context))

    def fit(self, task: Any, lessons: Lessons, start: Start, context: Context) -> Predictor:
        import torch

        from loratory.training.encoders import Options, through_trunk, ways
        from loratory.training.seeds import seed_of

        config = self.config(start, context)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(context.seed, "adapter"))
            live = start.open(config, ways=ways(context))
        made: Predictor
        if self.writes(start.kind):
            made, facts = self.written(task, lessons, live, context)
        else:
            made, facts = through_trunk(task, lessons, live, Options.of(self), context)
        made = self.assisted(task, lessons, made)
        context.report("fitted", {**facts, "targets": config["target_modules"]})
        return made

    def config(self, trunk: Any, context: Context) -> dict[str, JSON]:
        """The adapter's PEFT configuration on this trunk; says so when the architecture is unknown."""
        targets, known = trunk.targets() if self.targets == "auto" else (self._named(trunk), True)
        if not known:
            context.report(
                "said",
                {
                    "text": f"{trunk.config.model_type} is not in the table of architectures: adapting "
                    f"every linear layer of its trunk ({', '.join(targets)})"
                },
            )
        chosen, pattern = self._layers(trunk)
        turned: dict[str, JSON] = {"fan_in_fan_out": True} if trunk.transposed(targets) else {}
        config: dict[str, JSON] = {
            "r": self.rank,
            "lora_alpha": self.alpha,
            "lora_dropout": self.dropout,
            "use_rslora": self.rslora,
            "target_modules": list(targets),
        }
        return config | turned | ({"layers_to_transform": chosen, "layers_pattern": pattern} if chosen else {})

    def _named(self, trunk: Any) -> tuple[str, ...]:
        unknown, there = trunk.strangers(self.targets)
        if unknown or not self.targets:
            seen = f"{unknown[0]!r}{nearest(unknown[0], there)}" if unknown else "an empty list"
            raise SpecError(
                f"{trunk.name} has no such linear layer: {seen}", where="lora: targets", allowed=", ".join(there)
            )
        return tuple(self.targets)

    def _layers(self, trunk: Any) -> tuple[list[int], str]:
        pattern, depth = trunk.layers()
        if self.layers == "all":
            return [], pattern
        if isinstance(self.layers, str):
            top = int(self.layers.removeprefix("top-"))
            chosen = list(range(depth - top, depth))
        else:
            chosen = sorted(set(self.layers))
        if not chosen or chosen[0] < 0 or chosen[-1] >= depth:
            raise SpecError(
                f"layers {self.layers} do not fit {trunk.name}, which has {depth}",
                where="lora: layers",
                allowed=f"all, top-1 to top-{depth}, or a list of numbers from 0 to {depth - 1}",
            )
        return chosen, pattern
