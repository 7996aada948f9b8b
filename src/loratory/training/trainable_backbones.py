"""A backbone in training: a copy of a shared one, with the weights that learn and how it computes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from loratory.backbones import adapters
from loratory.backbones.forward import gradient_checkpointing, layer_split
from loratory.backbones.forward.batching import MAX_BATCH_TOKENS, batch_by_length
from loratory.backbones.forward.causal_backbone import CausalBackbone, create_backbone
from loratory.backbones.forward.encoder_backbone import EncoderBackbone, apply_head
from loratory.backbones.forward.memory import return_freed_memory
from loratory.backbones.forward.precision import DTYPES, autocast
from loratory.backbones.generation.lm_head import find_lm_head
from loratory.backbones.generation.prefix_cache import compute_prefix_layers, expand_prefix
from loratory.backbones.generation.token_tree import pad_rows
from loratory.errors import UnsupportedTask
from loratory.protocols import (
    JSON,
    Adapter,
    Alive,
    EncodeRequest,
    GenerateRequest,
    Generation,
    Network,
    ScoreRequest,
    TokenIds,
    is_always_alive,
)

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


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
        backbone: EncoderBackbone,
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
        self.lm_head = backbone.lm_head if isinstance(backbone, CausalBackbone) else None
        self.owns_weights = full_finetuning or (merges and bool(config))  # whether the result shares nothing
        if config:
            self.model = adapters.attach_trainable_adapter(backbone.model, config, start_adapter)
        elif full_finetuning:
            self.full_model = adapters.merge_adapter(backbone.full_model, None).requires_grad_(True)
            self.model = self.full_model.base_model if self.lm_head else self.full_model
            self.lm_head = find_lm_head(self.full_model) if self.lm_head else None
        self.model.eval()
        fused = bool(config) and compute_config.product == "fused"
        self.compute_model: Any = (
            adapters.replace_lora_layers(self.model, DTYPES[compute_config.precision]) if fused else self.model
        )
        if compute_config.gradient_checkpointing and self.trainable_parameters():
            self.compute_model = self._checkpoint_layers()
        self._layer_split: layer_split.LayerSplit | None = None
        self._lookup_states: Callable[[Sequence[TokenIds]], Sequence[Tensor]] = lambda rows: []

    @property
    def config(self) -> PreTrainedConfig:
        """The configuration of transformers."""
        return self.backbone.config

    @property
    def device(self) -> str:
        """Where it trains."""
        return self.backbone.device

    @property
    def model_prefix(self) -> str:
        """Where the full model holds `model`."""
        return self.backbone.model_prefix

    @property
    def unquantized(self) -> EncoderBackbone:
        """The frozen backbone below it, in full precision."""
        return self.backbone.unquantized

    @property
    def can_generate(self) -> bool:
        """Whether it writes: it scores alone."""
        return False

    def compute_layer_inputs(
        self, first_layer: int, rows: Sequence[TokenIds], precision: str
    ) -> Iterable[tuple[int, Tensor]]:
        """Of the frozen backbone: layers below the first that learns are its own."""
        return self.backbone.compute_layer_inputs(first_layer, rows, precision)

    def incremental_cost(self, network: Network) -> float:
        """A whole pass: nothing is shared in training."""
        return 1.0

    def count_parameters(self) -> int:
        """Weights of the frozen backbone: adapters and heads are counted by predictors."""
        return self.backbone.count_parameters()

    def save(self, folder: Path) -> None:
        """Raises UnsupportedTask: `to_frozen_backbone` makes what can be saved."""
        raise UnsupportedTask(f"{self.name} is in training, and cannot be saved")

    def set_precision(self, precision: str) -> None:
        """Raises UnsupportedTask: ComputeConfig says what training computes in."""
        raise UnsupportedTask(f"{self.name} is in training, in {self.compute_config.precision}")

    def clone_fp32(self) -> EncoderBackbone:
        """Of the frozen backbone."""
        return self.backbone.clone_fp32()

    def trainable_parameters(self) -> dict[str, nn.Parameter]:
        """Parameters that learn, by name."""
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}

    def lm_head_parameters(self) -> dict[str, nn.Parameter]:
        """Parameters of the output layer that learn and are not the backbone's own, by name."""
        mine = {id(p) for p in self.model.parameters()}
        own = self.lm_head.named_parameters() if self.lm_head else ()
        return {f"voice.{name}": p for name, p in own if p.requires_grad and id(p) not in mine}

    def score(self, requests: Sequence[ScoreRequest], alive: Alive = is_always_alive) -> list[Tensor]:
        """As `CausalBackbone.score`, by what has been learnt so far; raises UnsupportedTask where it cannot write."""
        if self.lm_head is None or not isinstance(self.backbone, CausalBackbone):
            return self.backbone.score(requests, alive)

        def forward(asked: Sequence[ScoreRequest | GenerateRequest], inputs: dict[str, Any]) -> Tensor:
            with autocast(self.compute_config.precision, self.backbone.device):
                return self.compute_model(**inputs).last_hidden_state.float()  # type: ignore[no-any-return]

        for part in self._find_dropouts():
            part.train(False)
        scorer = replace(self.backbone.create_scorer(), lm_head=self.lm_head)
        return scorer.score(requests, forward, self.backbone.scoring_mode(requests), alive)

    def generate(self, requests: Sequence[GenerateRequest], alive: Alive = is_always_alive) -> list[Generation]:
        """Raises UnsupportedTask: what is learnt is scored, and written when it is frozen."""
        raise UnsupportedTask(f"{self.name} is in training, and does not write meanwhile")

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
            self._layer_split = layer_split.LayerSplit(self.compute_model, self.depth, self._build_probe_inputs())
        self._lookup_states = lookup_states

    def _find_dropouts(self) -> list[nn.Module]:
        """Where there is any: a walk through all modules in each step is not free."""
        if not (self.adapter_config or {}).get("lora_dropout"):
            return []
        return [part for name, part in self.compute_model.named_modules() if name.endswith("lora_dropout")]

    def _build_probe_inputs(self) -> dict[str, Tensor]:
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
            if self._layer_split is None:
                output = self.compute_model(**inputs)
            else:
                below = nn.utils.rnn.pad_sequence(list(self._lookup_states(rows)), batch_first=True).to(
                    self.backbone.device
                )
                output = self._layer_split.run_from_layer(self.split_layer, below, inputs)
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

    def forward_behind_prefix(self, prefix: TokenIds, rows: Sequence[TokenIds], grad: bool = True) -> Tensor:
        """Hidden states float[B, T, D] of rows that go on behind one beginning, which is computed once for all.

        Gradients flow into the beginning from every row. Raises ValueError for an architecture without a plain cache.
        """
        for part in self._find_dropouts():
            part.train(grad)
        device = self.backbone.device
        ids, mask = pad_rows(rows, self.tokenizer.pad_token_id)
        positions = torch.arange(len(prefix), len(prefix) + ids.shape[1]).repeat(len(rows), 1)
        mask = torch.cat([mask.new_ones(len(rows), len(prefix)), mask], -1)
        inputs = {"input_ids": ids, "attention_mask": mask, "position_ids": positions}
        with torch.set_grad_enabled(grad and torch.is_grad_enabled()), autocast(self.compute_config.precision, device):
            layers = compute_prefix_layers(lambda asked: self.compute_model(**asked), prefix, device)
            output = self.compute_model(
                **{name: t.to(device) for name, t in inputs.items()},
                past_key_values=expand_prefix(layers, len(rows)),
                use_cache=True,
            )
        return output.last_hidden_state.float()  # type: ignore[no-any-return]

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

    def to_frozen_backbone(self) -> EncoderBackbone:
        """What was trained as a backbone of its own, named by a digest of what its weights are now."""
        if not self.full_finetuning:
            return merge_into_copy(self.backbone, self.extract_adapter())
        model = adapters.merge_adapter(self.full_model, None).to("cpu")
        digest = adapters.digest_of_tensors(model.state_dict(), self.backbone.digest)
        base = replace(self.backbone.base, name=self.name, kind=self.kind, pooling=self.pooling, digest=digest)
        return create_backbone(model, self.tokenizer, base, self.backbone.device)


def merge_into_copy(backbone: EncoderBackbone, adapter: Adapter) -> EncoderBackbone:
    """A backbone of its own, its weights those of another with an adapter merged in; named by a digest of them.

    Raises UnsupportedTask for a backbone that is held in four bits.
    """
    if backbone.unquantized is not backbone:
        raise UnsupportedTask(
            f"{backbone.name} is held in four bits, and an adapter is not merged into those",
            remedy="start from a contender of lora or full, or give this one the same lora options as its start",
        )
    model = adapters.merge_adapter(backbone.model, adapter)
    full_model = copy.deepcopy(backbone.full_model)
    full_model.base_model.load_state_dict(model.state_dict())
    digest = adapters.digest_of_tensors(full_model.state_dict(), backbone.digest)
    return backbone.rebuild(full_model, replace(backbone.base, digest=digest))
