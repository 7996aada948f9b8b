"""A trunk in training: a twin of a shared one, with the weights that learn and the ways in which it computes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from loratory.errors import Unfit
from loratory.models import adapters, partial, recomputation
from loratory.models.memory import return_freed_memory
from loratory.models.precision import DTYPES, autocast
from loratory.models.trunks import BATCH_TOKENS, TorchTrunk, apply_head, by_length
from loratory.models.writing import voice_of
from loratory.protocols import JSON, Adapter, Alive, Encode, Score, Tokens, always


@dataclass(frozen=True)
class Ways:
    """How a trunk computes while it trains; the answers are the same within rounding, the speed is not."""

    precision: str = "fp32"  # of matrix products: fp32, bf16, fp16
    product: str = "fused"  # of an adapted layer: fused (LowRankLinear), or peft's own
    recompute: bool = False  # layers keep what enters them, and are computed again in the backward pass


class LiveTrunk:
    """A trunk in training. The base stays in eval mode: only LoRA's dropout trains."""

    def __init__(
        self, trunk: TorchTrunk, config: Mapping[str, JSON] | None, every_weight: bool, ways: Ways = Ways()
    ) -> None:
        self.trunk, self.adapter_config, self.every_weight, self.ways = trunk, config, every_weight, ways
        self.name, self.kind, self.pooling = trunk.name, trunk.kind, trunk.pooling
        self.tokenizer, self.depth, self.width = trunk.tokenizer, trunk.depth, trunk.width
        self.digest = f"{trunk.digest}+live{id(self)}"
        self.model: Any = trunk.model
        self.whole: Any = trunk.whole
        self.voice = trunk.voice
        if config:
            self.model = adapters.grow(trunk.model, config)
        elif every_weight:
            self.whole = adapters.merged(trunk.whole or trunk.model, None).requires_grad_(True)
            self.model = self.whole.base_model if trunk.whole else self.whole
            self.voice = voice_of(self.whole) if trunk.whole else None
        self.model.eval()
        fused = bool(config) and ways.product == "fused"
        self.running: Any = adapters.lightened(self.model, DTYPES[ways.precision]) if fused else self.model
        if ways.recompute and self.trainable():
            self.running = self._recomputing()
        self._upper: partial.Upper | None = None
        self._known: Callable[[Sequence[Tokens]], Sequence[Tensor]] = lambda rows: []

    def trainable(self) -> dict[str, nn.Parameter]:
        """Parameters that learn, by name."""
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}

    def speaks(self) -> dict[str, nn.Parameter]:
        """Parameters of the output layer that learn and are not the trunk's own, by name."""
        mine = {id(p) for p in self.model.parameters()}
        own = self.voice.named_parameters() if self.voice else ()
        return {f"voice.{name}": p for name, p in own if p.requires_grad and id(p) not in mine}

    def score(self, requests: Sequence[Score], alive: Alive = always) -> list[Tensor]:
        """As `TorchTrunk.score`, by what has been learnt so far."""
        if self.voice is None:
            raise Unfit(f"{self.name} has no output layer that it could write with", allowed="a causal language model")

        def forward(asked: Sequence[Any], inputs: dict[str, Any]) -> Tensor:
            with autocast(self.ways.precision, self.trunk.device):
                return self.running(**inputs).last_hidden_state.float()  # type: ignore[no-any-return]

        for part in self._dropouts():
            part.train(False)
        speaker = replace(self.trunk.speaker(), voice=self.voice)
        return speaker.scores(requests, forward, self.trunk.manner(requests), alive)

    @property
    def first_layer(self) -> int:
        """The lowest layer that learns; what is below it computes the same for a text in every epoch."""
        config = self.adapter_config
        if config is None:
            return 0 if self.every_weight else self.depth
        layers = config.get("layers_to_transform")  # PEFT takes a number, a list, or none for all
        return layers if isinstance(layers, int) else int(min(layers or [0]))

    @property
    def cut(self) -> int:
        """The layer whose entering states can be remembered: the first that learns, or the last where none does."""
        return min(self.first_layer, self.depth - 1)

    def _recomputing(self) -> Any:
        """Raises Unfit where the layers cannot be computed twice; tried on two rows."""
        twin = recomputation.recomputing(self.running, self.depth)
        with autocast(self.ways.precision, self.trunk.device):
            same = recomputation.same_gradients(self.running, twin, self._sample())
        if not same:
            raise Unfit(
                f"the layers of {self.name} ({self.trunk.config.model_type}) cannot be computed a second time: "
                "their gradients are others then, or none",
                where="training: gradient_checkpointing",
                remedy="set training: gradient_checkpointing: false, and make micro_batch_tokens smaller",
            )
        return_freed_memory()
        return twin

    def can_be_cut(self) -> bool:
        """Whether the architecture works from the states that enter its layer `cut`; tried on two rows."""
        twin = adapters.share(self.model)
        return partial.can_be_cut(self.model, twin, self.depth, self.cut, self._sample())

    def start_from(self, known: Callable[[Sequence[Tokens]], Sequence[Tensor]]) -> None:
        """Take the states that enter layer `cut` from `known` (float[T, D] for each row) from now on."""
        self.running = adapters.share(self.running)
        with autocast(self.ways.precision, self.trunk.device):
            self._upper = partial.Upper(self.running, self.depth, self.cut, self._sample())
        self._known = known

    def _dropouts(self) -> list[nn.Module]:
        """Where there is any: a walk through all modules in each step is not free."""
        if not (self.adapter_config or {}).get("lora_dropout"):
            return []
        return [part for name, part in self.running.named_modules() if name.endswith("lora_dropout")]

    def _sample(self) -> dict[str, Any]:
        token = self.tokenizer.ids("a")[0][0]
        return self._inputs([(token,) * 3, (token,) * 5])

    def _inputs(self, rows: Sequence[Tokens]) -> dict[str, Any]:
        """Without a cache where there could be one: nobody reads it, and a layer that runs twice writes it twice."""
        asked = signature(self.trunk.model.forward).parameters
        return {**self.trunk.inputs(rows), **({"use_cache": False} if "use_cache" in asked else {})}

    def learn(self, rows: Sequence[Tokens], grad: bool = True) -> tuple[Tensor, Tensor]:
        """Hidden states float[B, T, D] with gradients, and the mask; LoRA's dropout is on while `grad`."""
        for part in self._dropouts():
            part.train(grad)
        inputs = self._inputs(rows)
        with torch.set_grad_enabled(grad and torch.is_grad_enabled()), autocast(self.ways.precision, self.trunk.device):
            if self._upper is None:
                output = self.running(**inputs)
            else:
                below = nn.utils.rnn.pad_sequence(list(self._known(rows)), batch_first=True).to(self.trunk.device)
                output = self._upper(below, inputs)
        return output.last_hidden_state.float(), inputs["attention_mask"]

    def learn_packed(self, rows: Sequence[Tokens], grad: bool = True) -> Tensor:
        """Hidden states float[T in all, D] of rows that are laid one behind another, each seeing itself alone.

        A causal model reads from positions that begin again where a row begins, provided that it gets no mask and
        keeps no cache; whether an architecture does so is tried by whoever asks (training/writers.py).
        """
        for part in self._dropouts():
            part.train(grad)
        device = self.trunk.device
        ids = torch.tensor([[token for row in rows for token in row]], device=device)
        positions = torch.tensor([[place for row in rows for place in range(len(row))]], device=device)
        with torch.set_grad_enabled(grad and torch.is_grad_enabled()), autocast(self.ways.precision, device):
            output = self.running(input_ids=ids, position_ids=positions, use_cache=False)
        return output.last_hidden_state[0].float()  # type: ignore[no-any-return]

    @torch.inference_mode()
    def encode(self, requests: Sequence[Encode], alive: Alive = always) -> list[Tensor]:
        out: list[Tensor] = [torch.empty(0)] * len(requests)
        for batch in by_length([len(r.ids) for r in requests], BATCH_TOKENS):
            states, mask = self.learn([requests[i].ids for i in batch], grad=False)
            for i, output in zip(batch, apply_head(requests[batch[0]].network.head, states, mask), strict=True):
                out[i] = output.float().cpu()
        return out

    def adapter(self) -> Adapter:
        """The trained adapter as a value."""
        assert self.adapter_config is not None
        return adapters.taken(self.model, self.adapter_config)

    def frozen(self) -> TorchTrunk:
        """The fully trained weights as a trunk of their own, named by a digest of what they are now."""
        model = adapters.merged(self.whole, None).to("cpu")
        digest = adapters.digest_of_tensors(model.state_dict(), self.trunk.digest)
        base = replace(self.trunk.base, name=self.name, kind=self.kind, pooling=self.pooling, digest=digest)
        return TorchTrunk(model, self.tokenizer, base, self.trunk.device)
