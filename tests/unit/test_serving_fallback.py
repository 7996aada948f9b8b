"""Who answers when the first cannot, and what a client is told of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from loratory.errors import DeadlineExceeded
from loratory.protocols import Input, Prediction
from loratory.serving.app import create_app
from loratory.serving.engine.fallback_chain import (
    MAX_RESERVE_SHARE,
    Overloaded,
    PredictorFailed,
    StagedAnswer,
    answer_inputs,
    reserve_for_fallback,
)
from loratory.serving.engine.inference_engine import Engine
from loratory.serving.engine.service_registry import FallbackStage, Service
from loratory.serving.engine.thread_pool import CapacityExceeded
from serving_fixtures import INTENTS, FakePredictor, Reply, make_server, make_service, send_request
from serving_fixtures import predict_by_keyword as answers

NOW: dict[str, Exception] = {
    "full": CapacityExceeded(2.5),
    "late": DeadlineExceeded(),
    "failed": RuntimeError("the disk is on fire"),
}


class Scripted(Engine):
    """An engine in which a stage fails as its predictor says."""

    async def predict(
        self, predictor: Any, inputs: Sequence[Input], by: float | None, source: Any = None
    ) -> list[Prediction]:
        if isinstance(predictor, Failing):
            raise NOW[predictor.how]
        return await super().predict(predictor, inputs, by, source)


class Failing(FakePredictor):
    def __init__(self, how: str) -> None:
        super().__init__(INTENTS)
        self.how = how


def without(why: str, at: str = "") -> FakePredictor:
    """Answers, but has none for texts with `at` in them."""

    def maybe(task: Any, input: Input) -> Prediction:
        return Prediction(None, reason=why) if at in str(input["text"]) else answers(task, input)

    return FakePredictor(INTENTS, maybe)


def answer_texts(made: Service, *texts: str, seconds: float = 5.0) -> list[StagedAnswer]:
    inputs = [{"text": text} for text in texts]
    return asyncio.run(answer_inputs(Scripted(), made, inputs, time.monotonic() + seconds))


def summarise_answer(one: StagedAnswer) -> tuple[Any, str, Any]:
    facts = one.to_json()
    return facts["answer"] and facts["answer"]["label"], facts["served_by"], facts["fallback"]


@pytest.mark.parametrize("how", ["full", "late", "failed"])
def test_the_next_answers_and_says_why(how: str) -> None:
    made = answer_texts(make_service("a", Failing(how), FakePredictor(INTENTS)), "cash", "login")
    assert [summarise_answer(one) for one in made] == [
        (label, "stage-2", {"from": "stage-1", "reason": how}) for label in ("cash", "login")
    ]
    assert {one.to_json()["release"] for one in made} == {"2" * 64}


@pytest.mark.parametrize("why", ["invalid", "long", "late", "failed"])
def test_only_what_has_no_answer_goes_on(why: str) -> None:
    seen: list[str] = []

    def noting(task: Any, input: Input) -> Prediction:
        seen.append(str(input["text"]))
        return answers(task, input)

    made = answer_texts(
        make_service("a", without(why, "login"), FakePredictor(INTENTS, noting)), "cash", "login", "card"
    )
    assert [summarise_answer(one) for one in made] == [
        ("cash", "stage-1", None),
        ("login", "stage-2", {"from": "stage-1", "reason": why}),
        ("card", "stage-1", None),
    ]
    assert seen == ["login"]


def test_what_a_stage_abstains_from_is_final() -> None:
    (one,) = answer_texts(make_service("a", without("abstained"), FakePredictor(INTENTS)), "login")
    assert (summarise_answer(one), one.status, one.to_json()["confidence"]) == (
        (None, "stage-1", None),
        "abstained",
        0.0,
    )


def test_a_later_stage_that_fails_leaves_the_answers_that_there_are() -> None:
    made = answer_texts(make_service("a", without("invalid", "login"), Failing("failed")), "cash", "login")
    assert [one.status for one in made] == ["answered", "invalid"]
    assert [one.stage.name for one in made] == ["stage-1", "stage-1"]


def test_the_first_reason_is_told_when_several_stages_cannot() -> None:
    (one,) = answer_texts(make_service("a", Failing("late"), without("long"), FakePredictor(INTENTS)), "cash")
    assert summarise_answer(one) == ("cash", "stage-3", {"from": "stage-1", "reason": "late"})


def catch_failure(*predictors: Any) -> Exception:
    with pytest.raises((Overloaded, DeadlineExceeded, PredictorFailed)) as found:
        answer_texts(make_service("a", *predictors), "cash")
    return found.value


@pytest.mark.parametrize(
    ("ways", "expected", "after"),
    [
        (["full"], Overloaded, 2.5),
        (["late"], DeadlineExceeded, None),
        (["failed"], PredictorFailed, None),
        (["full", "full"], Overloaded, 2.5),
        (["late", "full"], Overloaded, 2.5),
        (["full", "late"], Overloaded, 2.5),
        (["full", "failed"], Overloaded, 2.5),
        (["late", "late"], Overloaded, 1.0),
        (["failed", "failed"], PredictorFailed, None),
    ],
)
def test_when_nobody_can(ways: list[str], expected: type[Exception], after: float | None) -> None:
    problem = catch_failure(*map(Failing, ways))
    assert type(problem) is expected
    assert getattr(problem, "retry_after", None) == after


@pytest.mark.parametrize(
    ("ways", "status", "code", "after"),
    [
        (["full", "full"], 429, "busy", "3"),
        (["late", "full"], 429, "busy", "3"),
        (["late"], 504, "late", None),
        (["late", "late"], 429, "busy", "1"),
        (["failed"], 500, "internal", None),
    ],
)
def test_what_a_client_is_told_when_nobody_can(
    ways: list[str], status: int, code: str, after: str | None, tmp_path: Path
) -> None:
    server = make_server(tmp_path, make_service("a", *map(Failing, ways)))
    server.engine = Scripted()
    reply: Reply = send_request(create_app(server), "POST", "/v1/tasks/a/predict", {"inputs": ["cash"]})
    assert (reply.status, reply.error["code"], reply.headers.get("retry-after")) == (status, code, after)
    assert "fire" not in reply.body.decode()


def stage(seconds: float) -> FallbackStage:
    plain: Any = FakePredictor(INTENTS)
    return FallbackStage("a", plain, "", seconds)


@pytest.mark.parametrize(("needs", "left"), [([0.001], 10.0), ([1.0], 10.0), ([4.0, 4.0], 10.0), ([9.0], 0.01)])
def test_what_is_kept_for_later_stages_is_what_they_need_and_half_at_most(needs: list[float], left: float) -> None:
    kept = reserve_for_fallback([stage(one) for one in needs], time.monotonic() + left)
    assert kept == pytest.approx(min(sum(2 * one for one in needs), MAX_RESERVE_SHARE * left), rel=0.1, abs=1e-3)
    assert kept <= 0.5 * left


def test_nothing_is_kept_for_nobody_and_nothing_after_the_deadline() -> None:
    assert reserve_for_fallback([], time.monotonic() + 10) == 0.0
    assert reserve_for_fallback([stage(1.0)], time.monotonic() - 1) == 0.0


def test_a_slow_stage_leaves_time_for_the_next() -> None:
    def slow(task: Any, input: Input) -> Prediction:
        time.sleep(1.0)
        return answers(task, input)

    made = make_service("a", FakePredictor(INTENTS, slow), FakePredictor(INTENTS))
    made.stages[1].seconds = 0.25  # what it lately needed
    started = time.monotonic()
    (one,) = answer_texts(made, "cash", seconds=1.0)
    assert time.monotonic() - started < 1.0
    assert summarise_answer(one) == ("cash", "stage-2", {"from": "stage-1", "reason": "late"})


def test_probabilities_can_be_left_out() -> None:
    (one,) = answer_texts(make_service("a", FakePredictor(INTENTS)), "cash")
    facts: Mapping[str, Any] = one.to_json()
    assert facts["probabilities"] == {"/label": {"card": 0.125, "cash": 0.75, "login": 0.125}}
    assert "probabilities" not in one.to_json(probabilities=False)
