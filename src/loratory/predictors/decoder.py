"""A causal model that answers in writing: it is asked for the probability of everything that it may write."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from loratory.errors import SpecError
from loratory.models import adapters
from loratory.models.bases import ORIGIN
from loratory.models.chat import Chat
from loratory.models.tokenizers import speakable
from loratory.predictors.prompts import Prompt
from loratory.predictors.wordings import WORDINGS
from loratory.protocols import JSON, Example, Input, Network, Prediction, Run, Score, Size, Tokens, Trunks, Write

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

    @cached_property
    def chat(self) -> Chat:
        """The base's way of writing a conversation."""
        trunk: Any = self.network.trunk
        return Chat.of(trunk.tokenizer.tokenizer, trunk.name)

    @cached_property
    def choices(self) -> tuple[Tokens, ...]:
        """All that may be written, as token ids."""
        return tuple(self.chat.answer(text) for text in WORDINGS[self.wording].choices(self.task))

    @cached_property
    def room(self) -> int:
        """Tokens that an input's text may have; raises SpecError where the prompt leaves no room for it."""
        trunk: Any = self.network.trunk
        around = len(self._asked("")) + max(map(len, self.choices))
        left = int(trunk.tokenizer.limit) - around
        if left < LEAST:
            raise SpecError(
                f"the prompt and the longest answer take {around} tokens: no room for a text in {trunk.name}, "
                f"which reads {trunk.tokenizer.limit}",
                where="prompt, shots",
                remedy="give fewer shots, a shorter prompt or shorter labels, or another base",
            )
        return min(self.max_tokens, left)

    def ids(self, input: Input) -> Tokens:
        """The prompt for an input; a text that is too long is cut."""
        text = speakable(self.task.text(input))
        trunk: Any = self.network.trunk
        ids = trunk.tokenizer.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        offsets = ids["offset_mapping"]
        return self._asked(text[: offsets[self.room - 1][1]] if len(offsets) > self.room else text)

    def _asked(self, text: str) -> Tokens:
        wording = WORDINGS[self.wording]
        *before, last = wording.messages(self.task, self.prompt, {"text": text})
        turns = []
        for shot in self.shots:
            *_, asked = wording.messages(self.task, self.prompt, shot.input)
            turns += [asked, {"role": "assistant", "content": wording.target(self.task, shot)}]
        return self.chat.prompt([*before, *turns, last])

    def written(self, example: Example) -> Tokens:
        """What should be written for an example, its end among it."""
        return self.chat.answer(WORDINGS[self.wording].target(self.task, example))

    def predict(self, inputs: Sequence[Input], run: Run) -> list[Prediction]:
        found = run([Score(self.network, self.ids(input), self.choices) for input in inputs])
        odds = [scores.softmax(-1).tolist() for scores in found]
        wording = WORDINGS[self.wording]
        return [wording.read(self.task, input, row) for input, row in zip(inputs, odds, strict=True)]

    def freely(self, inputs: Sequence[Input], run: Run) -> list[str]:
        """The likeliest text, token by token, with a little more room than the longest answer needs."""
        most, ends = max(map(len, self.choices)) + SPARE, frozenset({self.chat.end})
        found = run([Write(self.network, self.ids(input), most, ends) for input in inputs])
        return [written.text for written in found]

    def size(self) -> Size:
        trunk: Any = self.network.trunk
        own = self.network.adapter.tensors if self.network.adapter else {}
        return Size(self.learned, trunk.parameters() + sum(t.numel() for t in own.values()))

    def save(self, folder: Path) -> None:
        trunk: Any = self.network.trunk
        if self.network.adapter:
            origin, licence = ORIGIN.get(trunk.name, (trunk.name, None))
            facts: Mapping[str, JSON] = {
                "base_model_name_or_path": origin,
                "revision": trunk.digest,
                "base_model": origin,
                "license": licence,
                "task_type": "CAUSAL_LM",
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
            "shots": [{"input": dict(shot.input), "answer": shot.answer} for shot in self.shots],
            "trunk": {"name": trunk.name, "digest": trunk.digest, "kind": trunk.kind, "pooling": trunk.pooling},
            "adapter": self.network.adapter.digest if self.network.adapter else None,
            "owned": self.owned,
        }
        (folder / "decoder.json").write_text(json.dumps(named, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, task: Any, trunks: Trunks) -> Self:
        facts = json.loads((folder / "decoder.json").read_text(encoding="utf-8"))
        trunk: Any = trunks.get(facts["trunk"]["name"], facts["trunk"]["digest"], folder)
        adapter = adapters.read(folder / "adapter", trunk.prefix) if facts["adapter"] else None
        return cls(
            task,
            facts["wording"],
            Network(trunk, adapter),
            Prompt.load(str(folder / "prompt.yaml"), facts["wording"]),
            facts["max_tokens"],
            tuple(Example(shot["input"], shot["answer"]) for shot in facts["shots"]),
            facts["learned"],
            facts["owned"],
        )
