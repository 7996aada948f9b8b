"""A causal model that answers in writing: it is asked for the probability of everything that it may write."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from loratory.artifacts.verified_files import VerifiedFiles, open_files
from loratory.backbones import adapters
from loratory.backbones.generation.chat_template import ChatTemplate
from loratory.backbones.loading.base_locations import make_name_portable, record_base_location
from loratory.backbones.loading.bases import origin_of
from loratory.backbones.loading.tokenizers import replace_surrogates
from loratory.errors import SpecError, UnsupportedTask
from loratory.predictors.prompt_files import Prompt
from loratory.predictors.prompt_templates import load_prompt_template
from loratory.protocols import (
    JSON,
    BackbonePool,
    ChatMessage,
    DecodingPlan,
    Example,
    GenerateRequest,
    InferencePlan,
    InferenceRequest,
    Input,
    Network,
    ParameterCount,
    Prediction,
    PromptTemplate,
    RequestRunner,
    Schema,
    Task,
    TokenIds,
    require_causal,
)
from loratory.specs.generation import GenerationSpec

UNCONSTRAINED_EXTRA_TOKENS = 8  # tokens of a free answer beyond the longest one of the contract
MIN_TEXT_TOKENS = 16  # tokens of a text that have to fit beside the prompt


@dataclass(frozen=True, eq=False)
class Decoder:
    """A task answered by a backbone that writes.

    `shots` are answered examples that stand in the prompt; `trained_parameters` counts what examples changed.
    """

    task: Any
    template_name: str
    network: Network
    prompt: Prompt
    max_tokens: int
    shots: tuple[Example, ...] = ()
    trained_parameters: int = 0
    owns_backbone: bool = False
    writing: GenerationSpec = field(default_factory=GenerationSpec)

    @cached_property
    def template(self) -> PromptTemplate[Any, Any]:
        """How the task is put."""
        return load_prompt_template(self.template_name)

    @cached_property
    def chat(self) -> ChatTemplate:
        """The base's way of writing a conversation."""
        backbone = self.network.backbone
        return ChatTemplate.from_tokenizer(backbone.tokenizer.tokenizer, backbone.name)

    @property
    def choices(self) -> tuple[TokenIds, ...]:
        """All that may be written behind any input, as token ids; empty where choices come with the input, or text is
        written.
        """
        return self.decoding_plan.choices

    @cached_property
    def decoding_plan(self) -> DecodingPlan:
        """What stays the same from one request to the next."""
        choices = tuple(self.chat.encode_answer(text) for text in self.template.list_choices(self.task))
        return DecodingPlan(self.network, choices, self.chat.end_token_id, self.writing)

    def build_decoding_plan(self, input: Input) -> DecodingPlan:
        """The plan for one input; raises UnsupportedTask for an input without a choice."""
        plan = self.decoding_plan
        if not self.template.scores_choices or plan.choices:
            return plan
        choices = tuple(self.chat.encode_answer(text) for text in self.template.list_choices(self.task, input))
        if not choices:
            raise UnsupportedTask("the input has no option", allowed="at least one option to choose from")
        return replace(plan, choices=choices)

    @property
    def max_new_tokens(self) -> int:
        """Tokens that it may write behind an input; 0 where answers are scored, not written."""
        return 0 if self.template.scores_choices else self.decoding_plan.max_new_tokens

    @property
    def context_length(self) -> int:
        """Tokens that the base reads: of a prompt and its answer together."""
        return self.network.backbone.tokenizer.max_length

    @cached_property
    def min_answer_tokens(self) -> int:
        """Tokens of the shortest answer, its end counted: all of a label, one of a text, whole JSON of a schema."""
        if self.template.scores_choices:
            return self.decoding_plan.max_new_tokens or 1
        schema = self.template.build_schema(self.task)
        return 1 if schema is None else self.count_shortest_answer(schema)

    def count_shortest_answer(self, schema: Schema) -> int:
        """Tokens of the shortest answer of a schema, its end counted; raises UnsupportedTask where it cannot be
        held.
        """
        sequence = require_causal(self.network.backbone).create_sequence(
            GenerateRequest(self.network, (0,), self.context_length, frozenset({self.chat.end_token_id}), schema)
        )
        return len(sequence.constraint.completion) + 1

    @cached_property
    def max_text_tokens(self) -> int:
        """Tokens that an input's text may have; raises SpecError where the prompt leaves no room for it."""
        backbone = self.network.backbone
        around = len(self._encode_messages(None, "")) + self.min_answer_tokens
        left = self.context_length - around
        if left < MIN_TEXT_TOKENS:
            raise SpecError(
                f"the prompt and the {'longest' if self.choices else 'shortest'} answer take {around} tokens: no room "
                f"for a text in {backbone.name}, which reads {self.context_length}",
                where="prompt, shots, writing: max_new_tokens" if self.choices else "prompt, shots",
                remedy="give fewer shots, a shorter prompt or shorter labels, or another base",
            )
        return min(self.max_tokens, left)

    def encode_prompt(self, input: Input) -> TokenIds:
        """The prompt for an input; a text that is too long is cut.

        Raises UnsupportedTask for a conversation that leaves no token for an answer.
        """
        if self.template.truncates:
            text = replace_surrogates(self.task.text(input))
            return self._encode_messages(input, self._truncate_text(text, self._count_text_room(input)))
        asked = self._encode_messages(input)
        self.compute_token_budget(asked)
        return asked

    def compute_token_budget(self, prompt: TokenIds, min_tokens: int = 1) -> int:
        """Tokens that may be written behind a prompt: what was asked for, or the room that is left where that is less.

        Raises UnsupportedTask where fewer than `least` are left.
        """
        backbone = self.network.backbone
        left = self.context_length - len(prompt)
        if left < min_tokens:
            raise UnsupportedTask(
                f"the conversation, with the task's own prompt, takes {len(prompt)} tokens of the "
                f"{self.context_length} that "
                f"{backbone.name} reads, and the shortest answer takes {min_tokens}",
                where="messages",
                allowed=f"at most {self.context_length - min_tokens} tokens",
                remedy="shorten the conversation; a smaller budget (max_tokens, max_new_tokens) does not help",
            )
        return min(self.decoding_plan.max_new_tokens, left)

    def count_needed_tokens(self, example: Example) -> int:
        """Tokens of the prompt for an example, with its answer."""
        return len(self._encode_messages(example.input)) + max(len(self.encode_answer(example)), 1)

    def _count_text_room(self, input: Input) -> int:
        """Tokens that this input's text may have; raises UnsupportedTask where its own options leave too few."""
        if self.choices or not self.template.scores_choices:
            return self.max_text_tokens
        around = len(self._encode_messages(input, "")) + self.build_decoding_plan(input).max_new_tokens
        left = self.context_length - around
        if left < MIN_TEXT_TOKENS:
            raise UnsupportedTask(
                f"the prompt with its options takes {around} tokens: no room for a text",
                allowed=f"at most {self.context_length - MIN_TEXT_TOKENS} tokens",
                remedy="give fewer or shorter options",
            )
        return min(self.max_tokens, left)

    def _truncate_text(self, text: str, max_tokens: int) -> str:
        backbone = self.network.backbone
        ids = backbone.tokenizer.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        offsets = ids["offset_mapping"]
        return text[: offsets[max_tokens - 1][1]] if len(offsets) > max_tokens else text

    def list_messages(self, input: Input | None, text: str | None = None) -> list[ChatMessage]:
        """The conversation that the base is asked to go on with, shots in it; `text` stands for the input's own."""
        messages = self.template.build_messages(self.task, self.prompt, input, text)
        turns: list[ChatMessage] = []
        for shot in self.shots:
            asked = self.template.build_messages(self.task, self.prompt, shot.input)
            told = {"role": "assistant", "content": self.template.render_target(self.task, shot.answer)}
            turns += [*(message for message in asked if message["role"] != "system"), told]
        system = [message for message in messages[:1] if message["role"] == "system"]
        return [*system, *turns, *messages[len(system) :]]

    def _encode_messages(self, input: Input | None, text: str | None = None) -> TokenIds:
        return self.chat.encode_prompt(self.list_messages(input, text))

    def encode_answer(self, example: Example) -> TokenIds:
        """What should be written for an example, its end among it."""
        return self.chat.encode_answer(self.template.render_target(self.task, example.answer))

    def predict(self, inputs: Sequence[Input], run: RequestRunner) -> list[Prediction]:
        asked = self.plan(inputs)
        return asked.read_outputs(run(asked.requests))

    def stream(self, input: Input, run: RequestRunner, on_token: Callable[[str], None]) -> Prediction:
        asked = self._build_plan([input], on_token)
        (made,) = asked.read_outputs(run(asked.requests))
        if self.template.scores_choices and made.answer is not None:  # scored, not written: it is known all at once
            on_token(self.template.render_target(self.task, made.answer))
        return made

    def plan(self, inputs: Sequence[Input]) -> InferencePlan:
        """A text, or the odds of all that may be written, for each input that fits."""
        return self._build_plan(inputs, None)

    def _build_plan(self, inputs: Sequence[Input], on_token: Callable[[str], None] | None) -> InferencePlan:
        least = self.min_answer_tokens  # a schema that cannot be held is no input that does not fit

        def request(input: Input, ids: TokenIds) -> InferenceRequest:
            made = self.template.build_request(self.task, self.build_decoding_plan(input), ids)
            return (
                replace(made, max_new_tokens=self.compute_token_budget(ids, least), on_token=on_token)
                if isinstance(made, GenerateRequest)
                else made
            )

        requests = self._build_requests(inputs, request)

        def read(outputs: Sequence[Any]) -> list[Prediction]:
            backbone = self.network.backbone
            found, spell = dict(zip(requests, outputs, strict=True)), backbone.tokenizer.decode
            return [
                self.template.parse_output(self.task, input, found[place], spell)
                if place in found
                else Prediction(None, reason="long")
                for place, input in enumerate(inputs)
            ]

        return InferencePlan(list(requests.values()), read)

    def generate_unconstrained(self, inputs: Sequence[Input], run: RequestRunner) -> list[str]:
        """The likeliest text, token by token, with a little more room than the longest answer needs."""
        ends = frozenset({self.chat.end_token_id})

        def request(input: Input, ids: TokenIds) -> InferenceRequest:
            most = self.build_decoding_plan(input).max_new_tokens + UNCONSTRAINED_EXTRA_TOKENS
            return GenerateRequest(self.network, ids, min(most, self.context_length - len(ids)), ends)

        requests = self._build_requests(inputs, request)
        found = dict(zip(requests, run(list(requests.values())), strict=True))
        return [found[place].text if place in found else "" for place in range(len(inputs))]

    def _build_requests(
        self, inputs: Sequence[Input], request: Callable[[Input, TokenIds], InferenceRequest]
    ) -> dict[int, InferenceRequest]:
        """By place, for each input that fits."""
        requests: dict[int, InferenceRequest] = {}
        for place, input in enumerate(inputs):
            with suppress(UnsupportedTask):
                requests[place] = request(input, self.encode_prompt(input))
        return requests

    def count_parameters(self) -> ParameterCount:
        backbone = self.network.backbone
        own = self.network.adapter.tensors if self.network.adapter else {}
        return ParameterCount(
            self.trained_parameters, backbone.count_parameters() + sum(t.numel() for t in own.values())
        )

    def save(self, folder: Path) -> None:
        backbone = self.network.backbone
        if self.network.adapter:
            origin, licence = origin_of(backbone.name)
            facts: Mapping[str, JSON] = {
                "base_model_name_or_path": origin or make_name_portable(backbone.name),
                "revision": backbone.digest,
                "base_model": origin,
                "license": licence,
                "task_type": "CAUSAL_LM",
                "opener": "AutoModelForCausalLM",
                "pipeline_tag": "text-generation",
            }
            adapters.write_adapter(folder / "adapter", self.network.adapter, facts, backbone.model_prefix)
        if self.owns_backbone:
            backbone.save(folder / "model")
        self.prompt.save(folder / "prompt.yaml")
        named = {
            "prompt_template": self.template_name,
            "prompt": self.prompt.digest,
            "max_tokens": self.max_tokens,
            "learned": self.trained_parameters,
            "writing": self.writing.model_dump(mode="json"),
            "shots": [{"input": dict(shot.input), "answer": shot.answer} for shot in self.shots],
            "backbone": {
                "name": record_base_location(backbone),
                "digest": backbone.digest,
                "kind": backbone.kind,
                "pooling": backbone.pooling,
            },
            "adapter": self.network.adapter.digest if self.network.adapter else None,
            "owned": self.owns_backbone,
        }
        (folder / "decoder.json").write_text(json.dumps(named, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, source: Path | VerifiedFiles, task: Task, backbones: BackbonePool) -> Self:
        files = open_files(source)
        facts = files.read_json("decoder.json")
        backbone = backbones.get(facts["backbone"]["name"], facts["backbone"]["digest"], files)
        adapter = (
            adapters.read_adapter(files.open_subfolder("adapter"), backbone.model_prefix) if facts["adapter"] else None
        )
        return cls(
            task,
            facts["prompt_template"],
            Network(backbone, adapter),
            Prompt.parse(files.read_text("prompt.yaml"), str(files.folder / "prompt.yaml")),
            facts["max_tokens"],
            tuple(Example(shot["input"], shot["answer"]) for shot in facts["shots"]),
            facts["learned"],
            facts["owned"],
            GenerationSpec.model_validate(facts["writing"]),
        )
