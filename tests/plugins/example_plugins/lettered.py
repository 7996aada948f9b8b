"""A prompt template: options are listed as A, B, C, and the model answers with a letter, as in most benchmarks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import TYPE_CHECKING

from loratory.protocols import (
    JSON,
    Answer,
    ChatMessage,
    DecodingPlan,
    InferenceRequest,
    Input,
    Optioned,
    Prediction,
    PromptText,
    ScoreRequest,
    Task,
    TokenDecoder,
    TokenIds,
)

if TYPE_CHECKING:
    from torch import Tensor

PROMPT = """\
version: lettered-1
system: Answer with one letter.
user: |
  {text}
  {options}
"""


class LetteredTemplate:
    """For tasks with `lettered = True` whose options come with each input."""

    default_prompt = PROMPT
    truncates = True  # the text of an input that is too long is cut
    scores_choices = True  # one of the letters is picked by its probability

    def supports(self, task: Task) -> bool:
        return bool(getattr(task, "lettered", False))

    def check_support(self, task: Task) -> str | None:
        return None

    def build_messages(
        self, task: Optioned, prompt: PromptText, input: Input | None, text: str | None = None
    ) -> list[ChatMessage]:
        options = () if input is None else task.options(input)
        lines = [f"{letter}) {option}" for letter, option in zip(ascii_uppercase, options, strict=False)]
        given = task.text(input) if text is None and input is not None else text
        return prompt.fill({"options": "\n".join(lines)}, given or "")

    def render_target(self, task: Optioned, answer: Answer) -> str:
        return str(answer["letter"])

    def list_choices(self, task: Optioned, input: Input | None = None) -> Sequence[str]:
        return () if input is None else ascii_uppercase[: len(task.options(input))]

    def build_schema(self, task: Optioned) -> Mapping[str, JSON] | None:
        return None

    def build_request(self, task: Optioned, plan: DecodingPlan, ids: TokenIds) -> InferenceRequest:
        return ScoreRequest(plan.network, ids, plan.choices)

    def parse_output(self, task: Optioned, input: Input, output: Tensor, decode: TokenDecoder) -> Prediction:
        chances = dict(zip(self.list_choices(task, input), output.softmax(-1).tolist(), strict=True))
        best = max(chances, key=lambda letter: chances[letter])
        return Prediction({"letter": best}, {"/letter": chances})


LETTERED = LetteredTemplate()  # what the entry point names
