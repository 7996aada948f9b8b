"""A prompt template: how a task is put to a causal model. One gives the prompt, the training target and the answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

from loratory.protocols.requests import InferenceRequest, Network
from loratory.protocols.tasks import Task, TaskT
from loratory.protocols.values import JSON, Answer, Input, Prediction, TokenIds
from loratory.specs.generation import GenerationSpec

ChatMessage = dict[str, str]  # role, content
OutputT = TypeVar("OutputT", contravariant=True)  # what is read: log-probabilities, a Tensor, or a Generation
TokenDecoder = Callable[[Sequence[int]], str]  # token ids to text


class PromptText(Protocol):
    """What a prompt file says."""

    def fill(self, gaps: Mapping[str, str], text: str) -> list[ChatMessage]:
        """Messages with {name} filled in for each gap, and {text}; the user's message is the last."""


@dataclass(frozen=True)
class DecodingPlan:
    """What is needed to ask: the network, the choices of this input where there are any, and how text is written."""

    network: Network
    choices: tuple[TokenIds, ...]
    end_token_id: int
    writing: GenerationSpec

    @property
    def max_new_tokens(self) -> int:
        """Tokens of an answer at most, its end counted."""
        return max(map(len, self.choices)) if self.choices else self.writing.max_new_tokens or 0


@runtime_checkable
class PromptTemplate(Protocol[TaskT, OutputT]):
    """Texts on one side, answers on the other."""

    @property
    def default_prompt(self) -> str:
        """The prompt file (YAML: version, system, user) that stands where the spec names none."""

    @property
    def truncates(self) -> bool:
        """Whether the text of an input that is too long is cut; else such an input is not answered."""

    @property
    def scores_choices(self) -> bool:
        """Whether the answer is one of some choices, by the probability of each; else it is written token by token."""

    def supports(self, task: Task) -> bool:
        """Whether it can put this task: ask for a capability of it, never for its kind."""

    def check_support(self, task: Task) -> str | None:
        """Why answers of this task cannot be held to their contract while they are written, or None."""

    def build_messages(
        self, task: TaskT, prompt: PromptText, input: Input | None, text: str | None = None
    ) -> list[ChatMessage]:
        """What the model is asked. `text` stands for the input's own where that was cut.

        Without an input: what stands around every text, with `text` in its place.
        """

    def render_target(self, task: TaskT, answer: Answer) -> str:
        """What it should write."""

    def list_choices(self, task: TaskT, input: Input | None = None) -> Sequence[str]:
        """All that may be written behind an input, where choices are scored; else empty.

        Without an input: the choices of every input; empty where they come with the input.
        """

    def build_schema(self, task: TaskT) -> Mapping[str, JSON] | None:
        """What holds a text while it is written, or None."""

    def build_request(self, task: TaskT, plan: DecodingPlan, ids: TokenIds) -> InferenceRequest:
        """What is asked for behind a prompt: a ScoreRequest of the plan's choices, or a GenerateRequest."""

    def parse_output(self, task: TaskT, input: Input, output: OutputT, decode: TokenDecoder) -> Prediction:
        """The answer from what came back: log-probabilities float64[C] of the choices in order, or a Generation."""
