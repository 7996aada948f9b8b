"""What every backbone does: final states of rows of token ids, each row under its own adapter and head."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, cast

import torch
from torch import Tensor, nn

from loratory.backbones.forward import architectures, layer_split
from loratory.backbones.forward.activation_cache import pool_states
from loratory.backbones.forward.batching import MAX_BATCH_TOKENS, batch_by_cost, batch_by_length
from loratory.backbones.forward.compute_backend import ComputeBackend
from loratory.backbones.forward.multi_lora import MultiLoraModel
from loratory.backbones.forward.precision import autocast
from loratory.backbones.forward.quantization import QUANTIZATION, quantize_model
from loratory.backbones.generation.token_tree import pad_rows
from loratory.backbones.loading.bases import Base
from loratory.backbones.loading.model_loader import read_depth_and_width
from loratory.backbones.loading.tokenizers import FastTokenizer
from loratory.errors import BaseModelError
from loratory.protocols import (
    Adapter,
    Alive,
    EncodeRequest,
    GenerateRequest,
    Generation,
    Network,
    ScoreRequest,
    TokenIds,
    is_always_alive,
    require_causal,
)

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel


class ModelOutput(Protocol):
    """What a pass of a transformers model returns: logits of an nli base, final states of any other."""

    logits: Tensor
    last_hidden_state: Tensor


class EncoderBackbone:
    """A frozen transformers model. `model` gives final states (of an nli base: logits); `full_model` is what is saved,
    which of a causal base holds an output layer too. Its passes are computed by one thread at a time.
    """

    can_generate = False  # whether it has an output layer that it can write with: see CausalBackbone
    model_prefix = ""  # where the full model holds `model`

    def __init__(self, model: nn.Module, tokenizer: FastTokenizer, base: Base, device: str = "cpu") -> None:
        self.model: Any = model.eval().requires_grad_(False).to(device)
        self.full_model: Any = self.model
        self.tokenizer, self.base, self.device = tokenizer, base, device
        self.name, self.digest, self.kind, self.pooling = base.name, base.digest, base.kind, base.pooling
        self.config: PreTrainedConfig = cast("PreTrainedConfig", self.model.config)
        self.depth, self.width = read_depth_and_width(self.config, base)
        self.unquantized: EncoderBackbone = self  # in full precision: what is merged and exported
        self.compute_backend: ComputeBackend | None = None  # computes some networks in its place
        self._multi_lora = MultiLoraModel(self.model, self.depth, self._build_sample)
        self._quantized: Self | None = None
        self._mixes_adapters = self.config.model_type not in architectures.UNMIXED_ARCHITECTURES
        self._shares_layers = (  # whether rows of the same text may share the layers below their adapters
            self.kind == "encoder"
            and self._mixes_adapters
            and not self.config.is_encoder_decoder
            and architectures.has_layer_list(self.model, self.depth)
        )

    def rebuild(self, full_model: PreTrainedModel, base: Base) -> Self:
        """Another backbone of the same kind and tokenizer, whose weights are those of `full_model`."""
        return type(self)(full_model, self.tokenizer, base, self.device)

    def clone_fp32(self) -> Self:
        """The same weights in fp32, for another thread."""
        return self.rebuild(self.full_model, self.base)

    def quantize(self) -> Self:
        """The same backbone with NF4 matrices, under a digest of its own; `unquantized` leads back.

        Raises MissingExtra without bitsandbytes, UnsupportedTask where no matrix can be held in four bits.
        """
        if self._quantized is None:
            base = replace(self.base, digest=f"{self.digest}+{QUANTIZATION}")
            self._quantized = self.rebuild(quantize_model(self.full_model, self.depth), base)
            self._quantized.unquantized = self
        return self._quantized

    def set_precision(self, precision: str) -> None:
        """The precision of the products in which it answers from now on: fp32 or bf16."""
        self._multi_lora = MultiLoraModel(self.model, self.depth, self._build_sample, precision)

    def use_backend(self, backend: ComputeBackend) -> None:
        """Let a back-end compute the networks that it serves, from now on."""
        self.compute_backend = backend

    def count_parameters(self) -> int:
        """How many weights the backbone has, its output layer's included."""
        return sum(p.numel() for p in self.unquantized.full_model.parameters())

    def save(self, folder: Path) -> None:
        """Weights, configuration and tokenizer as stock transformers opens them."""
        self.full_model.save_pretrained(folder)
        self.tokenizer.save(folder)

    def build_inputs(self, rows: Sequence[TokenIds]) -> dict[str, Tensor]:
        """What the model's forward takes: ids and mask int64[B, T], and token types for pairs."""
        ids, mask = pad_rows(rows, self.tokenizer.pad_token_id)
        made = {"input_ids": ids.to(self.device), "attention_mask": mask.to(self.device)}
        if self.kind == "nli" and (separator := self.tokenizer.separator_token_id) is not None:
            after = (ids == separator).long().cumsum(-1) - (ids == separator).long()
            made["token_type_ids"] = (after.clamp(max=1) * mask).to(self.device)
        return made

    def _build_sample(self) -> dict[str, Tensor]:
        """Two short rows, one of them padded."""
        token = self.tokenizer.encode("a")[0][0]
        return self.build_inputs([(token,) * 3, (token,) * 5])

    def compute_states(self, rows: Sequence[TokenIds], adapters: Sequence[Adapter | None]) -> tuple[Tensor, Tensor]:
        """Final hidden states float[B, T, D] (of an nli base: logits float[B, L]) and the mask int64[B, T]."""
        inputs = self.build_inputs(rows)
        if not self._mixes_adapters and len({a.digest if a else None for a in adapters}) > 1:
            return self._run_per_adapter(inputs, adapters), inputs["attention_mask"]
        return self._select_output(self._multi_lora(adapters, **inputs)), inputs["attention_mask"]

    @torch.inference_mode()
    def compute_hidden_states(self, ids: TokenIds, adapter: Adapter | None) -> tuple[Tensor, ...]:
        """What the embedding and then each layer make of one row, float[T, D] each; the last are the final states."""
        output = self._multi_lora([adapter], **self.build_inputs([ids]), output_hidden_states=True)
        layers: Sequence[Tensor] = output.hidden_states
        final = layers[-1] if self.kind == "nli" else output.last_hidden_state
        return tuple(one[0].float().cpu() for one in (*layers[:-1], final))

    def _select_output(self, output: ModelOutput) -> Tensor:
        return output.logits if self.kind == "nli" else output.last_hidden_state

    def _run_per_adapter(self, inputs: Mapping[str, Tensor], adapters: Sequence[Adapter | None]) -> Tensor:
        """A pass for each adapter, where the architecture cannot mix them in one."""
        groups: dict[str | None, list[int]] = {}
        for row, adapter in enumerate(adapters):
            groups.setdefault(adapter.digest if adapter else None, []).append(row)
        parts = [
            self._select_output(
                self._multi_lora([adapters[i] for i in rows], **{name: t[rows] for name, t in inputs.items()})
            )
            for rows in groups.values()
        ]
        order = torch.tensor([i for rows in groups.values() for i in rows], device=self.device)
        return torch.cat(parts)[order.argsort()]

    @torch.inference_mode()
    def encode(self, requests: Sequence[EncodeRequest], alive: Alive = is_always_alive) -> list[Tensor]:
        """The outputs of each request's head, float32 in main memory, in batches of like length.

        Requests that are no longer alive when their batch begins get an empty tensor. Raises ArtifactError where an
        adapter does not fit the backbone.
        """
        out: list[Tensor] = [torch.empty(0)] * len(requests)
        rest = list(range(len(requests)))
        if self.compute_backend is not None:
            rest = self._encode_by_backend(self.compute_backend, requests, alive, out)
        for batch in batch_by_cost([len(requests[i].ids) for i in rest], MAX_BATCH_TOKENS):
            for part in self._split_by_eos_count([rest[k] for k in batch], requests):
                if wanted := [i for i in part if alive(i)]:
                    self._encode_batch([requests[i] for i in wanted], wanted, out)
        return out

    def score(self, requests: Sequence[ScoreRequest], alive: Alive = is_always_alive) -> list[Tensor]:
        """Raises UnsupportedTask: it has no output layer that it could write with."""
        return require_causal(self).score(requests, alive)

    def generate(self, requests: Sequence[GenerateRequest], alive: Alive = is_always_alive) -> list[Generation]:
        """Raises UnsupportedTask, as `score` does."""
        return require_causal(self).generate(requests, alive)

    def _encode_by_backend(
        self, backend: ComputeBackend, requests: Sequence[EncodeRequest], alive: Alive, out: list[Tensor]
    ) -> list[int]:
        """Answer those whose networks the back-end serves, row by row; the numbers of the others."""
        served = [backend.serves(request.network) for request in requests]

        def work(rows: Sequence[int]) -> None:
            for i in rows:
                if alive(i):
                    out[i] = self._encode_row(backend, requests[i])

        backend.run_rows([i for i, mine in enumerate(served) if mine], [len(r.ids) for r in requests], work)
        return [i for i, mine in enumerate(served) if not mine]

    @torch.inference_mode()  # which is a thread's own, and this may be one of the back-end's
    def _encode_row(self, backend: ComputeBackend, request: EncodeRequest) -> Tensor:
        inputs, head = self.build_inputs([request.ids]), request.network.head
        states = backend.compute_states(request.network, inputs)
        return (states if head is None else head(states, inputs["attention_mask"]))[0].float()

    def _split_by_eos_count(self, batch: list[int], requests: Sequence[EncodeRequest]) -> list[list[int]]:
        """The batch in parts that one pass can take: BART's classifier wants equally many end tokens in each row."""
        if not self.config.is_encoder_decoder:
            return [batch]
        parts: dict[int, list[int]] = {}
        for i in batch:
            parts.setdefault(requests[i].ids.count(self.config.eos_token_id), []).append(i)
        return list(parts.values())

    def _encode_batch(self, requests: Sequence[EncodeRequest], places: Sequence[int], out: list[Tensor]) -> None:
        for rows, states, mask in self._run_passes([r.ids for r in requests], [r.network.adapter for r in requests]):
            self._apply_heads([requests[row] for row in rows], [places[row] for row in rows], states, mask, out)

    def _run_passes(
        self, rows: Sequence[TokenIds], adapters: Sequence[Adapter | None]
    ) -> Iterator[tuple[list[int], Tensor, Tensor]]:
        """Numbers, final states and mask of rows that are computed together, rows of one adapter one after another.

        Rows of the same text share the layers below the first that any of their adapters changes.
        """
        levels = self._group_by_level(rows, adapters)
        texts = list(dict.fromkeys(rows[row] for level, mine in levels.items() if level for row in mine))
        numbers = {text: number for number, text in enumerate(texts)}
        entering = self._compute_shared_states(frozenset(levels) - {0}, texts)
        for level, mine in levels.items():
            mine.sort(key=lambda row: id(adapters[row]))  # so that an adapter's rows are one segment
            ids, own = [rows[row] for row in mine], [adapters[row] for row in mine]
            if not level:
                yield mine, *self.compute_states(ids, own)
                continue
            inputs = self.build_inputs(ids)
            longest = inputs["attention_mask"].shape[1]  # of these rows: the texts may hold longer ones
            states = entering[level][[numbers[text] for text in ids], :longest]
            if level < self.depth:
                states = self._select_output(self._multi_lora.run_from_layer(level, states, own, inputs))
            yield mine, states, inputs["attention_mask"]

    def _group_by_level(self, rows: Sequence[TokenIds], adapters: Sequence[Adapter | None]) -> dict[int, list[int]]:
        """Numbers of rows by the layer that they enter with shared states: 0 for those that go the whole way, the depth
        for those without an adapter, which need no layer of their own.
        """
        split = self._has_shared_texts(rows, adapters) and self._multi_lora.layer_split is not None
        levels: dict[int, list[int]] = {}
        for row, adapter in enumerate(adapters):
            level = 0 if not split else self.depth if adapter is None else adapter.first_layer
            levels.setdefault(level if self._multi_lora.can_mix(adapter) else 0, []).append(row)
        return levels

    def _compute_shared_states(self, levels: frozenset[int], texts: Sequence[TokenIds]) -> dict[int, Tensor]:
        """States float[N, T, D] of these texts as they enter each level, in one pass under no adapter."""
        if not levels:
            return {}
        assert self._multi_lora.layer_split is not None
        return self._multi_lora.layer_split.capture_layer_inputs(levels, self.build_inputs(texts))

    def _has_shared_texts(self, rows: Sequence[TokenIds], adapters: Sequence[Adapter | None]) -> bool:
        """Whether a text stands here twice below layers that its adapters leave alone."""
        if not self._shares_layers:
            return False
        shared = [row for row, adapter in zip(rows, adapters, strict=True) if adapter is None or adapter.first_layer]
        return len(set(shared)) < len(shared)

    def incremental_cost(self, network: Network) -> float:
        """The part of a pass, from 0 to 1, that a row needs for itself where its text stands beside it already."""
        if not self._shares_layers or (self.compute_backend is not None and self.compute_backend.serves(network)):
            return 1.0
        return 1 - network.adapter.first_layer / self.depth if network.adapter else 0.0

    def _apply_heads(
        self, requests: Sequence[EncodeRequest], places: Sequence[int], states: Tensor, mask: Tensor, out: list[Tensor]
    ) -> None:
        heads: dict[int, list[int]] = {}
        for row, request in enumerate(requests):
            heads.setdefault(id(request.network.head), []).append(row)
        for rows in heads.values():
            head, every = requests[rows[0]].network.head, len(rows) == len(requests)
            outputs = apply_head(head, states if every else states[rows], mask if every else mask[rows])
            for row, output in zip(rows, outputs, strict=True):
                out[places[row]] = output.float().cpu()

    @torch.inference_mode()
    def compute_layer_inputs(
        self, first_layer: int, rows: Sequence[TokenIds], precision: str
    ) -> Iterator[tuple[int, Tensor]]:
        """Number and states float[T, D] of each row as they enter layer `first_layer`, in batches of like length."""
        for batch in batch_by_length([len(row) for row in rows], MAX_BATCH_TOKENS):
            inputs = self.build_inputs([rows[i] for i in batch])
            with autocast(precision, self.device):
                states = layer_split.compute_layer_inputs(self.model, self.depth, first_layer, inputs)
            for i, row in zip(batch, states, strict=True):
                yield i, row[: len(rows[i])]

    @torch.inference_mode()
    def compute_pooled_and_layer_inputs(
        self, pooling: str, first_layer: int, rows: Sequence[TokenIds]
    ) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Number, pooled state float[D] and the states float[T, D] that enter a layer, of each row in one pass, fp32.

        Raises BaseModelError where the architecture has no list of layers with a row for each text.
        """
        for batch in batch_by_length([len(row) for row in rows], MAX_BATCH_TOKENS):
            inputs = self.build_inputs([rows[i] for i in batch])
            final, entering = layer_split.compute_states_and_layer_inputs(self.model, self.depth, first_layer, inputs)
            if entering.shape[:2] != inputs["input_ids"].shape:
                raise BaseModelError(f"the layers of {self.name} do not have a row for each text")
            pooled = pool_states(final, inputs["attention_mask"], pooling).float().cpu()
            for i, vector, row in zip(batch, pooled, entering, strict=True):
                yield i, vector, row[: len(rows[i])]

    def find_layers(self) -> tuple[str, int]:
        """The name of the list of layers as PEFT's `layers_pattern` wants it, and its length.

        Raises BaseModelError where the architecture has no such list.
        """
        name, layers = architectures.find_layers(self.model, self.depth)
        return name.rpartition(".")[2], len(layers)

    def find_target_modules(self) -> tuple[tuple[str, ...], bool]:
        """LoRA's target modules of this architecture, and whether it is a known one; raises BaseModelError."""
        return architectures.find_target_modules(self.model, self.config.model_type, self.depth)

    def has_transposed_weights(self, targets: Sequence[str]) -> bool:
        """Whether these target modules hold their weights transposed."""
        return architectures.has_transposed_weights(self.model, targets)

    def find_unknown_targets(self, targets: Sequence[str]) -> tuple[list[str], list[str]]:
        """Those target modules that the backbone does not have, and the names that there are."""
        return architectures.find_unknown_targets(self.model, targets)


def apply_head(head: nn.Module | None, states: Tensor, mask: Tensor) -> Tensor:
    """The head's outputs from states float[B, T, D] and mask int64[B, T], over no more columns than the longest of
    these rows needs; the states themselves where there is no head.
    """
    if head is None:
        return states
    longest = int(mask.sum(-1).max())
    return head(states[:, :longest], mask[:, :longest])  # type: ignore[no-any-return]
