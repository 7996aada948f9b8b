"""A backbone that writes too: it scores continuations of a prompt, and generates text behind one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Self

from torch import Tensor

from loratory.backbones.constraints.grammar import GrammarCompiler, TokenConstraint
from loratory.backbones.forward import architectures
from loratory.backbones.forward.batching import MAX_BATCH_TOKENS, batch_by_length
from loratory.backbones.forward.capability_probes import Capabilities, probe_capabilities
from loratory.backbones.forward.encoder_backbone import EncoderBackbone
from loratory.backbones.generation.detokenizer import Detokenizer
from loratory.backbones.generation.generator import Generator
from loratory.backbones.generation.lm_head import LMHead, find_lm_head
from loratory.backbones.generation.scorer import Scorer, ScoringMode
from loratory.backbones.generation.token_sequence import TokenSequence
from loratory.backbones.loading.bases import Base
from loratory.backbones.loading.tokenizers import FastTokenizer
from loratory.protocols import Alive, GenerateRequest, Generation, Network, ScoreRequest, is_always_alive

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class CausalBackbone(EncoderBackbone):
    """A frozen causal language model with its output layer, `lm_head`."""

    can_generate = True

    def __init__(
        self, full_model: PreTrainedModel, lm_head: LMHead, tokenizer: FastTokenizer, base: Base, device: str = "cpu"
    ) -> None:
        full_model = full_model.eval().requires_grad_(False).to(device)  # type: ignore[no-untyped-call]
        super().__init__(full_model.base_model, tokenizer, base, device)
        self.full_model, self.lm_head = full_model, lm_head
        self.model_prefix = str(full_model.base_model_prefix)
        self._grammar_compilers: dict[int, GrammarCompiler] = {}  # by the token that ends an answer
        self._grammar_lock = threading.Lock()  # schemas of clients are checked in other threads than this one's

    def rebuild(self, full_model: PreTrainedModel, base: Base) -> Self:
        """As of any backbone; what was known of the output layer holds for that of `full_model`."""
        layer = full_model.get_output_embeddings()  # type: ignore[no-untyped-call]
        lm_head = LMHead(layer, full_model.config.get_text_config())
        return type(self)(full_model, lm_head, self.tokenizer, base, self.device)

    @cached_property
    def capabilities(self) -> Capabilities:
        """What it computes rightly, probed once, when something is to be written for the first time."""
        return probe_capabilities(self.create_scorer(), self.run_without_adapters, Network(self))

    def score(self, requests: Sequence[ScoreRequest], alive: Alive = is_always_alive) -> list[Tensor]:
        """Log-probabilities float64[C] of each request's continuations, natural logarithms; -inf of those that nobody
        wants any more.
        """
        return self.create_scorer().score(requests, self._run_forward, self.scoring_mode(requests), alive)

    def generate(self, requests: Sequence[GenerateRequest], alive: Alive = is_always_alive) -> list[Generation]:
        """Text behind each prompt, in batches; raises UnsupportedTask for a schema that cannot be held."""
        generator = self.create_generator()
        sequences = [self.create_sequence(request, partial(alive, place)) for place, request in enumerate(requests)]
        longest = max((_count_tokens(request) for request in requests), default=0)
        generator.generate(sequences, len(requests) > 1 and self._can_share_prefixes(longest))
        for sequence in sequences:
            if sequence.error:
                raise sequence.error
        return [sequence.to_generation() for sequence in sequences]

    def create_generator(self) -> Generator:
        """Writes what comes, and takes in more while it writes."""
        return Generator(self.create_scorer(), self._run_forward)

    def create_sequence(self, request: GenerateRequest, is_wanted: Callable[[], bool] = lambda: True) -> TokenSequence:
        """A request, ready to be written; raises UnsupportedTask where its schema cannot be held."""
        return TokenSequence(
            request,
            self.create_constraint(request),
            Detokenizer(self.tokenizer.decode, request.stop_strings, request.on_token),
            is_wanted,
        )

    def create_constraint(self, request: GenerateRequest) -> TokenConstraint | None:
        """What holds a request to its schema, None without one. Raises UnsupportedTask where it cannot be held, and
        MissingExtra without llguidance.
        """
        if request.schema is None:
            return None
        end = min(request.stop_token_ids)
        with self._grammar_lock:  # the table of all tokens is large: it is made once for each end token
            if end not in self._grammar_compilers:
                self._grammar_compilers[end] = GrammarCompiler(self.tokenizer.tokenizer, self.lm_head.vocab_size, end)
        return self._grammar_compilers[end].create_constraint(request.schema, request.max_new_tokens)

    def can_join_batch(self, request: GenerateRequest) -> bool:
        """Whether it may join others that are being written: not with more tokens than a layer looks back."""
        return self._fits_attention_window(_count_tokens(request)) and self.capabilities.joining

    def add_sequences(self, generator: Generator, sequences: Sequence[TokenSequence], joining: bool) -> None:
        """Let these be written with what a generator is writing, or as a batch of their own.

        Raises ValueError where caches cannot be joined, and what a pass raises.
        """
        longest = max(_count_tokens(sequence.request) for sequence in sequences)
        generator.add(sequences, len(sequences) > 1 and self._can_share_prefixes(longest), joining)

    def create_scorer(self) -> Scorer:
        """What scores continuations with this backbone's output layer."""
        return Scorer(
            self.lm_head, self.tokenizer.pad_token_id, self.device, lambda n: batch_by_length(n, MAX_BATCH_TOKENS)
        )

    def scoring_mode(self, requests: Sequence[ScoreRequest]) -> ScoringMode:
        """How these are computed: trees and shared beginnings where they work, within a sliding window.

        A tree stands in its row node behind node, so all of it has to fit where a layer does not look back to the
        beginning; a row of one continuation fits where it would fit alone.
        """
        window = architectures.sliding_window_of(self.config) or self.tokenizer.max_length
        widest = max((len(r.prompt) + sum(map(len, r.continuations)) for r in requests), default=0)
        longest = max((len(r.prompt) + max(map(len, r.continuations)) for r in requests), default=0)
        trees = self.capabilities.tree_scoring and widest <= window
        several = len(requests) > 1 or not trees
        return ScoringMode(trees, several and self._can_share_prefixes(longest))

    def _can_share_prefixes(self, longest: int) -> bool:
        """Whether prompts may begin behind what they share, in rows of at most `longest` tokens."""
        return self._fits_attention_window(longest) and self.capabilities.prefix_sharing

    def _fits_attention_window(self, longest: int) -> bool:
        """Whether every layer looks back over so many tokens."""
        return longest <= (architectures.sliding_window_of(self.config) or longest)

    def _run_forward(self, requests: Sequence[ScoreRequest | GenerateRequest], inputs: dict[str, Any]) -> Tensor:
        """The backbone's pass to final states float[B, T, D], each request under its own adapter."""
        return self._select_output(self._multi_lora([request.network.adapter for request in requests], **inputs))

    def run_without_adapters(
        self, requests: Sequence[ScoreRequest | GenerateRequest], inputs: dict[str, Any]
    ) -> Tensor:
        """As a pass of requests, under no adapter: what its capabilities are probed with, in float32."""
        return self._select_output(self.model(**inputs))


def _count_tokens(request: GenerateRequest) -> int:
    """Tokens of a prompt and the longest answer to it."""
    return len(request.prompt) + request.max_new_tokens


def create_backbone(
    model: PreTrainedModel, tokenizer: FastTokenizer, base: Base, device: str = "cpu"
) -> EncoderBackbone:
    """The backbone of a transformers model: a CausalBackbone where the base writes and we know its output layer, else
    an EncoderBackbone. Of a causal base `model` is the whole model, whatever it can do.
    """
    if base.kind != "causal":
        return EncoderBackbone(model, tokenizer, base, device)
    full_model: PreTrainedModel = model.eval().requires_grad_(False).to(device)  # type: ignore[no-untyped-call]
    lm_head = find_lm_head(full_model)
    if lm_head is None:
        return EncoderBackbone(full_model.base_model, tokenizer, base, device)
    return CausalBackbone(full_model, lm_head, tokenizer, base, device)
