"""What predictors share and what they ask for: backbones, networks made of them, tensor work as values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from loratory.artifacts.verified_files import VerifiedFiles
from loratory.protocols.values import JSON, Offsets, Schema, TokenIds

if TYPE_CHECKING:
    from torch import Tensor, nn


class Tokenizer(Protocol):
    """Text to ids; belongs to the base, and predictors call it, so that requests carry ids only."""

    def encode(self, text: str, pair: str | None = None) -> tuple[TokenIds, Offsets]: ...
    def encode_batch(self, texts: Sequence[str], max_length: int | None = None) -> list[tuple[TokenIds, Offsets]]: ...
    def encode_head_and_tail(self, texts: Sequence[str], max_length: int) -> list[tuple[TokenIds, Offsets]]:
        """Every text, of those that are longer than `limit` tokens the beginning and the end."""

    def encode_windows(
        self, texts: Sequence[str], max_length: int, stride: int
    ) -> list[list[tuple[TokenIds, Offsets]]]:
        """Every text whole, in windows of at most `limit` tokens that share `stride` of them with the next."""

    @property
    def max_length(self) -> int:
        """The most tokens, special ones included, that the base can read; `ids` cuts there."""

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text before cutting."""


Alive = Callable[[int], bool]  # is request i still wanted? Asked between batches, so that abandoned work stops


def is_always_alive(index: int) -> bool:
    """Every request is still wanted."""
    return True


class Backbone(Protocol):
    """Weights that many predictors share; does the work of one mixed batch."""

    @property
    def digest(self) -> str: ...
    @property
    def kind(self) -> str:
        """Encoder | causal | nli."""

    @property
    def name(self) -> str:
        """What the spec called the base."""

    @property
    def tokenizer(self) -> Tokenizer: ...
    @property
    def depth(self) -> int: ...
    @property
    def width(self) -> int: ...
    def encode(self, requests: Sequence[EncodeRequest], alive: Alive = ...) -> list[Tensor]: ...


@runtime_checkable
class LayerSharingBackbone(Protocol):
    """A capability of backbones: layers below the first adapted one are computed once for all adapters of a text."""

    def incremental_cost(self, network: Network) -> float:
        """The part of a pass (0 to 1) that this network needs for itself where its texts are in the batch already."""


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
    """A request for text behind a prompt: at most `most` tokens, until one of `ends` or a stop string.

    With a `schema` the text is an answer of it, whole within `most` tokens. `hear` is told the text piece by piece
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
    """What was written, its end left out. `text` is all that was heard, and of an abandoned request no more than that.

    `odds` are the probabilities that the model gave each token, at temperature 1 and without a penalty: with a schema
    among the tokens that it allows at that place, else among all.
    """

    ids: TokenIds
    text: str
    finish_reason: str  # "end" | "stop" (a stop string) | "length" | "abandoned"
    token_probabilities: tuple[float, ...] = ()


InferenceRequest = EncodeRequest | ScoreRequest | GenerateRequest


class RequestRunner(Protocol):
    """Do this work, with whatever else is waiting for the same backbone; raises DeadlineExceeded after `by`
    (monotonic seconds).
    """

    def __call__(self, requests: Sequence[InferenceRequest], deadline: float | None = None) -> list[Any]: ...
