"""Wordings: how a task is put to a causal model. One gives the prompt, what is to be written, and the answer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from loratory.errors import MissingExtra, Unfit
from loratory.models import closing
from loratory.predictors.fields import field_odds
from loratory.predictors.prompts import Message, Prompt
from loratory.protocols import (
    JSON,
    Answer,
    Conversational,
    Input,
    Labelled,
    Network,
    Prediction,
    Request,
    Sampling,
    Score,
    Task,
    Tokens,
    Write,
)
from loratory.schemas import written
from loratory.specs.writing import WritingSpec

Spell = Callable[[Sequence[int]], str]  # token ids to text


@dataclass(frozen=True)
class Asking:
    """What a wording needs to ask: the network, all that may be written where that is a list, and how it is written."""

    network: Network
    choices: tuple[Tokens, ...]
    end: int
    writing: WritingSpec

    @property
    def most(self) -> int:
        """Tokens of an answer at most, its end counted."""
        return max(map(len, self.choices)) if self.choices else self.writing.max_new_tokens or 0


class Wording(Protocol):
    """Texts on one side, answers on the other."""

    @property
    def cuts(self) -> bool:
        """Whether an input that is too long is cut; else it is not answered."""

    def suits(self, task: Task) -> bool:
        """Whether it can put this task."""

    def refuses(self, task: Task) -> str | None:
        """Why answers of this task cannot be held to their contract while they are written, or None."""

    def messages(self, task: Any, prompt: Prompt, input: Input) -> list[Message]:
        """What the model is asked."""

    def target(self, task: Any, answer: Answer) -> str:
        """What it should write."""

    def choices(self, task: Any) -> Sequence[str]:
        """All that it may write, where that is a short list."""

    def schema(self, task: Any) -> Mapping[str, JSON] | None:
        """What holds the text while it is written."""

    def request(self, task: Any, asking: Asking, ids: Tokens) -> Request:
        """What is asked for behind a prompt."""

    def read(self, task: Any, input: Input, found: Any, spell: Spell) -> Prediction:
        """The answer from what came back."""


class LabelWording:
    """One label of a list, as JSON: the answers that the task's contract allows, written out."""

    cuts = True

    def suits(self, task: Task) -> bool:
        return isinstance(task, Labelled)

    def refuses(self, task: Task) -> str | None:
        return None

    def messages(self, task: Any, prompt: Prompt, input: Input) -> list[Message]:
        lines = [f"- {label}: {task.describe(label)}" for label in task.labels]
        gaps = {"labels": "\n".join(lines), "names": ", ".join(task.labels), "schema": written(task.contract(input))}
        return prompt.filled(gaps, task.text(input))

    def target(self, task: Any, answer: Answer) -> str:
        return self._written(task, task.label_of(answer))

    def choices(self, task: Any) -> Sequence[str]:
        return [self._written(task, label) for label in task.labels]

    def _written(self, task: Any, label: str) -> str:
        return written(task.from_odds({}, {label: 1.0}).answer)

    def schema(self, task: Any) -> Mapping[str, JSON] | None:
        return None

    def request(self, task: Any, asking: Asking, ids: Tokens) -> Request:
        return Score(asking.network, ids, asking.choices)

    def read(self, task: Any, input: Input, found: Any, spell: Spell) -> Prediction:
        odds = found.softmax(-1).tolist()
        made: Prediction = task.from_odds(input, dict(zip(task.labels, odds, strict=True)))
        return made


class TalkWording:
    """Text: the conversation as it stands, with what the prompt file puts around it."""

    cuts = False

    def suits(self, task: Task) -> bool:
        return isinstance(task, Conversational) and task.contract().get("type") == "string"

    def refuses(self, task: Task) -> str | None:
        return None

    def messages(self, task: Any, prompt: Prompt, input: Input) -> list[Message]:
        *before, asked = task.messages(input)
        gaps = {"schema": written(task.contract(input))}
        *system, user = prompt.filled(gaps, asked["content"])
        if before and before[0]["role"] == "system":
            said = [message["content"] for message in (*system, before[0])]
            system, before = [{"role": "system", "content": "\n\n".join(said)}], before[1:]
        return [*system, *map(dict, before), user]

    def target(self, task: Any, answer: Answer) -> str:
        return str(task.told(answer))

    def choices(self, task: Any) -> Sequence[str]:
        return ()

    def request(self, task: Any, asking: Asking, ids: Tokens) -> Request:
        how = asking.writing
        sampling = Sampling(how.temperature, how.top_p, how.repetition_penalty, how.seed)
        ends, schema = frozenset({asking.end}), self.schema(task)
        return Write(asking.network, ids, asking.most, ends, schema, sampling, self.stops(how))

    def schema(self, task: Any) -> Mapping[str, JSON] | None:
        return None

    def stops(self, how: WritingSpec) -> tuple[str, ...]:
        """Where a text ends beside its end token."""
        return how.stop

    def read(self, task: Any, input: Input, found: Any, spell: Spell) -> Prediction:
        """Sure of a text is who was sure of its tokens: the geometric mean of their probabilities."""
        sure = math.exp(sum(math.log(max(odd, 1e-300)) for odd in found.odds) / max(len(found.odds), 1))
        return Prediction(task.heard(found.text), {"": {found.text: sure}}, raw=found.text)


class FieldWording(TalkWording):
    """JSON of the task's own schema, held to it while it is written."""

    def suits(self, task: Task) -> bool:
        return isinstance(task, Conversational)

    def refuses(self, task: Task) -> str | None:
        from loratory.models import grammar  # torch

        try:
            closing.check(task.contract())
            grammar.check(task.contract())
        except Unfit as problem:
            return f"answers of this schema cannot be promised to end: {_whole(problem)}"
        except MissingExtra:  # it is told when it is needed
            return None
        return None

    def schema(self, task: Any) -> Mapping[str, JSON] | None:
        return dict(task.contract())

    def stops(self, how: WritingSpec) -> tuple[str, ...]:
        return ()

    def read(self, task: Any, input: Input, found: Any, spell: Spell) -> Prediction:
        try:
            answer = task.heard(found.text)
        except ValueError:  # abandoned on the way
            return Prediction(None, why="late", raw=found.text)
        ends = [len(spell(found.ids[: k + 1])) for k in range(len(found.ids))]
        return Prediction(answer, field_odds(found.text, ends, found.odds), raw=found.text)


def _whole(problem: Unfit) -> str:
    """What is wrong, where, what is allowed, and how it is mended."""
    allowed = f"; allowed: {problem.allowed}" if problem.allowed else ""
    return f"{problem.problem} ({problem.where}){allowed}{f'; to mend it: {problem.remedy}' if problem.remedy else ''}"


WORDINGS: Mapping[str, Wording] = {"labels": LabelWording(), "talk": TalkWording(), "fields": FieldWording()}


def wording_of(task: Task) -> str:
    """The name of the first wording that suits the task; raises Unfit."""
    for name, wording in WORDINGS.items():
        if wording.suits(task):
            return name
    raise Unfit(f"no wording puts a {task.kind} task to a causal model", allowed=", ".join(WORDINGS))
