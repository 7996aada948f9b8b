"""Wordings: how a task is put to a causal model. One gives the prompt, what is to be written, and the answer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from loratory.backbones.constraints import schema_support
from loratory.errors import MissingExtra, UnsupportedTask
from loratory.predictors.field_probabilities import compute_field_probabilities
from loratory.predictors.prompt_files import Message, Prompt
from loratory.protocols import (
    JSON,
    Answer,
    Conversational,
    GenerateRequest,
    InferenceRequest,
    Input,
    Labelled,
    Network,
    Prediction,
    Sampling,
    ScoreRequest,
    Task,
    TokenIds,
)
from loratory.schemas import to_compact_json
from loratory.specs.generation import GenerationSpec

TokenDecoder = Callable[[Sequence[int]], str]  # token ids to text


@dataclass(frozen=True)
class DecodingPlan:
    """What a wording needs to ask: the network, all that may be written where that is a list, and how it is written."""

    network: Network
    choices: tuple[TokenIds, ...]
    end_token_id: int
    writing: GenerationSpec

    @property
    def max_new_tokens(self) -> int:
        """Tokens of an answer at most, its end counted."""
        return max(map(len, self.choices)) if self.choices else self.writing.max_new_tokens or 0


class PromptTemplate(Protocol):
    """Texts on one side, answers on the other."""

    @property
    def truncates(self) -> bool:
        """Whether an input that is too long is cut; else it is not answered."""

    def supports(self, task: Task) -> bool:
        """Whether it can put this task."""

    def check_support(self, task: Task) -> str | None:
        """Why answers of this task cannot be held to their contract while they are written, or None."""

    def build_messages(self, task: Any, prompt: Prompt, input: Input) -> list[Message]:
        """What the model is asked."""

    def render_target(self, task: Any, answer: Answer) -> str:
        """What it should write."""

    def list_choices(self, task: Any) -> Sequence[str]:
        """All that it may write, where that is a short list."""

    def build_schema(self, task: Any) -> Mapping[str, JSON] | None:
        """What holds the text while it is written."""

    def build_request(self, task: Any, plan: DecodingPlan, ids: TokenIds) -> InferenceRequest:
        """What is asked for behind a prompt."""

    def parse_output(self, task: Any, input: Input, output: Any, decode: TokenDecoder) -> Prediction:
        """The answer from what came back."""


class LabelTemplate:
    """One label of a list, as JSON: the answers that the task's contract allows, written out."""

    truncates = True

    def supports(self, task: Task) -> bool:
        return isinstance(task, Labelled)

    def check_support(self, task: Task) -> str | None:
        return None

    def build_messages(self, task: Any, prompt: Prompt, input: Input) -> list[Message]:
        lines = [f"- {label}: {task.describe(label)}" for label in task.labels]
        gaps = {
            "labels": "\n".join(lines),
            "names": ", ".join(task.labels),
            "schema": to_compact_json(task.contract(input)),
        }
        return prompt.fill(gaps, task.text(input))

    def render_target(self, task: Any, answer: Answer) -> str:
        return self._render_label(task, task.label_of(answer))

    def list_choices(self, task: Any) -> Sequence[str]:
        return [self._render_label(task, label) for label in task.labels]

    def _render_label(self, task: Any, label: str) -> str:
        return to_compact_json(task.from_probabilities({}, {label: 1.0}).answer)

    def build_schema(self, task: Any) -> Mapping[str, JSON] | None:
        return None

    def build_request(self, task: Any, plan: DecodingPlan, ids: TokenIds) -> InferenceRequest:
        return ScoreRequest(plan.network, ids, plan.choices)

    def parse_output(self, task: Any, input: Input, output: Any, decode: TokenDecoder) -> Prediction:
        odds = output.softmax(-1).tolist()
        made: Prediction = task.from_probabilities(input, dict(zip(task.labels, odds, strict=True)))
        return made


class ConversationTemplate:
    """Text: the conversation as it stands, with what the prompt file puts around it."""

    truncates = False

    def supports(self, task: Task) -> bool:
        return isinstance(task, Conversational) and task.contract().get("type") == "string"

    def check_support(self, task: Task) -> str | None:
        return None

    def build_messages(self, task: Any, prompt: Prompt, input: Input) -> list[Message]:
        *before, asked = task.messages(input)
        gaps = {"schema": to_compact_json(task.contract(input))}
        *system, user = prompt.fill(gaps, asked["content"])
        if before and before[0]["role"] == "system":
            said = [message["content"] for message in (*system, before[0])]
            system, before = [{"role": "system", "content": "\n\n".join(said)}], before[1:]
        return [*system, *map(dict, before), user]

    def render_target(self, task: Any, answer: Answer) -> str:
        return str(task.render(answer))

    def list_choices(self, task: Any) -> Sequence[str]:
        return ()

    def build_request(self, task: Any, plan: DecodingPlan, ids: TokenIds) -> InferenceRequest:
        how = plan.writing
        sampling = Sampling(how.temperature, how.top_p, how.repetition_penalty, how.seed)
        ends, schema = frozenset({plan.end_token_id}), self.build_schema(task)
        return GenerateRequest(
            plan.network, ids, plan.max_new_tokens, ends, schema, sampling, self.select_stop_strings(how)
        )

    def build_schema(self, task: Any) -> Mapping[str, JSON] | None:
        return None

    def select_stop_strings(self, writing: GenerationSpec) -> tuple[str, ...]:
        """Where a text ends beside its end token."""
        return writing.stop

    def parse_output(self, task: Any, input: Input, output: Any, decode: TokenDecoder) -> Prediction:
        """Sure of a text is who was sure of its tokens: the geometric mean of their probabilities."""
        sure = math.exp(
            sum(math.log(max(odd, 1e-300)) for odd in output.token_probabilities)
            / max(len(output.token_probabilities), 1)
        )
        return Prediction(task.parse(output.text), {"": {output.text: sure}}, raw=output.text)


class JsonTemplate(ConversationTemplate):
    """JSON of the task's own schema, held to it while it is written."""

    def supports(self, task: Task) -> bool:
        return isinstance(task, Conversational)

    def check_support(self, task: Task) -> str | None:
        from loratory.backbones.constraints import grammar  # torch

        try:
            schema_support.check_completable(task.contract())
            grammar.check_schema(task.contract())
        except UnsupportedTask as problem:
            return f"answers of this schema cannot be promised to end: {_format_problem(problem)}"
        except MissingExtra:  # it is told when it is needed
            return None
        return None

    def build_schema(self, task: Any) -> Mapping[str, JSON] | None:
        return dict(task.contract())

    def select_stop_strings(self, writing: GenerationSpec) -> tuple[str, ...]:
        return ()

    def parse_output(self, task: Any, input: Input, output: Any, decode: TokenDecoder) -> Prediction:
        try:
            answer = task.parse(output.text)
        except ValueError:  # abandoned on the way
            return Prediction(None, reason="late", raw=output.text)
        ends = [len(decode(output.ids[: k + 1])) for k in range(len(output.ids))]
        return Prediction(
            answer, compute_field_probabilities(output.text, ends, output.token_probabilities), raw=output.text
        )


def _format_problem(problem: UnsupportedTask) -> str:
    """What is wrong, where, what is allowed, and how it is mended."""
    allowed = f"; allowed: {problem.allowed}" if problem.allowed else ""
    return f"{problem.problem} ({problem.where}){allowed}{f'; to mend it: {problem.remedy}' if problem.remedy else ''}"


PROMPT_TEMPLATES: Mapping[str, PromptTemplate] = {
    "labels": LabelTemplate(),
    "talk": ConversationTemplate(),
    "fields": JsonTemplate(),
}


def find_template_name(task: Task) -> str:
    """The name of the first wording that suits the task; raises UnsupportedTask."""
    for name, template in PROMPT_TEMPLATES.items():
        if template.supports(task):
            return name
    raise UnsupportedTask(f"no wording puts a {task.kind} task to a causal model", allowed=", ".join(PROMPT_TEMPLATES))
