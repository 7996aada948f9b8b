"""What predictors share and what they ask for: backbones, networks made of them, tensor work as values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

from loratory.artifacts.verified_files import VerifiedFiles
from loratory.errors import UnsupportedTask
from loratory.protocols.values import JSON, Offsets, Schema, TokenIds

if TYPE_CHECKING:
    from torch import Tensor, nn


class Tokenizer(Protocol):
    """Text to ids; belongs to the base, and predictors call it, so that requests carry ids only.

    Offsets are, for each token, its first character and the one behind its last; (0, 0) of special tokens.
    """

    @property
    def tokenizer(self) -> Any:
        """The fast tokenizer of transformers behind it: chat templates and grammars are read from that."""

    @property
    def max_length(self) -> int:
        """The most tokens, special ones included, that the base can read; `encode` cuts there."""

    @property
    def pad_token_id(self) -> int:
        """The id that fills short rows."""

    def encode(self, text: str, pair: str | None = None) -> tuple[TokenIds, Offsets]: ...
    def encode_batch(self, texts: Sequence[str], max_length: int | None = None) -> list[tuple[TokenIds, Offsets]]: ...
    def encode_head_and_tail(self, texts: Sequence[str], max_length: int) -> list[tuple[TokenIds, Offsets]]:
        """Every text, of those that are longer than `max_length` tokens the beginning and the end."""

    def encode_windows(
        self, texts: Sequence[str], max_length: int, stride: int
    ) -> list[list[tuple[TokenIds, Offsets]]]:
        """Every text whole, in windows of at most `max_length` tokens that share `stride` of them with the next."""

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text before cutting."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text that ids spell, special tokens left out."""

    def save(
        self, folder: Path, max_tokens: int | None = None, overlap: int = 0, padding_side: str | None = None
    ) -> None:
        """Write the tokenizer's files; with `max_tokens` other libraries cut texts as they are cut here."""


Alive = Callable[[int], bool]  # is request i still wanted? Asked between batches, so that abandoned work stops


def is_always_alive(index: int) -> bool:
    """Every request is still wanted."""
    return True


class Backbone(Protocol):
    """Weights that many predictors share; does the work of one mixed batch.

    It has all that predictors, exporters and the serving engine read. What only a model that writes has stands in
    CausalBackbone; `require_causal` leads there.
    """

    @property
    def digest(self) -> str:
        """Of weights, tokenizer and configuration: the same digest, the same answers."""

    @property
    def kind(self) -> str:
        """Encoder | causal | nli."""

    @property
    def name(self) -> str:
        """What the spec called the base."""

    @property
    def pooling(self) -> str:
        """How the base was trained to make one vector of a text: mean | cls | max | last."""

    @property
    def device(self) -> str:
        """Where it computes, as torch names it."""

    @property
    def depth(self) -> int:
        """Layers."""

    @property
    def width(self) -> int:
        """D, the size of a state."""

    @property
    def tokenizer(self) -> Tokenizer: ...
    @property
    def config(self) -> Any:
        """The configuration of transformers."""

    @property
    def model(self) -> Any:
        """The transformers model that gives final states (kind nli: logits). It is shared: nobody writes in it."""

    @property
    def full_model(self) -> Any:
        """`model` with the output layer of a base that has one: what is saved and exported."""

    @property
    def model_prefix(self) -> str:
        """The name under which the full model holds `model`; empty where they are one."""

    @property
    def unquantized(self) -> Backbone:
        """The same weights in full precision, itself where it is not quantised: what is merged and exported."""

    @property
    def can_generate(self) -> bool:
        """Whether it is a CausalBackbone."""

    def encode(self, requests: Sequence[EncodeRequest], alive: Alive = ...) -> list[Tensor]:
        """The outputs of each request's head, float32."""

    def score(self, requests: Sequence[ScoreRequest], alive: Alive = ...) -> list[Tensor]:
        """Log-probabilities float64[C] of each one's continuations; raises UnsupportedTask where it cannot write."""

    def generate(self, requests: Sequence[GenerateRequest], alive: Alive = ...) -> list[Generation]:
        """Text behind each prompt; raises UnsupportedTask where it cannot write, or a schema cannot be held."""

    def compute_layer_inputs(
        self, first_layer: int, rows: Sequence[TokenIds], precision: str
    ) -> Iterable[tuple[int, Tensor]]:
        """Number and states float[T, D] of each row as they enter a layer: what below an adapter can be cached."""

    def incremental_cost(self, network: Network) -> float:
        """The part of a pass, from 0 to 1, that a row needs for itself where its text stands beside it already."""

    def count_parameters(self) -> int:
        """How many weights it has, the output layer's included."""

    def save(self, folder: Path) -> None:
        """Weights, configuration and tokenizer as stock transformers opens them."""

    def set_precision(self, precision: str) -> None:
        """The precision of the products in which it answers from now on: fp32 or bf16."""

    def clone_fp32(self) -> Backbone:
        """The same weights in fp32, for another thread."""


@runtime_checkable
class InspectableBackbone(Protocol):
    """A capability of backbones: they show what each layer makes of a row, as a certificate compares it."""

    def compute_hidden_states(self, ids: TokenIds, adapter: Adapter | None) -> tuple[Tensor, ...]:
        """What the embedding and then each layer make of one row, float[T, D] each; the last are the final states."""


class GeneratedSequence(Protocol):
    """A request while it is written."""

    ids: list[int]
    finish_reason: str
    error: Exception | None

    @property
    def request(self) -> GenerateRequest: ...
    @property
    def constraint(self) -> Any:
        """What holds it to a schema, None without one; `completion` are the tokens of the shortest way to its end."""

    @property
    def is_active(self) -> bool:
        """Whether there is more to write, and somebody waits for it."""

    def to_generation(self) -> Generation:
        """What is written so far."""


class SequenceGenerator(Protocol):
    """Writes sequences side by side, a token of each in a step."""

    @property
    def sequences(self) -> Sequence[GeneratedSequence]:
        """Of all that is being written."""

    @property
    def has_closed_batch(self) -> bool:
        """Whether a batch is being written that nobody can join."""

    def step(self) -> None:
        """A token more of every sequence."""


class CausalBackbone(Backbone, Protocol):
    """A backbone that writes: text that others can join and leave between two tokens (continuous batching)."""

    def create_generator(self) -> SequenceGenerator:
        """A generator of its own, which `add_sequences` gives work."""

    def create_sequence(self, request: GenerateRequest, is_wanted: Callable[[], bool] = ...) -> GeneratedSequence:
        """A request, ready to be written; raises UnsupportedTask where its schema cannot be held."""

    def can_join_batch(self, request: GenerateRequest) -> bool:
        """Whether it may join others that are being written."""

    def add_sequences(
        self, generator: SequenceGenerator, sequences: Sequence[GeneratedSequence], joining: bool
    ) -> None:
        """Let sequences of its own be written with what its generator is writing, or as a batch of their own."""


def require_causal(backbone: Backbone) -> CausalBackbone:
    """The backbone as one that writes; raises UnsupportedTask where it is none."""
    if not backbone.can_generate:
        raise UnsupportedTask(
            f"{backbone.name} has no output layer that it could write with",
            allowed="a causal language model",
            remedy="choose another base:, or set head: pooled",
        )
    return cast("CausalBackbone", backbone)


class BackbonePool(Protocol):
    """Where predictors find their backbones again: one instance per digest and process."""

    def get(self, name: str, digest: str, files: VerifiedFiles) -> Backbone:
        """The base called `name` with that digest; `files` are the artifact's, which may carry its own copy."""


@dataclass(frozen=True, eq=False)
class Adapter:
    """A LoRA adapter as a value, named by digest, never by a mutable name."""

    config: Mapping[str, JSON]  # stock PEFT fields, allowlisted
    tensors: Mapping[str, Tensor]  # PEFT's own keys, without the adapter's name
    first_layer: int  # below it the backbone is untouched: cacheable, shareable
    digest: str


@dataclass(frozen=True, eq=False)
class Network:
    """All that export, merging, quantising and the engine need to know."""

    backbone: Backbone
    adapter: Adapter | None = None
    head: nn.Module | None = None  # (states float[B, T, D], mask bool[B, T]) -> outputs; None: the backbone's own


@dataclass(frozen=True)
class EncodeRequest:
    """A request for the outputs of a network's head on one row of token ids."""

    network: Network
    ids: TokenIds


@dataclass(frozen=True)
class ScoreRequest:
    """A request for the log-probability of each of some continuations of a prompt: float64[C], natural logarithms.

    The network's head is not asked: the backbone's own output layer speaks.
    """

    network: Network
    prompt: TokenIds
    continuations: tuple[TokenIds, ...]


@dataclass(frozen=True)
class Sampling:
    """How a token is drawn. Temperature 0 takes the likeliest; the penalty is that of Keskar et al. 2019, eq. 2."""

    temperature: float = 0.0
    top_p: float = 1.0  # the least set of tokens with so much probability (Holtzman et al. 2020)
    repetition_penalty: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class GenerateRequest:
    """A request for text behind a prompt: at most `max_new_tokens`, until one of `stop_token_ids` or a stop string.

    With a `schema` the text is an answer of it, whole within them. `on_token` is told the text piece by piece
    while it is written, each as soon as it is certain, from the thread that writes: it should be quick. Where it raises
    an error its request is abandoned.
    """

    network: Network
    prompt: TokenIds
    max_new_tokens: int
    stop_token_ids: frozenset[int]
    schema: Schema | None = None
    sampling: Sampling = Sampling()
    stop_strings: tuple[str, ...] = ()
    on_token: Callable[[str], None] | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Generation:
    """What was written, its end left out. `text` is all that was heard, and of an abandoned request no more.

    `token_probabilities` are those that the model gave each token, at temperature 1 and without a penalty: with a
    schema among the tokens that it allows at that place, else among all.
    """

    ids: TokenIds
    text: str
    finish_reason: str  # "end" | "stop" (a stop string) | "length" | "abandoned"
    token_probabilities: tuple[float, ...] = ()


InferenceRequest = EncodeRequest | ScoreRequest | GenerateRequest


class RequestRunner(Protocol):
    """Do this work, with whatever else is waiting for the same backbone; raises DeadlineExceeded after `deadline`
    (monotonic seconds).
    """

    def __call__(self, requests: Sequence[InferenceRequest], deadline: float | None = None) -> list[Any]: ...
