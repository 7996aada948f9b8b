"""Backbones on torch: weights that many predictors share, with guests' adapters mixed in one forward pass."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import replace
from functools import partial as bound
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakValueDictionary

import torch
from torch import Tensor, nn

from loratory.artifacts.verified_files import VerifiedFiles, open_files
from loratory.backbones.constraints.grammar import GrammarCompiler, TokenConstraint
from loratory.backbones.forward import architectures, layer_split
from loratory.backbones.forward.attention import use_short_attention
from loratory.backbones.forward.capability_probes import probe_joining, probe_prefix_sharing, probe_trees
from loratory.backbones.forward.memory import keep_freed_memory
from loratory.backbones.forward.multi_lora import LayerSplit, MultiLoraModel
from loratory.backbones.forward.precision import autocast
from loratory.backbones.generation.detokenizer import Detokenizer
from loratory.backbones.generation.generator import Generator, TokenSequence
from loratory.backbones.generation.scorer import Scorer, ScoringMode, find_lm_head, pad_rows
from loratory.backbones.loading.base_locations import find_base
from loratory.backbones.loading.bases import Base, describe_base, find_weight_files, resolve_base
from loratory.backbones.loading.quantization import QUANTIZATION, quantize_model
from loratory.backbones.loading.tokenizers import FastTokenizer
from loratory.backbones.loading.weights import read_tensors
from loratory.errors import BaseModelError, UnsupportedTask, first_line
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
)

if TYPE_CHECKING:
    from loratory.backbones.forward.int8 import Int8Session, RowThreads

PASS_OVERHEAD_TOKENS = 48  # tokens that could be computed in the time that a pass takes beside its tokens
MAX_BATCH_TOKENS = 4096  # padded tokens of one inference pass: larger gains nothing on a CPU and costs memory


def batch_by_length(lengths: Sequence[int], max_tokens: int) -> Iterator[list[int]]:
    """Indices in batches of neighbouring lengths, each at most `budget` padded tokens (or one row)."""
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda k: -lengths[k]):
        if batch and lengths[batch[0]] * (len(batch) + 1) > max_tokens:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def batch_by_cost(
    lengths: Sequence[int], max_tokens: int, pass_overhead: int = PASS_OVERHEAD_TOKENS
) -> list[list[int]]:
    """As `by_length`, in the batches that cost least: padded tokens, and for every pass as much as `each` tokens.

    Few rows of many lengths are mostly padding in one pass: texts of 16 tokens on average beside one of 90.
    """
    order = sorted(range(len(lengths)), key=lambda k: -lengths[k])
    ends = [k + 1 for k in range(len(order)) if k + 1 == len(order) or lengths[order[k]] != lengths[order[k + 1]]]
    starts = [0, *ends]
    best: list[tuple[int, int]] = [(0, 0)]  # cost of the first rows, and where the last of their batches begins
    for end in ends:
        costs = []
        for number, (cost, _) in enumerate(best):
            padded = lengths[order[starts[number]]] * (end - starts[number])
            passes = -(-padded // max_tokens)
            costs.append((cost + padded + pass_overhead * passes, starts[number]))
        best.append(min(costs))
    found: list[list[int]] = []
    at = len(ends)
    while at:
        start = best[at][1]
        found.append(order[start : ends[at - 1]])
        at = starts.index(start)
    return [
        [mine[k] for k in part]
        for mine in found[::-1]
        for part in batch_by_length([lengths[k] for k in mine], max_tokens)
    ]


class TorchBackbone:
    """A frozen transformers model that encodes rows of ids, each under its own adapter and head."""

    def __init__(self, model: Any, tokenizer: FastTokenizer, base: Base, device: str = "cpu") -> None:
        whole: Any = model.eval().requires_grad_(False).to(device)
        self.lm_head = find_lm_head(whole) if base.kind == "causal" else None
        self.full_model = (
            whole if self.lm_head else None
        )  # of a base that can write: the backbone with its output layer
        self.model: Any = whole.base_model if base.kind == "causal" else whole
        self.model_prefix = str(whole.base_model_prefix) if self.lm_head else ""  # where the whole holds the backbone
        self.tokenizer, self.base, self.device = tokenizer, base, device
        self.name, self.digest, self.kind, self.pooling = base.name, base.digest, base.kind, base.pooling
        self.config = model.config
        self.depth, self.width = read_depth_and_width(self.config, base)
        self._multi_lora = MultiLoraModel(self.model, self.depth)
        self.int8_sessions: WeakKeyDictionary[Network, Int8Session] = (
            WeakKeyDictionary()
        )  # of networks that answer in int8
        self.row_threads: RowThreads | None = None  # who compute their rows
        self.unquantized = self  # in full precision: what is merged and exported
        self._quantized: TorchBackbone | None = None
        self._grammar_compilers: dict[int, GrammarCompiler] = {}  # by the token that ends an answer
        self._grammar_lock = threading.Lock()  # of a table of tokens: schemas of clients are tried in other threads
        self._trees_work: bool | None = None  # whether trees of continuations are computed rightly; None: not tried yet
        mixed = self.config.model_type not in architectures.UNMIXED_ARCHITECTURES
        stacks = self.kind == "encoder" and mixed and not self.config.is_encoder_decoder
        stacks = stacks and architectures.has_layer_list(self.model, self.depth)
        self._can_split_layers = stacks  # whether its layers can be entered with what left the ones below
        self._joining_works: bool | None = (
            None  # whether rows can join others that are being written; None: not tried yet
        )
        self._sharing_works: bool | None = None  # whether prompts can begin behind what they share; None: not tried yet

    def set_precision(self, precision: str) -> None:
        """The precision of the products in which it answers from now on: fp32 or bf16."""
        self._multi_lora = MultiLoraModel(self.model, self.depth, precision)

    def clone_fp32(self) -> TorchBackbone:
        """The same weights in fp32, for another thread."""
        return TorchBackbone(self.full_model or self.model, self.tokenizer, self.base, self.device)

    def count_parameters(self) -> int:
        """How many weights the backbone has, its output layer's included."""
        return sum(p.numel() for p in (self.unquantized.full_model or self.unquantized.model).parameters())

    def quantize(self) -> TorchBackbone:
        """The same backbone with NF4 matrices, under a digest of its own; `full` leads back."""
        if self._quantized is None:
            whole = quantize_model(self.full_model or self.model, self.depth)
            base = replace(self.base, digest=f"{self.digest}+{QUANTIZATION}")
            self._quantized = TorchBackbone(whole, self.tokenizer, base, self.device)
            self._quantized.unquantized = self
        return self._quantized

    def save(self, folder: Path) -> None:
        """Weights, configuration and tokenizer as stock transformers opens them."""
        (self.full_model or self.model).save_pretrained(folder)
        self.tokenizer.save(folder)

    def build_inputs(self, rows: Sequence[TokenIds]) -> dict[str, Tensor]:
        """What the model's forward takes: ids and mask int64[B, T], and token types for pairs."""
        ids, mask = pad_rows(rows, self.tokenizer.pad_token_id)
        made = {"input_ids": ids.to(self.device), "attention_mask": mask.to(self.device)}
        if self.kind == "nli" and (separator := self.tokenizer.separator_token_id) is not None:
            after = (ids == separator).long().cumsum(-1) - (ids == separator).long()
            made["token_type_ids"] = (after.clamp(max=1) * mask).to(self.device)
        return made

    def compute_states(self, rows: Sequence[TokenIds], adapters: Sequence[Adapter | None]) -> tuple[Tensor, Tensor]:
        """Final hidden states float[B, T, D] (of an nli base: logits float[B, L]) and the mask."""
        inputs = self.build_inputs(rows)
        if (
            self.config.model_type in architectures.UNMIXED_ARCHITECTURES
            and len({g.digest if g else None for g in adapters}) > 1
        ):
            return self._run_per_adapter(inputs, adapters), inputs["attention_mask"]
        return self._select_output(self._multi_lora(adapters, **inputs)), inputs["attention_mask"]

    def _select_output(self, output: Any) -> Tensor:
        return output.logits if self.kind == "nli" else output.last_hidden_state  # type: ignore[no-any-return]

    def _run_per_adapter(self, inputs: Mapping[str, Tensor], adapters: Sequence[Adapter | None]) -> Tensor:
        """A pass for each adapter, where the architecture cannot mix them in one."""
        groups: dict[str | None, list[int]] = {}
        for row, guest in enumerate(adapters):
            groups.setdefault(guest.digest if guest else None, []).append(row)
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
        out: list[Tensor] = [torch.empty(0)] * len(requests)
        together = self._encode_int8(requests, alive, out) if self.int8_sessions else range(len(requests))
        for mine in batch_by_cost([len(requests[i].ids) for i in together], MAX_BATCH_TOKENS):
            for alike in self._split_by_eos_count([together[k] for k in mine], requests):
                wanted = [i for i in alike if alive(i)]
                if wanted:
                    self._encode_batch([requests[i] for i in wanted], wanted, out)
        return out

    def _encode_int8(self, requests: Sequence[EncodeRequest], alive: Alive, out: list[Tensor]) -> list[int]:
        """Answer those whose networks have a session, row by row; the numbers of the others."""
        found = [self.int8_sessions.get(request.network) for request in requests]

        def answer(rows: Sequence[int]) -> None:
            for i in rows:
                if (session := found[i]) is not None and alive(i):
                    out[i] = self._encode_int8_row(requests[i], session)

        mine = [i for i, session in enumerate(found) if session is not None]
        assert self.row_threads is not None
        self.row_threads.run_rows(mine, [len(request.ids) for request in requests], answer)
        return [i for i, session in enumerate(found) if session is None]

    @torch.inference_mode()
    def _encode_int8_row(self, request: EncodeRequest, session: Int8Session) -> Tensor:
        inputs = self.build_inputs([request.ids])
        states, head = session(inputs), request.network.head
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
        """Numbers, final states and mask of rows that are computed together, rows of one guest one after another.

        Rows of the same text share the layers below the first that any of their guests changes.
        """
        levels: dict[int, list[int]] = {}
        layer_split = self._get_layer_split() if self._has_shared_texts(rows, adapters) else None
        for row, guest in enumerate(adapters):
            level = 0 if layer_split is None else self.depth if guest is None else guest.first_layer
            levels.setdefault(level if self._multi_lora.can_mix(guest) else 0, []).append(row)
        entering: dict[int, Tensor] = {}
        if layer_split is not None and (upper := [row for level in levels if level for row in levels[level]]):
            texts = list(dict.fromkeys(rows[row] for row in upper))
            numbers = {text: number for number, text in enumerate(texts)}
            entering = layer_split.capture_layer_inputs(frozenset(levels) - {0}, self.build_inputs(texts))
        for level, mine in levels.items():
            mine.sort(key=lambda row: id(adapters[row]))
            seated = [adapters[row] for row in mine]
            if not level:
                yield mine, *self.compute_states([rows[row] for row in mine], seated)
                continue
            inputs = self.build_inputs([rows[row] for row in mine])
            longest = inputs["attention_mask"].shape[1]
            states = entering[level][[numbers[rows[row]] for row in mine], :longest]
            if level < self.depth:
                states = self._select_output(self._multi_lora.run_from_layer(level, states, seated, inputs))
            yield mine, states, inputs["attention_mask"]

    def _has_shared_texts(self, rows: Sequence[TokenIds], adapters: Sequence[Adapter | None]) -> bool:
        """Whether a text stands here twice below layers that its guests leave alone."""
        if not self._can_split_layers:
            return False
        shared = [row for row, guest in zip(rows, adapters, strict=True) if guest is None or guest.first_layer]
        return len(set(shared)) < len(shared)

    def incremental_cost(self, network: Network) -> float:
        """The part of a pass, from 0 to 1, that a row needs for itself where its text stands beside it already."""
        if not self._can_split_layers or network in self.int8_sessions:
            return 1.0
        return 1 - network.adapter.first_layer / self.depth if network.adapter else 0.0

    def _get_layer_split(self) -> LayerSplit | None:
        token = self.tokenizer.encode("a")[0][0]
        return self._multi_lora.get_layer_split(self.build_inputs([(token,) * 3, (token,) * 5]))

    def _apply_heads(
        self, requests: Sequence[EncodeRequest], places: Sequence[int], states: Tensor, mask: Tensor, out: list[Tensor]
    ) -> None:
        heads: dict[int, list[int]] = {}
        for row, request in enumerate(requests):
            heads.setdefault(id(request.network.head), []).append(row)
        for rows in heads.values():
            head = requests[rows[0]].network.head
            every = len(rows) == len(requests)
            outputs = apply_head(head, states if every else states[rows], mask if every else mask[rows])
            for row, output in zip(rows, outputs, strict=True):
                out[places[row]] = output.float().cpu()

    def score(self, requests: Sequence[ScoreRequest], alive: Alive = is_always_alive) -> list[Tensor]:
        """Log-probabilities float64[C] of each request's continuations; raises UnsupportedTask where the base
        cannot write.
        """
        return self.create_scorer().score(requests, self._run_forward, self.scoring_mode(requests), alive)

    def generate(self, requests: Sequence[GenerateRequest], alive: Alive = is_always_alive) -> list[Generation]:
        """Text behind each prompt, in batches; raises UnsupportedTask for a base that cannot write or a schema
        without end.
        """
        generator = self.create_generator()
        sequences = [self.create_sequence(request, bound(alive, place)) for place, request in enumerate(requests)]
        longest = max((len(r.prompt) + r.max_new_tokens for r in requests), default=0)
        generator.generate(sequences, len(requests) > 1 and self._supports_prefix_sharing(longest))
        for sequence in sequences:
            if sequence.error:
                raise sequence.error
        return [sequence.to_generation() for sequence in sequences]

    def create_generator(self) -> Generator:
        """Writes what comes, and takes in more while it writes; raises UnsupportedTask where the base cannot write."""
        return Generator(self.create_scorer(), self._run_forward)

    def create_sequence(self, request: GenerateRequest, is_wanted: Callable[[], bool] = lambda: True) -> TokenSequence:
        """A request, ready to be written; raises UnsupportedTask where its schema cannot be held."""
        return TokenSequence(
            request,
            self._create_constraint(request),
            Detokenizer(self.tokenizer.decode, request.stop_strings, request.on_token),
            is_wanted,
        )

    def can_join_batch(self, request: GenerateRequest) -> bool:
        """Whether it may join others that are being written: not with more tokens than a layer looks back."""
        return self._supports_joining(len(request.prompt) + request.max_new_tokens)

    def add_sequences(self, generator: Generator, sequences: Sequence[TokenSequence], joining: bool) -> None:
        """Let these be written with what a scribe is writing, or as a batch of their own."""
        longest = max(len(sequence.request.prompt) + sequence.request.max_new_tokens for sequence in sequences)
        generator.add(sequences, len(sequences) > 1 and self._supports_prefix_sharing(longest), joining)

    def _run_forward(self, requests: Sequence[ScoreRequest | GenerateRequest], inputs: dict[str, Any]) -> Tensor:
        """The backbone's pass, each request under its own adapter."""
        return self._select_output(self._multi_lora([request.network.adapter for request in requests], **inputs))

    def _create_constraint(self, request: GenerateRequest) -> TokenConstraint | None:
        """What holds a request to its schema."""
        if request.schema is None:
            return None
        end = min(request.stop_token_ids)
        with self._grammar_lock:
            if end not in self._grammar_compilers:
                self._grammar_compilers[end] = GrammarCompiler(
                    self.tokenizer.tokenizer, self.create_scorer().lm_head.vocab_size, end
                )
        return self._grammar_compilers[end].create_constraint(request.schema, request.max_new_tokens)

    def create_scorer(self) -> Scorer:
        """What scores continuations with this backbone's output layer; raises UnsupportedTask where there is none."""
        if self.lm_head is None:
            raise UnsupportedTask(
                f"{self.name} has no output layer that it could write with", allowed="a causal language model"
            )
        return Scorer(
            self.lm_head, self.tokenizer.pad_token_id, self.device, lambda n: batch_by_length(n, MAX_BATCH_TOKENS)
        )

    def scoring_mode(self, requests: Sequence[ScoreRequest]) -> ScoringMode:
        """How these are computed: trees and shared beginnings where they were seen to work, within a sliding window."""
        window = architectures.sliding_window_of(self.config) or self.tokenizer.max_length
        widest = max((len(r.prompt) + sum(map(len, r.continuations)) for r in requests), default=0)
        longest = max((len(r.prompt) + max(map(len, r.continuations)) for r in requests), default=0)
        trees = self._supports_trees() and widest <= window
        several = len(requests) > 1 or not trees
        return ScoringMode(trees, several and self._supports_prefix_sharing(longest))

    def _supports_trees(self) -> bool:
        if self._trees_work is None:
            self._trees_work = probe_trees(self.create_scorer(), self._run_without_adapters, Network(self))
        return self._trees_work

    def _supports_prefix_sharing(self, longest: int) -> bool:
        """Whether prompts may begin behind what they share, in rows of at most `longest` tokens."""
        if not self._fits_attention_window(longest):
            return False
        if self._sharing_works is None:
            self._sharing_works = probe_prefix_sharing(
                self.create_scorer(), self._run_without_adapters, Network(self), self._supports_trees()
            )
        return self._sharing_works

    def _fits_attention_window(self, longest: int) -> bool:
        """Whether every layer looks back over so many tokens."""
        return longest <= (architectures.sliding_window_of(self.config) or longest)

    def _supports_joining(self, longest: int) -> bool:
        """Whether rows of at most `longest` tokens may join others that are being written."""
        if not self._fits_attention_window(longest):
            return False
        if self._joining_works is None:
            self._joining_works = probe_joining(self.create_scorer(), self._run_without_adapters, Network(self))
        return self._joining_works

    def _run_without_adapters(
        self, requests: Sequence[ScoreRequest | GenerateRequest], inputs: dict[str, Any]
    ) -> Tensor:
        return self._select_output(self.model(**inputs))

    @property
    def can_generate(self) -> bool:
        """Whether it has an output layer that it can write with."""
        return self.lm_head is not None

    @torch.inference_mode()
    def compute_layer_inputs(
        self, first_layer: int, rows: Sequence[TokenIds], precision: str
    ) -> Iterator[tuple[int, Tensor]]:
        """Number and states float[T, D] of each row as they enter layer `first`, in batches of like length."""
        for batch in batch_by_length([len(row) for row in rows], MAX_BATCH_TOKENS):
            inputs = self.build_inputs([rows[i] for i in batch])
            with autocast(precision, self.device):
                states = layer_split.compute_layer_inputs(self.model, self.depth, first_layer, inputs)
            for i, row in zip(batch, states, strict=True):
                yield i, row[: len(rows[i])]

    def find_layers(self) -> tuple[str, int]:
        """The name of the list of layers as PEFT's `layers_pattern` wants it, and its length."""
        name, layers = architectures.find_layers(self.model, self.depth)
        return name.rpartition(".")[2], len(layers)

    def find_target_modules(self) -> tuple[tuple[str, ...], bool]:
        """LoRA's target modules of this architecture, and whether it is a known one."""
        return architectures.find_target_modules(self.model, self.config.model_type, self.depth)

    def has_transposed_weights(self, targets: Sequence[str]) -> bool:
        """Whether these target modules hold their weights transposed."""
        return architectures.has_transposed_weights(self.model, targets)

    def find_unknown_targets(self, targets: Sequence[str]) -> tuple[list[str], list[str]]:
        """Those target modules that the backbone does not have, and the names that there are."""
        return architectures.find_unknown_targets(self.model, targets)


def apply_head(head: nn.Module | None, states: Tensor, mask: Tensor) -> Tensor:
    """The head's outputs, over no more columns than the longest of these rows needs."""
    if head is None:
        return states
    longest = int(mask.sum(-1).max())
    return head(states[:, :longest], mask[:, :longest])  # type: ignore[no-any-return]


def read_depth_and_width(config: Any, base: Base) -> tuple[int, int]:
    """Depth and width of a transformer; raises BaseModelError for a model that is none."""
    text = config.get_text_config()
    try:
        return int(text.num_hidden_layers), int(text.hidden_size)
    except (AttributeError, TypeError):
        raise BaseModelError(
            f"the base {base.name!r} ({config.model_type}) has no number of layers, or no width",
            where=str(base.folder / "config.json"),
            allowed="a transformer of stacked layers that reads text",
            remedy="choose another base:",
        ) from None


def auto_class_of(base: Base) -> Any:
    """The class of transformers that opens a base of this kind."""
    from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification

    return {"nli": AutoModelForSequenceClassification, "causal": AutoModelForCausalLM}.get(base.kind, AutoModel)


def load_backbone(base: Base, device: str = "cpu", short_attention: bool = True) -> TorchBackbone:
    """A base's weights in memory, float32; raises BaseModelError when they do not fit its configuration."""
    keep_freed_memory()
    try:
        model, absent = open_model(base, auto_class_of(base), **attention_options_of(base.config))
        mute = base.kind == "causal" and any("lm_head" in name for name in absent)  # saved without an output layer
        made_up = ("pooler.",) if base.kind != "nli" else ()
        if missing := sorted(n for n in absent if not any(part in n for part in (*made_up, *["lm_head"] * mute))):
            raise ValueError(f"weights are missing: {', '.join(missing[:4])}")
    except BaseModelError:
        raise
    except Exception as problem:
        raise BaseModelError(
            f"the base {base.name!r} cannot be loaded: {first_line(problem)}",
            where=str(base.folder),
            remedy="check that the folder is complete",
        ) from problem
    if short_attention:
        use_short_attention(model)
    if mute:
        model.set_output_embeddings(None)
    return TorchBackbone(model, FastTokenizer.load(base.files, max_positions_of(model)), base, device)


def read_config(base: Base) -> Any:
    """The base's configuration as transformers reads it, from the bytes that were hashed."""
    from transformers import AutoConfig

    with base.files.copy_to_temporary(("config.json",)) as own:
        config = AutoConfig.from_pretrained(str(own), trust_remote_code=False)
    config.name_or_path = str(base.folder)
    return config


def open_model(
    base: Base, auto_class: Any, inspect_shell: Callable[[Any], None] = lambda shell: None, /, **more: Any
) -> tuple[Any, set[str]]:
    """A model of transformers in float32, its weights in memory, and the names of those that the base lacks.

    Weights are read once, into the memory where they stay, and are used only when all of them had their digests.
    Weights that are lacking are made up, the same ones every time. `look` sees the model on the meta device, before
    anything is set aside for it. Raises ArtifactError, and what `look` and transformers do.
    """
    from transformers.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    config = read_config(base)
    for key in [key for key in more if key != "attn_implementation"]:
        setattr(config, key, more.pop(key))
    with torch.random.fork_rng(devices=[]), torch.device("meta"):  # which class an Auto class would take: it opens
        shell = auto_class.from_config(config, dtype=torch.float32, **more)  # folders alone
    inspect_shell(shell)
    widen = not base.config.get("quantization_config")
    weights: dict[str, Tensor] = {}
    for name in find_weight_files(base):
        weights |= read_tensors(base.files, name, widen)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, info = type(shell).from_pretrained(
            None,
            config=shell.config,
            state_dict=weights,
            dtype=torch.float32,
            use_safetensors=True,
            output_loading_info=True,
            **more,
        )
    _copy_generation_config(model, base)
    return model, set(info["missing_keys"])


def _copy_generation_config(model: Any, base: Base) -> None:
    """What the base says of writing goes with the model where it is saved."""
    if getattr(model, "generation_config", None) is None or not base.files.has("generation_config.json"):
        return
    from transformers import GenerationConfig

    with base.files.copy_to_temporary(("generation_config.json",)) as own:
        model.generation_config = GenerationConfig.from_pretrained(str(own))


def attention_options_of(config: Mapping[str, Any]) -> dict[str, str]:
    """What has to be said of attention to open an architecture."""
    return {"attn_implementation": "eager"} if config.get("model_type") in ("deberta", "deberta-v2") else {}


def max_positions_of(model: nn.Module) -> int | None:
    """How many tokens the model can place; where positions have a padding row (RoBERTa, MPNet) they start behind it."""
    config: Any = model.config
    most = getattr(config.get_text_config(), "max_position_embeddings", None)
    tables = [part for name, part in model.named_modules() if name.endswith("position_embeddings")]
    behind = [part.padding_idx + 1 for part in tables if getattr(part, "padding_idx", None) is not None]
    return most - max(behind, default=0) if most and most > 0 else None


class TorchBackbonePool:
    """One backbone per digest and process; without `keep` only as long as somebody else has it."""

    def __init__(self, device: str = "cpu", short_attention: bool = True, keep: bool = True) -> None:
        self.device, self._short_attention, self._precision = device, short_attention, "fp32"
        self._backbones: MutableMapping[str, TorchBackbone] = {} if keep else WeakValueDictionary()

    def get_base(self, name: str) -> TorchBackbone:
        """The backbone of a base that a spec names."""
        return self.add(resolve_base(name))

    def add(self, base: Base) -> TorchBackbone:
        """The backbone of a resolved base."""
        found = self._backbones.get(base.digest)
        if found is None:
            found = self._backbones[base.digest] = load_backbone(base, self.device, self._short_attention)
            found.set_precision(self._precision)
        return found

    def set_precision(self, precision: str) -> None:
        """Answer in fp32 or bf16 from now on, with every backbone that is here or comes."""
        self._precision = precision
        for backbone in list(self._backbones.values()):
            backbone.set_precision(precision)

    def get(self, name: str, digest: str, source: Path | VerifiedFiles) -> TorchBackbone:
        """By digest: already loaded, else the artifact's own trained model/, else the base, else a copy in base_<L>/.

        Files inside the artifact are those that its manifest lists, so the recorded digest names them.
        """
        files = open_files(source)
        if (found := self._backbones.get(digest)) is not None:
            return found
        plain, _, kind = digest.partition("+")
        if kind == QUANTIZATION:
            return self.get(name, plain, files).quantize()
        inside = [top for top in files.list_top_level() if files.open_subfolder(top).has("config.json")]
        if "model" in inside:
            return self.add(self._describe_copy(name, digest, "model", files))
        try:
            return self.add(find_base(name, digest, files.folder))
        except BaseModelError:
            copies = [top for top in inside if top.startswith("base_")]
            if not copies:
                raise
            backbone = self.add(self._describe_copy(name, digest, copies[0], files))
            backbone.tokenizer.raise_max_length(
                _read_backbone_facts(files).get("limit", 0)
            )  # its files were written for one fit
            return backbone

    def _describe_copy(self, name: str, digest: str, inner: str, files: VerifiedFiles) -> Base:
        facts, own = _read_backbone_facts(files), files.open_subfolder(inner)
        return replace(
            describe_base(str(own.folder), own), name=name, digest=digest, kind=facts["kind"], pooling=facts["pooling"]
        )


def _read_backbone_facts(files: VerifiedFiles) -> dict[str, Any]:
    """What an artifact says of its backbone."""
    file = next(file for name in ("encoder", "decoder") if files.has(file := f"{name}.json"))
    return dict(files.read_json(file)["backbone"])
