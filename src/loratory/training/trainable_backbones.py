"""A backbone in training: a twin of a shared one, with the weights that learn and the ways in which it computes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from loratory.backbones import adapters
from loratory.backbones.forward import gradient_checkpointing, layer_split
from loratory.backbones.forward.memory import return_freed_memory
from loratory.backbones.forward.precision import DTYPES, autocast
from loratory.backbones.forward.torch_backbone import MAX_BATCH_TOKENS, TorchBackbone, apply_head, batch_by_length
from loratory.backbones.generation.scorer import find_lm_head
from loratory.errors import UnsupportedTask
from loratory.protocols import JSON, Adapter, Alive, EncodeRequest, ScoreRequest, TokenIds, is_always_alive


@dataclass(frozen=True)
class ComputeConfig:
    """How a backbone computes while it trains; the answers are the same within rounding, the speed is not."""

    precision: str = "fp32"  # of matrix products: fp32, bf16, fp16
    product: str = "fused"  # of an adapted layer: fused (LowRankLinear), or peft's own
    gradient_checkpointing: bool = False  # layers keep what enters them, and are computed again in the backward pass


class TrainableBackbone:
    """A trainable twin of a backbone: a fresh adapter over the frozen weights, or every weight its own, or nothing.

    The base stays in eval mode: only LoRA's dropout trains.
    """

    def __init__(
        self,
        backbone: TorchBackbone,
        config: Mapping[str, JSON] | None = None,
        full_finetuning: bool = False,
        compute_config: ComputeConfig = ComputeConfig(),
        start_adapter: Adapter | None = None,
        merges: bool = False,
    ) -> None:
        """With `start_adapter`, one of the same configuration, the adapter begins there. With `merges` what the adapter
        has learnt goes into weights of its own: where the frozen weights are nobody else's either.
        """
        self.backbone, self.adapter_config, self.full_finetuning, self.compute_config = (
            backbone,
            config,
            full_finetuning,
            compute_config,
        )
        self.name, self.kind, self.pooling = backbone.name, backbone.kind, backbone.pooling
        self.tokenizer, self.depth, self.width = backbone.tokenizer, backbone.depth, backbone.width
        self.digest = f"{backbone.digest}+live{id(self)}"
        self.model: Any = backbone.model
        self.full_model: Any = backbone.full_model
        self.lm_head = backbone.lm_head
        self.owns_weights = full_finetuning or (merges and bool(config))  # whether the result shares nothing
        if config:
            self.model = adapters.attach_trainable_adapter(backbone.model, config, start_adapter)
        elif full_finetuning:
            self.full_model = adapters.merge_adapter(backbone.full_model or backbone.model, None).requires_grad_(True)
            self.model = self.full_model.base_model if backbone.full_model else self.full_model
            self.lm_head = find_lm_head(self.full_model) if backbone.full_model else None
        self.model.eval()
        fused = bool(config) and compute_config.product == "fused"
        self.compute_model: Any = (
            adapters.replace_lora_layers(self.model, DTYPES[compute_config.precision]) if fused else self.model
        )
        if compute_config.gradient_checkpointing and self.trainable_parameters():
            self.compute_model = self._checkpoint_layers()
        self._upper_layers: layer_split.UpperLayers | None = None
        self._lookup_states: Callable[[Sequence[TokenIds]], Sequence[Tensor]] = lambda rows: []

    def trainable_parameters(self) -> dict[str, nn.Parameter]:
        """Parameters that learn, by name."""
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}

    def lm_head_parameters(self) -> dict[str, nn.Parameter]:
        """Parameters of the output layer that learn and are not the backbone's own, by name."""
        mine = {id(p) for p in self.model.parameters()}
        own = self.lm_head.named_parameters() if self.lm_head else ()
        return {f"voice.{name}": p for name, p in own if p.requires_grad and id(p) not in mine}

    def score(self, requests: Sequence[ScoreRequest], alive: Alive = is_always_alive) -> list[Tensor]:
        """As `TorchTrunk.score`, by what has been learnt so far."""
        if self.lm_head is None:
            raise UnsupportedTask(
                f"{self.name} has no output layer that it could write with", allowed="a causal language model"
            )

        def forward(asked: Sequence[Any], inputs: dict[str, Any]) -> Tensor:
            with autocast(self.compute_config.precision, self.backbone.device):
                return self.compute_model(**inputs).last_hidden_state.float()  # type: ignore[no-any-return]

        for part in self._find_dropouts():
            part.train(False)
        speaker = replace(self.backbone.create_scorer(), lm_head=self.lm_head)
        return speaker.score(requests, forward, self.backbone.scoring_mode(requests), alive)

    @property
    def first_layer(self) -> int:
        """The lowest layer that learns; what is below it computes the same for a text in every epoch."""
        config = self.adapter_config
        if config is None:
            return 0 if self.full_finetuning else self.depth
        layers = config.get("layers_to_transform")  # PEFT takes a number, a list, or none for all
        return layers if isinstance(layers, int) else int(min(layers or [0]))

    @property
    def split_layer(self) -> int:
        """The layer whose entering states can be remembered: the first that learns, or the last where none does."""
        return min(self.first_layer, self.depth - 1)

    def _checkpoint_layers(self) -> Any:
        """Raises UnsupportedTask where the layers cannot be computed twice; tried on two rows."""
        twin = gradient_checkpointing.add_gradient_checkpointing(self.compute_model, self.depth)
        with autocast(self.compute_config.precision, self.backbone.device):
            same = gradient_checkpointing.have_same_gradients(self.compute_model, twin, self._build_probe_inputs())
        if not same:
            raise UnsupportedTask(
                f"the layers of {self.name} ({self.backbone.config.model_type}) cannot be computed a second time: "
                "their gradients are others then, or none",
                where="training: gradient_checkpointing",
                remedy="set training: gradient_checkpointing: false, and make micro_batch_tokens smaller",
            )
        return_freed_memory()
        return twin

    def can_split(self) -> bool:
        """Whether the architecture works from the states that enter its layer `cut`; tried on two rows."""
        twin = adapters.copy_with_shared_weights(self.model)
        return layer_split.can_split(self.model, twin, self.depth, self.split_layer, self._build_probe_inputs())

    def use_cached_states(self, lookup_states: Callable[[Sequence[TokenIds]], Sequence[Tensor]]) -> None:
        """Take the states that enter layer `cut` from `known` (float[T, D] for each row) from now on."""
        self.compute_model = adapters.copy_with_shared_weights(self.compute_model)
        with autocast(self.compute_config.precision, self.backbone.device):
            self._upper_layers = layer_split.UpperLayers(
                self.compute_model, self.depth, self.split_layer, self._build_probe_inputs()
            )
        self._lookup_states = lookup_states

    def _find_dropouts(self) -> list[nn.Module]:
        """Where there is any: a walk through all modules in each step is not free."""
        if not (self.adapter_config or {}).get("lora_dropout"):
            return []
        return [part for name, part in self.compute_model.named_modules() if name.endswith("lora_dropout")]

    def _build_probe_inputs(self) -> dict[str, Any]:
        token = self.tokenizer.encode("a")[0][0]
        return self._build_inputs([(token,) * 3, (token,) * 5])

    def _build_inputs(self, rows: Sequence[TokenIds]) -> dict[str, Any]:
        """Without a cache where there could be one: nobody reads it, and a layer that runs twice writes it twice."""
        asked = signature(self.backbone.model.forward).parameters
        return {**self.backbone.build_inputs(rows), **({"use_cache": False} if "use_cache" in asked else {})}

    def forward(self, rows: Sequence[TokenIds], grad: bool = True) -> tuple[Tensor, Tensor]:
        """Hidden states float[B, T, D] with gradients, and the mask; LoRA's dropout is on while `grad`."""
        for part in self._find_dropouts():
            part.train(grad)
        inputs = self._build_inputs(rows)
        with (
            torch.set_grad_enabled(grad and torch.is_grad_enabled()),
            autocast(self.compute_config.precision, self.backbone.device),
        ):
            if self._upper_layers is None:
                output = self.compute_model(**inputs)
            else:
                below = nn.utils.rnn.pad_sequence(list(self._lookup_states(rows)), batch_first=True).to(
                    self.backbone.device
                )
                output = self._upper_layers(below, inputs)
        return output.last_hidden_state.float(), inputs["attention_mask"]

    def forward_packed(self, rows: Sequence[TokenIds], grad: bool = True) -> Tensor:
        """Hidden states float[T in all, D] of rows that are laid one behind another, each seeing itself alone.

        A causal model reads from positions that begin again where a row begins, provided that it gets no mask and
        keeps no cache; whether an architecture does so is tried by whoever asks (training/writers.py).
        """
        for part in self._find_dropouts():
            part.train(grad)
        device = self.backbone.device
        ids = torch.tensor([[token for row in rows for token in row]], device=device)
        positions = torch.tensor([[place for row in rows for place in range(len(row))]], device=device)
        with torch.set_grad_enabled(grad and torch.is_grad_enabled()), autocast(self.compute_config.precision, device):
            output = self.compute_model(input_ids=ids, position_ids=positions, use_cache=False)
        return output.last_hidden_state[0].float()  # type: ignore[no-any-return]

    @torch.inference_mode()
    def encode(self, requests: Sequence[EncodeRequest], alive: Alive = is_always_alive) -> list[Tensor]:
        out: list[Tensor] = [torch.empty(0)] * len(requests)
        for batch in batch_by_length([len(r.ids) for r in requests], MAX_BATCH_TOKENS):
            states, mask = self.forward([requests[i].ids for i in batch], grad=False)
            for i, output in zip(batch, apply_head(requests[batch[0]].network.head, states, mask), strict=True):
                out[i] = output.float().cpu()
        return out

    def extract_adapter(self) -> Adapter:
        """The trained adapter as a value."""
        assert self.adapter_config is not None
        return adapters.extract_adapter(self.model, self.adapter_config)

    def to_frozen_backbone(self) -> TorchBackbone:
        """What was trained as a backbone of its own, named by a digest of what its weights are now."""
        if not self.full_finetuning:
            return merge_into_copy(self.backbone, self.extract_adapter())
        model = adapters.merge_adapter(self.full_model, None).to("cpu")
        digest = adapters.digest_of_tensors(model.state_dict(), self.backbone.digest)
        base = replace(self.backbone.base, name=self.name, kind=self.kind, pooling=self.pooling, digest=digest)
        return TorchBackbone(model, self.tokenizer, base, self.backbone.device)


def merge_into_copy(backbone: TorchBackbone, adapter: Adapter) -> TorchBackbone:
    """A backbone of its own, its weights those of another with an adapter merged in; named by a digest of them.

    Raises UnsupportedTask for a backbone that is held in four bits.
    """
    if backbone.unquantized is not backbone:
        raise UnsupportedTask(
            f"{backbone.name} is held in four bits, and an adapter is not merged into those",
            remedy="start from a contender of lora or full, or give this one the same lora options as its start",
        )
    model = adapters.merge_adapter(backbone.model, adapter)
    if backbone.full_model is not None:
        whole = copy.deepcopy(backbone.full_model)
        whole.base_model.load_state_dict(model.state_dict())
        model = whole
    digest = adapters.digest_of_tensors(model.state_dict(), backbone.digest)
    return TorchBackbone(model, backbone.tokenizer, replace(backbone.base, digest=digest), backbone.device)
