"""Prompt templates: how tasks of labels, options, conversations and JSON are put to a causal model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any

from loratory.backbones.constraints import schema_support
from loratory.discovery import list_names, load_named
from loratory.errors import MissingExtra, UnsupportedTask
from loratory.predictors.field_probabilities import compute_field_probabilities
from loratory.protocols import (
    JSON,
    Answer,
    ChatMessage,
    Conversational,
    DecodingPlan,
    GenerateRequest,
    Generation,
    InferenceRequest,
    Input,
    Labelled,
    Optioned,
    Prediction,
    PromptTemplate,
    PromptText,
    Sampling,
    ScoreRequest,
    Task,
    TokenDecoder,
    TokenIds,
)
from loratory.schemas import to_compact_json
from loratory.specs.generation import GenerationSpec

if TYPE_CHECKING:
    from torch import Tensor


def _read_default_prompt(name: str) -> str:
    return (resources.files("loratory.predictors") / "default_prompts" / f"{name}.yaml").read_text(encoding="utf-8")


class LabelTemplate:
    """One label of a list, as JSON: the answers that the task's contract allows, written out."""

    truncates = True
    scores_choices = True

    @property
    def default_prompt(self) -> str:
        return _read_default_prompt("labels")

    def supports(self, task: Task) -> bool:
        return isinstance(task, Labelled)

    def check_support(self, task: Task) -> str | None:
        return None

    def build_messages(
        self, task: Labelled, prompt: PromptText, input: Input | None, text: str | None = None
    ) -> list[ChatMessage]:
        lines = [f"- {label}: {task.describe(label)}" for label in task.labels or ()]
        gaps = {
            "labels": "\n".join(lines),
            "names": ", ".join(task.labels or ()),
            "schema": to_compact_json(task.contract(input)),
        }
        return prompt.fill(gaps, _choose_text(task, input, text))

    def render_target(self, task: Labelled, answer: Answer) -> str:
        return self._render_label(task, task.label_of(answer))

    def list_choices(self, task: Labelled, input: Input | None = None) -> Sequence[str]:
        return [self._render_label(task, label) for label in task.labels or ()]

    def _render_label(self, task: Labelled, label: str) -> str:
        return to_compact_json(task.from_probabilities({}, {label: 1.0}).answer)

    def build_schema(self, task: Labelled) -> Mapping[str, JSON] | None:
        return None

    def build_request(self, task: Labelled, plan: DecodingPlan, ids: TokenIds) -> InferenceRequest:
        return ScoreRequest(plan.network, ids, plan.choices)

    def parse_output(self, task: Labelled, input: Input, output: Tensor, decode: TokenDecoder) -> Prediction:
        return _read_scores(task, input, task.labels or (), output)


class OptionTemplate:
    """One of the options that come with the input, as JSON."""

    truncates = True
    scores_choices = True

    @property
    def default_prompt(self) -> str:
        return _read_default_prompt("options")

    def supports(self, task: Task) -> bool:
        return isinstance(task, Optioned)

    def check_support(self, task: Task) -> str | None:
        return None

    def build_messages(
        self, task: Optioned, prompt: PromptText, input: Input | None, text: str | None = None
    ) -> list[ChatMessage]:
        options = () if input is None else task.options(input)
        gaps = {  # the options come last: what is filled in for them, a stranger's words, is not searched for gaps
            "schema": to_compact_json(task.contract(input)),
            "options": "\n".join(f"- {option}" for option in options),
        }
        return prompt.fill(gaps, _choose_text(task, input, text))

    def render_target(self, task: Optioned, answer: Answer) -> str:
        return to_compact_json(answer)

    def list_choices(self, task: Optioned, input: Input | None = None) -> Sequence[str]:
        if input is None:
            return ()
        made = (task.from_probabilities(input, {option: 1.0}) for option in task.options(input))
        return [self.render_target(task, one.answer) for one in made]

    def build_schema(self, task: Optioned) -> Mapping[str, JSON] | None:
        return None

    def build_request(self, task: Optioned, plan: DecodingPlan, ids: TokenIds) -> InferenceRequest:
        return ScoreRequest(plan.network, ids, plan.choices)

    def parse_output(self, task: Optioned, input: Input, output: Tensor, decode: TokenDecoder) -> Prediction:
        return _read_scores(task, input, task.options(input), output)


def _choose_text(task: Labelled | Optioned, input: Input | None, text: str | None) -> str:
    """The text that stands for the input's own, or that; one of the two is given."""
    if text is not None:
        return text
    assert input is not None, "there is neither an input nor a text"
    return task.text(input)


def _read_scores(task: Labelled | Optioned, input: Input, choices: Sequence[str], output: Tensor) -> Prediction:
    """The task's own answer from log-probabilities float64[C]."""
    odds = output.softmax(-1).tolist()
    return task.from_probabilities(input, dict(zip(choices, odds, strict=True)))


class ConversationTemplate:
    """Text: the conversation as it stands, with what the prompt file puts around it."""

    truncates = False
    scores_choices = False

    @property
    def default_prompt(self) -> str:
        return _read_default_prompt("talk")

    def supports(self, task: Task) -> bool:
        return isinstance(task, Conversational) and task.contract().get("type") == "string"

    def check_support(self, task: Task) -> str | None:
        return None

    def build_messages(
        self, task: Conversational, prompt: PromptText, input: Input | None, text: str | None = None
    ) -> list[ChatMessage]:
        *before, asked = [{"content": ""}] if input is None else task.messages(input)
        gaps = {"schema": to_compact_json(task.contract(input))}
        *system, user = prompt.fill(gaps, asked["content"] if text is None else text)
        if before and before[0]["role"] == "system":
            said = [message["content"] for message in (*system, before[0])]
            system, before = [{"role": "system", "content": "\n\n".join(said)}], before[1:]
        return [*system, *map(dict, before), user]

    def render_target(self, task: Conversational, answer: Answer) -> str:
        return str(task.render(answer))

    def list_choices(self, task: Conversational, input: Input | None = None) -> Sequence[str]:
        return ()

    def build_request(self, task: Conversational, plan: DecodingPlan, ids: TokenIds) -> InferenceRequest:
        how = plan.writing
        sampling = Sampling(how.temperature, how.top_p, how.repetition_penalty, how.seed)
        ends, schema = frozenset({plan.end_token_id}), self.build_schema(task)
        return GenerateRequest(
            plan.network, ids, plan.max_new_tokens, ends, schema, sampling, self.select_stop_strings(how)
        )

    def build_schema(self, task: Conversational) -> Mapping[str, JSON] | None:
        return None

    def select_stop_strings(self, writing: GenerationSpec) -> tuple[str, ...]:
        """Where a text ends beside its end token."""
        return writing.stop

    def parse_output(self, task: Conversational, input: Input, output: Generation, decode: TokenDecoder) -> Prediction:
        """Sure of a text is who was sure of its tokens: the geometric mean of their probabilities."""
        sure = math.exp(
            sum(math.log(max(odd, 1e-300)) for odd in output.token_probabilities)
            / max(len(output.token_probabilities), 1)
        )
        return Prediction(task.parse(output.text), {"": {output.text: sure}}, raw=output.text)


class JsonTemplate(ConversationTemplate):
    """JSON of the task's own schema, held to it while it is written."""

    @property
    def default_prompt(self) -> str:
        return _read_default_prompt("fields")

    def supports(self, task: Task) -> bool:
        return isinstance(task, Conversational) and task.contract().get("type") != "string"

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

    def build_schema(self, task: Conversational) -> Mapping[str, JSON] | None:
        return dict(task.contract())

    def select_stop_strings(self, writing: GenerationSpec) -> tuple[str, ...]:
        """None: the schema says where a text ends."""
        return ()

    def parse_output(self, task: Conversational, input: Input, output: Generation, decode: TokenDecoder) -> Prediction:
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


LABELS, OPTIONS = LabelTemplate(), OptionTemplate()
CONVERSATION, JSON_FIELDS = ConversationTemplate(), JsonTemplate()


def load_prompt_template(name: str) -> PromptTemplate[Any, Any]:
    """The prompt template of that name; raises SpecError."""
    found: PromptTemplate[Any, Any] = load_named("prompt_templates", name)
    return found


def find_template_name(task: Task) -> str:
    """The name of the first prompt template that suits the task; raises UnsupportedTask."""
    names = list_names("prompt_templates")
    for name in names:
        if load_prompt_template(name).supports(task):
            return name
    raise UnsupportedTask(f"no prompt template puts a {task.kind} task to a causal model", allowed=", ".join(names))
