"""An answer as a client wants it written: its parameters, its schema, and somebody who listens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from loratory.backbones.constraints import schema_limits
from loratory.errors import UnsupportedTask, format_value
from loratory.predictors.decoder import Decoder
from loratory.protocols import (
    JSON,
    Answer,
    Conversational,
    EncodeRequest,
    GenerateRequest,
    Generation,
    InferencePlan,
    InferenceRequest,
    Input,
    Prediction,
    Predictor,
    RequestRunner,
    Schema,
    Task,
    WrappingPredictor,
    require_causal,
)
from loratory.protocols.routes import ApiError
from loratory.schemas import to_compact_json
from loratory.serving.engine.capabilities import (
    PlannedPredictor,
    ServedPredictor,
    backbone_of,
    is_plannable,
    max_new_tokens_of,
    unwrap_predictor,
)
from loratory.serving.engine.fallback_chain import StagedAnswer
from loratory.serving.engine.service_registry import FallbackStage
from loratory.specs.generation import GenerationSpec

SCHEMA_COMPILE_SECONDS = 5.0  # for the grammar of a schema
MAX_STOP_STRINGS, MAX_STOP_CHARACTERS = 16, 256  # strings that end a text, and their characters


@dataclass(frozen=True)
class SamplingParams:
    """Parameters of WritingSpec that a client gave, and its own schema for a text."""

    parameters: Mapping[str, Any] = field(default_factory=dict)
    schema: Schema | None = None

    def apply_to(self, predictor: Predictor) -> Predictor:
        """The predictor as it would write then; one that does not write stays as it is."""
        if isinstance(predictor, WrappingPredictor):  # an operating point stands around it
            return predictor.with_predictor(self.apply_to(predictor.predictor))
        if not isinstance(predictor, Decoder) or not predictor.max_new_tokens or not self.parameters:
            return predictor
        return replace(predictor, writing=parse_generation_spec({**predictor.writing.model_dump(), **self.parameters}))


def parse_sampling_params(
    given: Mapping[str, Any], max_new_tokens: int, schema: Schema | None = None, where: str = "parameters"
) -> SamplingParams:
    """What a client asks; a budget above the server's own is cut to it. Raises ApiError."""
    made = dict(given)
    if isinstance(stop := made.get("stop"), (str, list)):
        made["stop"] = tuple([stop] if isinstance(stop, str) else stop)
        if len(made["stop"]) > MAX_STOP_STRINGS or any(
            not 0 < len(one) <= MAX_STOP_CHARACTERS for one in made["stop"] if one == str(one)
        ):
            allowed = f"allowed: at most {MAX_STOP_STRINGS} strings of 1 to {MAX_STOP_CHARACTERS} characters"
            raise ApiError("invalid_input", f"these cannot end a text; {allowed}", where=f"{where}.stop".lstrip("."))
    parse_generation_spec(made, where)
    if isinstance(budget := made.get("max_new_tokens"), int):
        made["max_new_tokens"] = min(budget, max_new_tokens)
    return SamplingParams({name: value for name, value in made.items() if value is not None}, schema)


def parse_generation_spec(values: Mapping[str, Any], where: str = "parameters") -> GenerationSpec:
    """Raises ApiError with the parameter that is wrong."""
    try:
        return GenerationSpec.model_validate(values, strict=True)
    except ValidationError as problem:
        first = problem.errors(include_url=False)[0]
        place = ".".join(map(str, (where, *first["loc"]))).lstrip(".")
        known = f"; allowed: {', '.join(GenerationSpec.model_fields)}" if first["type"] == "extra_forbidden" else ""
        raise ApiError(
            "invalid_input", f"{format_value(first['input'])}: {first['msg']}{known}", where=place[:120]
        ) from None


@dataclass(eq=False)
class Usage:
    """What is known of an answer beside it: what was asked for, and what came back."""

    requests: Sequence[InferenceRequest] = ()
    outputs: Sequence[Any] = ()

    @property
    def generation(self) -> Generation | None:
        """What was written, where anything was."""
        return next((one for one in self.outputs if isinstance(one, Generation)), None)

    @property
    def token_counts(self) -> dict[str, int]:
        """Tokens that were read and written."""
        read = sum(len(one.ids if isinstance(one, EncodeRequest) else one.prompt) for one in self.requests)
        said = len(self.generation.ids) if self.generation else 0
        return {"prompt_tokens": read, "completion_tokens": said, "total_tokens": read + said}


@dataclass(frozen=True, eq=False)
class RecordingPredictor:
    """A predictor whose requests are heard, held to a client's schema, and noted."""

    predictor: PlannedPredictor
    usage: Usage
    on_token: Callable[[str], None] | None = None
    schema: Schema | None = None

    @property
    def task(self) -> Task:
        """The contract."""
        return self.predictor.task

    def with_predictor(self, predictor: PlannedPredictor) -> RecordingPredictor:
        """The same around another one."""
        return replace(self, predictor=predictor)

    def plan(self, inputs: Sequence[Input]) -> InferencePlan | None:
        """As the predictor asks."""
        asked = self.predictor.plan(inputs)
        if asked is None:
            return None
        self.usage.requests = [self._constrain_request(one) for one in asked.requests]

        def read(outputs: Sequence[Any]) -> list[Prediction]:
            self.usage.outputs = list(outputs)
            return asked.read_outputs(outputs)

        return InferencePlan(self.usage.requests, read)

    def _constrain_request(self, request: InferenceRequest) -> InferenceRequest:
        if not isinstance(request, GenerateRequest):
            return request
        held = request if self.schema is None else replace(request, schema=self.schema, stop_strings=())
        return replace(held, on_token=self.on_token)

    def predict(self, inputs: Sequence[Input], run: RequestRunner) -> list[Prediction]:
        """As the predictor, where it goes step by step."""
        return self.predictor.predict(inputs, run)


class StreamSession:
    """One answer while it is made: who is asked, and the pieces of text that were heard so far."""

    def __init__(self, params: SamplingParams, streaming: bool, input: Input) -> None:
        self.params, self.has_streamed, self.input = params, False, input
        self.pieces: asyncio.Queue[str | None] = asyncio.Queue()
        self._streaming, self._loop = streaming, asyncio.get_running_loop()
        self._usage_by_stage: dict[str, Usage] = {}
        self._active_stage = ""

    def prepare_predictor(self, stage: FallbackStage) -> ServedPredictor | None:
        """Whom to ask in a stage's place; nobody, where something of another's answer was heard already."""
        predictor = self.params.apply_to(stage.predictor)
        if self.has_streamed or (self.params.schema is not None and not max_new_tokens_of(predictor)):
            return None
        if not is_plannable(predictor) or backbone_of(predictor) is None:
            return predictor
        self._active_stage, notes = stage.name, Usage()
        self._usage_by_stage[stage.name] = notes

        def hear(piece: str) -> None:
            if self._active_stage != stage.name:
                raise BrokenPipeError  # too late: somebody else is asked
            self.has_streamed = True
            self._loop.call_soon_threadsafe(self.pieces.put_nowait, piece)

        return RecordingPredictor(predictor, notes, hear if self._streaming else None, self.params.schema)

    def usage_of(self, answer: StagedAnswer) -> Usage:
        """Of whoever answered."""
        return self._usage_by_stage.get(answer.stage.name, Usage())


def answer_text(task: Task, answer: Answer) -> str:
    """An answer as text."""
    if answer is None:
        return ""
    return str(task.render(answer)) if isinstance(task, Conversational) else to_compact_json(answer)


def check_schema(schema: JSON, where: str) -> None:
    """Refuse what is no schema, too large, or cannot be promised to end."""
    try:
        schema_limits.check_schema_limits(schema)
    except UnsupportedTask as problem:
        place = f" ({problem.where})" if problem.where else ""
        allowed = f"; allowed: {problem.allowed}" if problem.allowed else ""
        raise ApiError("invalid_input", f"{problem.problem}{place}{allowed}", where=where) from None


class SchemaPrecheck:
    """Tries, aside from everything else and for a few seconds at most, whether answers can be held to their schema."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="schemas")

    async def check(self, stage: FallbackStage, params: SamplingParams, input: Input, where: str) -> None:
        """Raises ApiError where the budget, or what a conversation leaves of it, is too small for any whole answer."""
        if params.schema is None and "max_new_tokens" not in params.parameters:
            return
        if params.schema is not None:
            check_schema(params.schema, where)
        work = asyncio.get_running_loop().run_in_executor(self._thread, _check_constraint, stage, params, input)
        try:
            async with asyncio.timeout(SCHEMA_COMPILE_SECONDS):
                await work
        except TimeoutError:
            raise ApiError("invalid_input", "the schema takes too long to prepare", where=where) from None
        except UnsupportedTask as problem:
            if problem.where == "messages":
                raise context_length_error(problem) from None
            raise ApiError("invalid_input", f"{problem.problem}; {problem.remedy}", where=where) from None
        except Exception:  # the grammar may refuse what it has compiled
            raise ApiError("invalid_input", "the schema cannot be held while writing", where=where) from None


def _check_constraint(stage: FallbackStage, params: SamplingParams, input: Input) -> None:
    """Raises UnsupportedTask, or what the grammar raises."""
    predictor = unwrap_predictor(params.apply_to(stage.predictor))
    if not isinstance(predictor, Decoder) or not predictor.max_new_tokens:
        return
    words: Any = predictor.template
    schema = words.build_schema(predictor.task) if params.schema is None else params.schema
    if schema is None:
        return
    require_causal(predictor.network.backbone).create_sequence(
        GenerateRequest(
            predictor.network, (0,), predictor.max_new_tokens, frozenset({predictor.chat.end_token_id}), schema
        )
    ).constraint.force_token()
    if params.schema is not None:  # the predictor minds the room for its own
        predictor.compute_token_budget(predictor.encode_prompt(input), predictor.count_shortest_answer(schema))


def context_length_error(problem: UnsupportedTask | None) -> ApiError:
    """A conversation leaves no room for an answer."""
    said = "the conversation is too long"
    if problem is not None:
        said = f"{problem.problem}; allowed: {problem.allowed}; {problem.remedy}"
    return ApiError("context_length_exceeded", said, status=400, where="messages")


def describe_context_overflow(answer: StagedAnswer, input: Input) -> ApiError:
    """For an answer whose status is long: the tokens of the conversation, and those that the base reads."""
    inner = unwrap_predictor(answer.stage.predictor)
    try:
        if isinstance(inner, Decoder):
            inner.compute_token_budget(inner.encode_prompt(input), inner.min_answer_tokens)
    except UnsupportedTask as problem:
        return context_length_error(problem)
    return context_length_error(None)
