"""An answer within its deadline: by the first stage, or by the next that has room where it is late, fails or is full.

A stage is given the time that is left without what those after it have lately needed. What a stage abstains from is
final: a weaker one does not answer what a stronger one knows to be out of its scope.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loratory.errors import DeadlineExceeded, is_out_of_memory
from loratory.protocols import JSON, Input, Prediction, Predictor
from loratory.serving.engine.capabilities import ServedPredictor
from loratory.serving.engine.inference_engine import Engine
from loratory.serving.engine.service_registry import FallbackStage, Service
from loratory.serving.engine.thread_pool import CapacityExceeded

log = logging.getLogger("loratory.serving")
RESERVE_FACTOR = 2.0  # times a stage's usual time is kept for it
MIN_RESERVE_SECONDS = 0.002  # seconds, at least
MAX_RESERVE_SHARE = 0.5  # of what is left of the deadline, at most


class Overloaded(Exception):
    """Nobody has room. `after`: seconds after which somebody may."""

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"no room for {retry_after:.1f} s")
        self.retry_after = retry_after


class PredictorFailed(Exception):
    """The only one who could answer failed; the log says how."""


class Exhausted(PredictorFailed):
    """The only one who could answer had no memory for it now."""


@dataclass(frozen=True)
class FallbackReason:
    """Who should have answered, and why that one did not: late, full, failed, or a prediction's own reason."""

    contender: str
    reason: str


@dataclass(frozen=True)
class StagedAnswer:
    """A prediction, and who made it."""

    prediction: Prediction
    stage: FallbackStage
    fallback: FallbackReason | None

    @property
    def status(self) -> str:
        """Answered, abstained (final), or why there is no answer."""
        return "answered" if self.prediction.answer is not None else str(self.prediction.reason or "failed")

    def to_json(self, probabilities: bool = True) -> dict[str, JSON]:
        """As plain data."""
        made = self.prediction
        facts: dict[str, JSON] = {"answer": made.answer, "status": self.status, "confidence": made.confidence}
        if probabilities:
            facts["probabilities"] = {pointer: dict(odds) for pointer, odds in made.probabilities.items()}
        fallback = {"from": self.fallback.contender, "reason": self.fallback.reason} if self.fallback else None
        return {**facts, "served_by": self.stage.name, "release": self.stage.release, "fallback": fallback}


PreparePredictor = Callable[
    [FallbackStage], ServedPredictor | None
]  # whom to ask in a stage's place; None: it and those after it are not asked


def use_stage_predictor(stage: FallbackStage) -> Predictor:
    """The stage's own predictor."""
    return stage.predictor


async def answer_inputs(
    engine: Engine,
    service: Service,
    inputs: Sequence[Input],
    deadline: float,
    prepare: PreparePredictor = use_stage_predictor,
) -> list[StagedAnswer]:
    """One for each input, in order, before `deadline`. Raises Overloaded, DeadlineExceeded and PredictorFailed."""
    out: list[StagedAnswer | None] = [None] * len(inputs)
    fallen: dict[int, FallbackReason] = {}
    problem: Exception | None = None
    for number, stage in enumerate(service.stages):
        left = [place for place, one in enumerate(out) if one is None or _needs_fallback(one)]
        predictor = prepare(stage) if left else None
        if predictor is None:
            break
        until = deadline - reserve_for_fallback(service.stages[number + 1 :], deadline)
        try:
            made = await _predict_with_stage(engine, stage, predictor, [inputs[place] for place in left], until)
        except (CapacityExceeded, DeadlineExceeded, PredictorFailed) as why:
            problem = problem if isinstance(problem, CapacityExceeded) else why
            fallen |= {
                place: FallbackReason(stage.name, FALLBACK_REASONS[type(why)]) for place in left if place not in fallen
            }
            continue
        for place, prediction in zip(left, made, strict=True):
            if prediction.answer is not None or prediction.reason == "abstained" or out[place] is None:
                out[place] = StagedAnswer(prediction, stage, fallen.get(place))
            if prediction.answer is None and prediction.reason != "abstained":
                fallen.setdefault(place, FallbackReason(stage.name, str(prediction.reason or "failed")))
    answered = [one for one in out if one is not None]
    if len(answered) < len(out):
        assert problem is not None
        raise _to_client_error(problem, len(service.stages))
    return answered


def check_capacity(engine: Engine, service: Service, token_cost: int, deadline: float) -> None:
    """Raises Overloaded where no stage could answer inputs of so many tokens in time: known before they are read."""
    waits = []
    for number, stage in enumerate(service.stages):
        try:
            engine.admit(
                stage.predictor, token_cost, deadline - reserve_for_fallback(service.stages[number + 1 :], deadline)
            )
            return
        except CapacityExceeded as full:
            waits.append(full.retry_after)
    raise Overloaded(min(waits))


FALLBACK_REASONS: Mapping[type[Exception], str] = {
    CapacityExceeded: "full",
    DeadlineExceeded: "late",
    PredictorFailed: "failed",
    Exhausted: "failed",
}


def _needs_fallback(answer: StagedAnswer) -> bool:
    """Whether a later stage may still do better: there is no answer, and that was not meant."""
    return answer.prediction.answer is None and answer.prediction.reason != "abstained"


def _to_client_error(problem: Exception, stages: int) -> Exception:
    """504 is for a task that has nobody else; where there is a fallback, a client may try again."""
    if isinstance(problem, CapacityExceeded):
        return Overloaded(problem.retry_after)
    return Overloaded(1.0) if stages > 1 and isinstance(problem, DeadlineExceeded) else problem


async def _predict_with_stage(
    engine: Engine, stage: FallbackStage, predictor: ServedPredictor, inputs: Sequence[Input], deadline: float
) -> list[Prediction]:
    started = time.monotonic()
    try:
        source = stage.source if predictor is stage.predictor else None
        made = await engine.predict(predictor, inputs, deadline, source)
    except (CapacityExceeded, DeadlineExceeded):
        raise
    except Exception as problem:
        if is_out_of_memory(problem):
            log.error("the contender %s had no memory for %d inputs: %s", stage.name, len(inputs), problem)
            raise Exhausted from problem
        log.exception("the contender %s failed", stage.name)
        raise PredictorFailed from problem
    stage.record_duration(time.monotonic() - started)
    return made


def reserve_for_fallback(stages: Sequence[FallbackStage], deadline: float) -> float:
    """Seconds that are kept for those who come after."""
    if not stages:
        return 0.0
    needed = sum(max(RESERVE_FACTOR * stage.seconds, MIN_RESERVE_SECONDS) for stage in stages)
    return min(needed, MAX_RESERVE_SHARE * max(deadline - time.monotonic(), 0.0))


def describe_service(service: Service) -> dict[str, Any]:
    """What is told of a task: its contract, who answers, and what the evidence says."""
    task: Any = service.task  # a pydantic model, as all tasks are
    return {
        "task": service.name,
        "kind": task.kind,
        "definition": task.model_dump(mode="json"),
        "labels": list(service.labels),
        "input": dict(task.input_schema()),
        "answer": dict(task.contract()),
        "stages": [{"contender": stage.name, "release": stage.release} for stage in service.stages],
        "deadline_ms": None if service.deadline is None else service.deadline * 1000,
        "streams": service.generates,
    }
