"""Who answers when the first cannot, and what a client is told of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from loratory.errors import Late
from loratory.protocols import Input, Prediction
from loratory.serving.app import make_app
from loratory.serving.cascade import SHARE, Answered, Broken, Busy, answer, reserve
from loratory.serving.engine import Engine
from loratory.serving.plain import Full
from loratory.serving.services import Service, Stage
from served import INTENTS, Plain, Reply, call, server_of, service
from served import answer as answers

NOW: dict[str, Exception] = {"full": Full(2.5), "late": Late(), "failed": RuntimeError("the disk is on fire")}


class Scripted(Engine):
    """An engine in which a stage fails as its predictor says."""

    async def predict(self, predictor: Any, inputs: Sequence[Input], by: float | None) -> list[Prediction]:
        if isinstance(predictor, Failing):
            raise NOW[predictor.how]
        return await super().predict(predictor, inputs, by)


class Failing(Plain):
    def __init__(self, how: str) -> None:
        super().__init__(INTENTS)
        self.how = how


def without(why: str, at: str = "") -> Plain:
    """Answers, but has none for texts with `at` in them."""

    def maybe(task: Any, input: Input) -> Prediction:
        return Prediction(None, why=why) if at in str(input["text"]) else answers(task, input)

    return Plain(INTENTS, maybe)


def asked(made: Service, *texts: str, seconds: float = 5.0) -> list[Answered]:
    inputs = [{"text": text} for text in texts]
    return asyncio.run(answer(Scripted(), made, inputs, time.monotonic() + seconds))


def told(one: Answered) -> tuple[Any, str, Any]:
    facts = one.facts()
    return facts["answer"] and facts["answer"]["label"], facts["served_by"], facts["fallback"]


@pytest.mark.parametrize("how", ["full", "late", "failed"])
def test_the_next_answers_and_says_why(how: str) -> None:
    made = asked(service("a", Failing(how), Plain(INTENTS)), "cash", "login")
    assert [told(one) for one in made] == [
        (label, "stage-2", {"from": "stage-1", "why": how}) for label in ("cash", "login")
    ]
    assert {one.facts()["release"] for one in made} == {"2" * 64}


@pytest.mark.parametrize("why", ["invalid", "long", "late", "failed"])
def test_only_what_has_no_answer_goes_on(why: str) -> None:
    seen: list[str] = []

    def noting(task: Any, input: Input) -> Prediction:
        seen.append(str(input["text"]))
        return answers(task, input)

    made = asked(service("a", without(why, "login"), Plain(INTENTS, noting)), "cash", "login", "card")
    assert [told(one) for one in made] == [
        ("cash", "stage-1", None),
        ("login", "stage-2", {"from": "stage-1", "why": why}),
        ("card", "stage-1", None),
    ]
    assert seen == ["login"]


def test_what_a_stage_abstains_from_is_final() -> None:
    (one,) = asked(service("a", without("abstained"), Plain(INTENTS)), "login")
    assert (told(one), one.status, one.facts()["confidence"]) == ((None, "stage-1", None), "abstained", 0.0)


def test_a_later_stage_that_fails_leaves_the_answers_that_there_are() -> None:
    made = asked(service("a", without("invalid", "login"), Failing("failed")), "cash", "login")
    assert [one.status for one in made] == ["answered", "invalid"]
    assert [one.stage.name for one in made] == ["stage-1", "stage-1"]


def test_the_first_reason_is_told_when_several_stages_cannot() -> None:
    (one,) = asked(service("a", Failing("late"), without("long"), Plain(INTENTS)), "cash")
    assert told(one) == ("cash", "stage-3", {"from": "stage-1", "why": "late"})


def raised(*predictors: Any) -> Exception:
    with pytest.raises((Busy, Late, Broken)) as found:
        asked(service("a", *predictors), "cash")
    return found.value


@pytest.mark.parametrize(
    ("ways", "expected", "after"),
    [
        (["full"], Busy, 2.5),
        (["late"], Late, None),
        (["failed"], Broken, None),
        (["full", "full"], Busy, 2.5),
        (["late", "full"], Busy, 2.5),
        (["full", "late"], Busy, 2.5),
        (["full", "failed"], Busy, 2.5),
        (["late", "late"], Busy, 1.0),
        (["failed", "failed"], Broken, None),
    ],
)
def test_when_nobody_can(ways: list[str], expected: type[Exception], after: float | None) -> None:
    problem = raised(*map(Failing, ways))
    assert type(problem) is expected
    assert getattr(problem, "after", None) == after


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
    server = server_of(tmp_path, service("a", *map(Failing, ways)))
    server.engine = Scripted()
    reply: Reply = call(make_app(server), "POST", "/v1/tasks/a/predict", {"inputs": ["cash"]})
    assert (reply.status, reply.error["code"], reply.headers.get("retry-after")) == (status, code, after)
    assert "fire" not in reply.body.decode()


def stage(seconds: float) -> Stage:
    plain: Any = Plain(INTENTS)
    return Stage("a", plain, "", seconds)


@pytest.mark.parametrize(("needs", "left"), [([0.001], 10.0), ([1.0], 10.0), ([4.0, 4.0], 10.0), ([9.0], 0.01)])
def test_what_is_kept_for_later_stages_is_what_they_need_and_half_at_most(needs: list[float], left: float) -> None:
    kept = reserve([stage(one) for one in needs], time.monotonic() + left)
    assert kept == pytest.approx(min(sum(2 * one for one in needs), SHARE * left), rel=0.1, abs=1e-3)
    assert kept <= 0.5 * left


def test_nothing_is_kept_for_nobody_and_nothing_after_the_deadline() -> None:
    assert reserve([], time.monotonic() + 10) == 0.0
    assert reserve([stage(1.0)], time.monotonic() - 1) == 0.0


def test_a_slow_stage_leaves_time_for_the_next() -> None:
    def slow(task: Any, input: Input) -> Prediction:
        time.sleep(1.0)
        return answers(task, input)

    made = service("a", Plain(INTENTS, slow), Plain(INTENTS))
    made.stages[1].seconds = 0.25  # what it lately needed
    started = time.monotonic()
    (one,) = asked(made, "cash", seconds=1.0)
    assert time.monotonic() - started < 1.0
    assert told(one) == ("cash", "stage-2", {"from": "stage-1", "why": "late"})


def test_probabilities_can_be_left_out() -> None:
    (one,) = asked(service("a", Plain(INTENTS)), "cash")
    facts: Mapping[str, Any] = one.facts()
    assert facts["probabilities"] == {"/label": {"card": 0.125, "cash": 0.75, "login": 0.125}}
    assert "probabilities" not in one.facts(probabilities=False)
