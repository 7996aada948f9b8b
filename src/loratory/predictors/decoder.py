"""A causal model that answers in writing: it is asked for the probability of everything that it may write."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from loratory.artifacts.contents import Files, files_of
from loratory.errors import SpecError, Unfit
from loratory.models import adapters
from loratory.models.bases import origin_of
from loratory.models.chat import Chat
from loratory.models.places import leave_name, portable
from loratory.models.tokenizers import speakable
from loratory.predictors.prompts import Message, Prompt
from loratory.predictors.wordings import WORDINGS, Asking, Wording
from loratory.protocols import (
    JSON,
    Asked,
    Example,
    Input,
    Network,
    Prediction,
    Request,
    Run,
    Schema,
    Size,
    Tokens,
    Trunks,
    Write,
)
from loratory.specs.writing import WritingSpec

SPARE = 8  # tokens of a free answer beyond the longest one of the contract
LEAST = 16  # tokens of a text that have to fit beside the prompt


@dataclass(frozen=True, eq=False)
class Decoder:
    """`shots` are answered examples that stand in the prompt; `learned` counts the parameters that examples changed."""

    task: Any
    wording: str
    network: Network
    prompt: Prompt
    max_tokens: int
    shots: tuple[Example, ...] = ()
    learned: int = 0
    owned: bool = False
    writing: WritingSpec = field(default_factory=WritingSpec)

    @property
    def words(self) -> Wording:
        """How the task is put."""
        return WORDINGS[self.wording]

    @cached_property
    def chat(self) -> Chat:
        """The base's way of writing a conversation."""
        trunk: Any = self.network.trunk
        return Chat.of(trunk.tokenizer.tokenizer, trunk.name)

    @property
    def choices(self) -> tuple[Tokens, ...]:
        """All that may be written, as token ids; empty where that is no list."""
        return self.asking.choices

    @cached_property
    def asking(self) -> Asking:
        """What stays the same from one request to the next."""
        choices = tuple(self.chat.answer(text) for text in self.words.choices(self.task))
        return Asking(self.network, choices, self.chat.end, self.writing)

    @property
    def most(self) -> int:
        """Tokens that it may write behind an input; 0 where answers are scored, not written."""
        return 0 if self.choices else self.asking.most

    @property
    def limit(self) -> int:
        """Tokens that the base reads: of a prompt and its answer together."""
        trunk: Any = self.network.trunk
        return int(trunk.tokenizer.limit)

    @cached_property
    def least(self) -> int:
        """Tokens of the shortest answer, its end counted: all of a label, one of a text, whole JSON of a schema."""
        if self.choices:
            return self.asking.most
        schema = self.words.schema(self.task)
        return 1 if schema is None else self.shortest(schema)

    def shortest(self, schema: Schema) -> int:
        """Tokens of the shortest answer of a schema, its end counted; raises Unfit where it cannot be held."""
        trunk: Any = self.network.trunk
        pen = trunk.pen(Write(self.network, (0,), self.limit, frozenset({self.chat.end}), schema))
        return len(pen.guide.plan) + 1

    @cached_property
    def room(self) -> int:
        """Tokens that an input's text may have; raises SpecError where the prompt leaves no room for it."""
        trunk: Any = self.network.trunk
        around = len(self._asked({"text": "", "prompt": ""})) + self.least
        left = self.limit - around
        if left < LEAST:
            raise SpecError(
                f"the prompt and the {'longest' if self.choices else 'shortest'} answer take {around} tokens: no room "
                f"for a text in {trunk.name}, which reads {self.limit}",
                where="prompt, shots, writing: max_new_tokens" if self.choices else "prompt, shots",
                remedy="give fewer shots, a shorter prompt or shorter labels, or another base",
            )
        return min(self.max_tokens, left)

    def ids(self, input: Input) -> Tokens:
        """The prompt for an input. A text that is too long is cut; raises Unfit for a conversation that leaves no token
        for an answer.
        """
        if self.words.cuts:
            return self._asked({"text": self._cut(speakable(self.task.text(input)))})
        asked = self._asked(input)
        self.budget(asked)
        return asked

    def budget(self, prompt: Tokens, least: int = 1) -> int:
        """Tokens that may be written behind a prompt: what was asked for, or the room that is left where that is less.

        Raises Unfit where fewer than `least` are left.
        """
        trunk: Any = self.network.trunk
        left = self.limit - len(prompt)
        if left < least:
            raise Unfit(
                f"the conversation, with the task's own prompt, takes {len(prompt)} tokens of the {self.limit} that "
                f"{trunk.name} reads, and the shortest answer takes {least}",
                where="messages",
                allowed=f"at most {self.limit - least} tokens",
                remedy="shorten the conversation; a smaller budget (max_tokens, max_new_tokens) does not help",
            )
        return min(self.asking.most, left)

    def needed(self, example: Example) -> int:
        """Tokens of the prompt for an example, with its answer."""
        return len(self._asked(example.input)) + max(len(self.written(example)), 1)

    def _cut(self, text: str) -> str:
        trunk: Any = self.network.trunk
        ids = trunk.tokenizer.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        offsets = ids["offset_mapping"]
        return text[: offsets[self.room - 1][1]] if len(offsets) > self.room else text

    def _asked(self, input: Input) -> Tokens:
        messages = self.words.messages(self.task, self.prompt, input)
        turns: list[Message] = []
        for shot in self.shots:
            asked = self.words.messages(self.task, self.prompt, shot.input)
            told = {"role": "assistant", "content": self.words.target(self.task, shot.answer)}
            turns += [*(message for message in asked if message["role"] != "system"), told]
        system = [message for message in messages[:1] if message["role"] == "system"]
        return self.chat.prompt([*system, *turns, *messages[len(system) :]])

    def written(self, example: Example) -> Tokens:
        """What should be written for an example, its end among it."""
        return self.chat.answer(self.words.target(self.task, example.answer))

    def predict(self, inputs: Sequence[Input], run: Run) -> list[Prediction]:
        asked = self.ask(inputs)
        return asked.read(run(asked.requests))

    def aloud(self, input: Input, run: Run, hear: Callable[[str], None]) -> Prediction:
        asked = self._asked_for([input], hear)
        (made,) = asked.read(run(asked.requests))
        if self.choices and made.answer is not None:  # scored, not written: it is known all at once
            hear(self.words.target(self.task, made.answer))
        return made

    def ask(self, inputs: Sequence[Input]) -> Asked:
        """A text, or the odds of all that may be written, for each input that fits."""
        return self._asked_for(inputs, None)

    def _asked_for(self, inputs: Sequence[Input], hear: Callable[[str], None] | None) -> Asked:
        least = self.least  # a schema that cannot be held is no input that does not fit

        def request(ids: Tokens) -> Request:
            made = self.words.request(self.task, self.asking, ids)
            return replace(made, most=self.budget(ids, least), hear=hear) if isinstance(made, Write) else made

        requests = self._requests(inputs, request)

        def read(outputs: Sequence[Any]) -> list[Prediction]:
            trunk: Any = self.network.trunk
            found, spell = dict(zip(requests, outputs, strict=True)), trunk.tokenizer.read
            return [
                self.words.read(self.task, input, found[place], spell)
                if place in found
                else Prediction(None, why="long")
                for place, input in enumerate(inputs)
            ]

        return Asked(list(requests.values()), read)

    def freely(self, inputs: Sequence[Input], run: Run) -> list[str]:
        """The likeliest text, token by token, with a little more room than the longest answer needs."""
        most, ends = self.asking.most + SPARE, frozenset({self.chat.end})
        requests = self._requests(inputs, lambda ids: Write(self.network, ids, min(most, self.limit - len(ids)), ends))
        found = dict(zip(requests, run(list(requests.values())), strict=True))
        return [found[place].text if place in found else "" for place in range(len(inputs))]

    def _requests(self, inputs: Sequence[Input], request: Callable[[Tokens], Request]) -> dict[int, Request]:
        """By place, for each input that fits."""
        requests: dict[int, Request] = {}
        for place, input in enumerate(inputs):
            with suppress(Unfit):
                requests[place] = request(self.ids(input))
        return requests

    def size(self) -> Size:
        trunk: Any = self.network.trunk
        own = self.network.adapter.tensors if self.network.adapter else {}
        return Size(self.learned, trunk.parameters() + sum(t.numel() for t in own.values()))

    def save(self, folder: Path) -> None:
        trunk: Any = self.network.trunk
        if self.network.adapter:
            origin, licence = origin_of(trunk.name)
            facts: Mapping[str, JSON] = {
                "base_model_name_or_path": origin or portable(trunk.name),
                "revision": trunk.digest,
                "base_model": origin,
                "license": licence,
                "task_type": "CAUSAL_LM",
                "opener": "AutoModelForCausalLM",
                "pipeline_tag": "text-generation",
            }
            adapters.write(folder / "adapter", self.network.adapter, facts, trunk.prefix)
        if self.owned:
            trunk.save(folder / "model")
        self.prompt.write(folder / "prompt.yaml")
        named = {
            "wording": self.wording,
            "prompt": self.prompt.digest,
            "max_tokens": self.max_tokens,
            "learned": self.learned,
            "writing": self.writing.model_dump(mode="json"),
            "shots": [{"input": dict(shot.input), "answer": shot.answer} for shot in self.shots],
            "trunk": {"name": leave_name(trunk), "digest": trunk.digest, "kind": trunk.kind, "pooling": trunk.pooling},
            "adapter": self.network.adapter.digest if self.network.adapter else None,
            "owned": self.owned,
        }
        (folder / "decoder.json").write_text(json.dumps(named, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, source: Path | Files, task: Any, trunks: Trunks) -> Self:
        files = files_of(source)
        facts = files.json("decoder.json")
        trunk: Any = trunks.get(facts["trunk"]["name"], facts["trunk"]["digest"], files)
        adapter = adapters.read(files.within("adapter"), trunk.prefix) if facts["adapter"] else None
        return cls(
            task,
            facts["wording"],
            Network(trunk, adapter),
            Prompt.parse(files.text("prompt.yaml"), str(files.folder / "prompt.yaml")),
            facts["max_tokens"],
            tuple(Example(shot["input"], shot["answer"]) for shot in facts["shots"]),
            facts["learned"],
            facts["owned"],
            WritingSpec.model_validate(facts["writing"]),
        )
