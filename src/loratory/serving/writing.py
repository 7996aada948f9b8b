"""An answer as a client wants it written: its parameters, its schema, and somebody who listens."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from loratory.errors import Unfit, shown
from loratory.models import bounds
from loratory.predictors.decoder import Decoder
from loratory.protocols import Asked, Conversational, Encode, Input, Prediction, Predictor, Schema, Write, Written
from loratory.schemas import written
from loratory.serving.cascade import Answered
from loratory.serving.engine import innermost, staged, trunk_of, written_by
from loratory.serving.refusals import Refusal
from loratory.serving.services import Stage
from loratory.specs.writing import WritingSpec

SECONDS = 5.0  # for the grammar of a schema
STOPS, LONGEST_STOP = 16, 256  # strings that end a text, and their characters


@dataclass(frozen=True)
class Wish:
    """Parameters of WritingSpec that a client gave, and its own schema for a text."""

    parameters: Mapping[str, Any] = field(default_factory=dict)
    schema: Schema | None = None

    def of(self, predictor: Any) -> Any:
        """The predictor as it would write then; one that does not write stays as it is."""
        if hasattr(predictor, "predictor"):  # an operating point stands around it
            return replace(predictor, predictor=self.of(predictor.predictor))
        if not isinstance(predictor, Decoder) or not predictor.most or not self.parameters:
            return predictor
        return replace(predictor, writing=spec_of({**predictor.writing.model_dump(), **self.parameters}))


def wish_of(given: Mapping[str, Any], most: int, schema: Schema | None = None, where: str = "parameters") -> Wish:
    """What a client asks; a budget above the server's own is cut to it. Raises Refusal."""
    made = dict(given)
    if isinstance(stop := made.get("stop"), (str, list)):
        made["stop"] = tuple([stop] if isinstance(stop, str) else stop)
        if len(made["stop"]) > STOPS or any(
            not 0 < len(one) <= LONGEST_STOP for one in made["stop"] if one == str(one)
        ):
            allowed = f"allowed: at most {STOPS} strings of 1 to {LONGEST_STOP} characters"
            raise Refusal("invalid_input", f"these cannot end a text; {allowed}", where=f"{where}.stop".lstrip("."))
    spec_of(made, where)
    if isinstance(budget := made.get("max_new_tokens"), int):
        made["max_new_tokens"] = min(budget, most)
    return Wish({name: value for name, value in made.items() if value is not None}, schema)


def spec_of(values: Mapping[str, Any], where: str = "parameters") -> WritingSpec:
    """Raises Refusal with the parameter that is wrong."""
    try:
        return WritingSpec.model_validate(values, strict=True)
    except ValidationError as problem:
        first = problem.errors(include_url=False)[0]
        place = ".".join(map(str, (where, *first["loc"]))).lstrip(".")
        known = f"; allowed: {', '.join(WritingSpec.model_fields)}" if first["type"] == "extra_forbidden" else ""
        raise Refusal("invalid_input", f"{shown(first['input'])}: {first['msg']}{known}", where=place[:120]) from None


@dataclass(eq=False)
class Notes:
    """What is known of an answer beside it: what was asked for, and what came back."""

    requests: Sequence[Any] = ()
    found: Sequence[Any] = ()

    @property
    def written(self) -> Written | None:
        """What was written, where anything was."""
        return next((one for one in self.found if isinstance(one, Written)), None)

    @property
    def usage(self) -> dict[str, int]:
        """Tokens that were read and written."""
        read = sum(len(one.ids if isinstance(one, Encode) else one.prompt) for one in self.requests)
        said = len(self.written.ids) if self.written else 0
        return {"prompt_tokens": read, "completion_tokens": said, "total_tokens": read + said}


@dataclass(frozen=True, eq=False)
class Observed:
    """A predictor whose requests are heard, held to a client's schema, and noted."""

    predictor: Any
    notes: Notes
    hear: Any = None
    schema: Schema | None = None

    @property
    def task(self) -> Any:
        """The contract."""
        return self.predictor.task

    def ask(self, inputs: Sequence[Any]) -> Asked | None:
        """As the predictor asks."""
        asked = self.predictor.ask(inputs)
        if asked is None:
            return None
        self.notes.requests = [self._changed(one) for one in asked.requests]

        def read(outputs: Sequence[Any]) -> list[Prediction]:
            self.notes.found = list(outputs)
            made: list[Prediction] = asked.read(outputs)
            return made

        return Asked(self.notes.requests, read)

    def _changed(self, request: Any) -> Any:
        if not isinstance(request, Write):
            return request
        held = request if self.schema is None else replace(request, schema=self.schema, stops=())
        return replace(held, hear=self.hear)

    def predict(self, inputs: Sequence[Any], run: Any) -> list[Prediction]:
        """As the predictor, where it goes step by step."""
        found: list[Prediction] = self.predictor.predict(inputs, run)
        return found


class Telling:
    """One answer while it is made: who is asked, and the pieces of text that were heard so far."""

    def __init__(self, wish: Wish, aloud: bool, input: Input) -> None:
        self.wish, self.begun, self.input = wish, False, input
        self.pieces: asyncio.Queue[str | None] = asyncio.Queue()
        self._aloud, self._loop = aloud, asyncio.get_running_loop()
        self._notes: dict[str, Notes] = {}
        self._speaker = ""

    def prepare(self, stage: Stage) -> Predictor | None:
        """Whom to ask in a stage's place; nobody, where something of another's answer was heard already."""
        predictor: Any = self.wish.of(stage.predictor)
        if self.begun or (self.wish.schema is not None and not written_by(predictor)):
            return None
        if not staged(predictor) or trunk_of(predictor) is None:
            return predictor  # type: ignore[no-any-return]
        self._speaker, notes = stage.name, Notes()
        self._notes[stage.name] = notes

        def hear(piece: str) -> None:
            if self._speaker != stage.name:
                raise BrokenPipeError  # too late: somebody else is asked
            self.begun = True
            self._loop.call_soon_threadsafe(self.pieces.put_nowait, piece)

        made: Any = Observed(predictor, notes, hear if self._aloud else None, self.wish.schema)
        return made  # type: ignore[no-any-return]

    def notes(self, one: Answered) -> Notes:
        """Of whoever answered."""
        return self._notes.get(one.stage.name, Notes())


def said(task: Any, answer: Any) -> str:
    """An answer as text."""
    if answer is None:
        return ""
    return str(task.told(answer)) if isinstance(task, Conversational) else written(answer)


def check_schema(schema: Any, where: str) -> None:
    """Refuse what is no schema, too large, or cannot be promised to end."""
    try:
        bounds.check(schema)
    except Unfit as problem:
        place = f" ({problem.where})" if problem.where else ""
        allowed = f"; allowed: {problem.allowed}" if problem.allowed else ""
        raise Refusal("invalid_input", f"{problem.problem}{place}{allowed}", where=where) from None


class Trials:
    """Tries, aside from everything else and for a few seconds at most, whether answers can be held to their schema."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="schemas")

    async def hold(self, stage: Stage, wish: Wish, input: Input, where: str) -> None:
        """Raises Refusal where the budget, or what a conversation leaves of it, is too small for any whole answer."""
        if wish.schema is None and "max_new_tokens" not in wish.parameters:
            return
        if wish.schema is not None:
            check_schema(wish.schema, where)
        work = asyncio.get_running_loop().run_in_executor(self._thread, _hold, stage, wish, input)
        try:
            async with asyncio.timeout(SECONDS):
                await work
        except TimeoutError:
            raise Refusal("invalid_input", "the schema takes too long to prepare", where=where) from None
        except Unfit as problem:
            if problem.where == "messages":
                raise no_room(problem) from None
            raise Refusal("invalid_input", f"{problem.problem}; {problem.remedy}", where=where) from None
        except Exception:  # the grammar may refuse what it has compiled
            raise Refusal("invalid_input", "the schema cannot be held while writing", where=where) from None


def _hold(stage: Stage, wish: Wish, input: Input) -> None:
    """Raises Unfit, or what the grammar raises."""
    predictor: Any = innermost(wish.of(stage.predictor))
    if not isinstance(predictor, Decoder) or not predictor.most:
        return
    words: Any = predictor.words
    schema = words.schema(predictor.task) if wish.schema is None else wish.schema
    if schema is None:
        return
    trunk: Any = predictor.network.trunk
    trunk.pen(Write(predictor.network, (0,), predictor.most, frozenset({predictor.chat.end}), schema)).guide.forced()
    if wish.schema is not None:  # the predictor minds the room for its own
        predictor.budget(predictor.ids(input), predictor.shortest(schema))


def no_room(problem: Unfit | None) -> Refusal:
    """A conversation leaves no room for an answer."""
    said = "the conversation is too long"
    if problem is not None:
        said = f"{problem.problem}; allowed: {problem.allowed}; {problem.remedy}"
    return Refusal("context_length_exceeded", said, status=400, where="messages")


def too_long(one: Answered, input: Input) -> Refusal:
    """For an answer whose status is long: the tokens of the conversation, and those that the base reads."""
    inner = innermost(one.stage.predictor)
    try:
        if isinstance(inner, Decoder):
            inner.budget(inner.ids(input), inner.least)
    except Unfit as problem:
        return no_room(problem)
    return no_room(None)
