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

from loratory.errors import Late, is_out_of_memory
from loratory.protocols import JSON, Input, Prediction, Predictor
from loratory.serving.engine import Engine
from loratory.serving.plain import Full
from loratory.serving.services import Service, Stage

log = logging.getLogger("loratory.serving")
MARGIN = 2.0  # times a stage's usual time is kept for it
LEAST = 0.002  # seconds, at least
SHARE = 0.5  # of what is left of the deadline, at most


class Busy(Exception):
    """Nobody has room. `after`: seconds after which somebody may."""

    def __init__(self, after: float) -> None:
        super().__init__(f"no room for {after:.1f} s")
        self.after = after


class Broken(Exception):
    """The only one who could answer failed; the log says how."""


class Exhausted(Broken):
    """The only one who could answer had no memory for it now."""


@dataclass(frozen=True)
class Fallback:
    """Who should have answered, and why that one did not: late, full, failed, or a prediction's own reason."""

    contender: str
    why: str


@dataclass(frozen=True)
class Answered:
    """A prediction, and who made it."""

    prediction: Prediction
    stage: Stage
    fallback: Fallback | None

    @property
    def status(self) -> str:
        """Answered, abstained (final), or why there is no answer."""
        return "answered" if self.prediction.answer is not None else str(self.prediction.why or "failed")

    def facts(self, probabilities: bool = True) -> dict[str, JSON]:
        """As plain data."""
        made = self.prediction
        facts: dict[str, JSON] = {"answer": made.answer, "status": self.status, "confidence": made.confidence}
        if probabilities:
            facts["probabilities"] = {pointer: dict(odds) for pointer, odds in made.probabilities.items()}
        fallback = {"from": self.fallback.contender, "why": self.fallback.why} if self.fallback else None
        return {**facts, "served_by": self.stage.name, "release": self.stage.release, "fallback": fallback}


Prepare = Callable[
    [Stage], Predictor | None
]  # whom to ask in a stage's place; None: it and those after it are not asked


def as_it_is(stage: Stage) -> Predictor:
    """The stage's own predictor."""
    return stage.predictor


async def answer(
    engine: Engine, service: Service, inputs: Sequence[Input], by: float, prepare: Prepare = as_it_is
) -> list[Answered]:
    """One for each input, in order, before `by` (monotonic). Raises Busy, Late and Broken."""
    out: list[Answered | None] = [None] * len(inputs)
    fallen: dict[int, Fallback] = {}
    problem: Exception | None = None
    for number, stage in enumerate(service.stages):
        left = [place for place, one in enumerate(out) if one is None or _stands_in(one)]
        predictor = prepare(stage) if left else None
        if predictor is None:
            break
        until = by - reserve(service.stages[number + 1 :], by)
        try:
            made = await _asked(engine, stage, predictor, [inputs[place] for place in left], until)
        except (Full, Late, Broken) as why:
            problem = problem if isinstance(problem, Full) else why
            fallen |= {place: Fallback(stage.name, WHY[type(why)]) for place in left if place not in fallen}
            continue
        for place, prediction in zip(left, made, strict=True):
            if prediction.answer is not None or prediction.why == "abstained" or out[place] is None:
                out[place] = Answered(prediction, stage, fallen.get(place))
            if prediction.answer is None and prediction.why != "abstained":
                fallen.setdefault(place, Fallback(stage.name, str(prediction.why or "failed")))
    answered = [one for one in out if one is not None]
    if len(answered) < len(out):
        assert problem is not None
        raise _failure(problem, len(service.stages))
    return answered


def foresee(engine: Engine, service: Service, cost: int, by: float) -> None:
    """Raises Busy where no stage could answer inputs of so many tokens in time: known before they are read."""
    waits = []
    for number, stage in enumerate(service.stages):
        try:
            engine.admit(stage.predictor, cost, by - reserve(service.stages[number + 1 :], by))
            return
        except Full as full:
            waits.append(full.after)
    raise Busy(min(waits))


WHY: Mapping[type[Exception], str] = {Full: "full", Late: "late", Broken: "failed", Exhausted: "failed"}


def _stands_in(one: Answered) -> bool:
    """Whether a later stage may still do better: there is no answer, and that was not meant."""
    return one.prediction.answer is None and one.prediction.why != "abstained"


def _failure(problem: Exception, stages: int) -> Exception:
    """504 is for a task that has nobody else; where there is a fallback, a client may try again."""
    if isinstance(problem, Full):
        return Busy(problem.after)
    return Busy(1.0) if stages > 1 and isinstance(problem, Late) else problem


async def _asked(
    engine: Engine, stage: Stage, predictor: Predictor, inputs: Sequence[Input], until: float
) -> list[Prediction]:
    started = time.monotonic()
    try:
        made = await engine.predict(predictor, inputs, until)
    except (Full, Late):
        raise
    except Exception as problem:
        if is_out_of_memory(problem):
            log.error("the contender %s had no memory for %d inputs: %s", stage.name, len(inputs), problem)
            raise Exhausted from problem
        log.exception("the contender %s failed", stage.name)
        raise Broken from problem
    stage.took(time.monotonic() - started)
    return made


def reserve(stages: Sequence[Stage], by: float) -> float:
    """Seconds that are kept for those who come after."""
    if not stages:
        return 0.0
    needed = sum(max(MARGIN * stage.seconds, LEAST) for stage in stages)
    return min(needed, SHARE * max(by - time.monotonic(), 0.0))


def facts_of(service: Service) -> dict[str, Any]:
    """What is told of a task: its contract, who answers, and what the evidence says."""
    task = service.task
    return {
        "task": service.name,
        "kind": task.kind,
        "definition": task.model_dump(mode="json"),
        "labels": list(service.labels),
        "input": dict(task.question()),
        "answer": dict(task.contract()),
        "stages": [{"contender": stage.name, "release": stage.release} for stage in service.stages],
        "deadline_ms": None if service.deadline is None else service.deadline * 1000,
        "streams": service.writes,
    }
