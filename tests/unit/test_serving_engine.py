"""What waits for one backbone is answered together; what nobody waits for any more is not computed."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, cast

import pytest

from loratory.errors import DeadlineExceeded
from loratory.protocols import InferencePlan, Input, Prediction
from loratory.serving.engine.batch_worker import EngineLimits
from loratory.serving.engine.engine_requests import EngineRequest, LoopFuture
from loratory.serving.engine.inference_engine import Engine
from loratory.serving.engine.thread_pool import CapacityExceeded
from loratory.serving.engine.token_estimates import estimate_tokens, split_inputs
from serving_fixtures import (
    FAILING_TEXT,
    INTENTS,
    THREATS,
    FakeBackbone,
    FakePredictor,
    encode_characters,
    make_plannable,
    predict_by_keyword,
)

Inputs = Sequence[Input]


def inputs(*texts: str) -> list[Input]:
    return [{"text": text} for text in texts]


def labels(made: Sequence[Prediction]) -> list[str]:
    return [one.answer["label"] for one in made if one.answer]


async def until(what: Callable[[], bool]) -> None:
    """Wait for something to be so."""
    end = time.monotonic() + 10
    while not what():
        assert time.monotonic() < end, "it did not happen"
        await asyncio.sleep(0.001)


@dataclass
class Held:
    """An engine whose bench is busy with "first" until it is let go."""

    engine: Engine
    bench: FakeBackbone
    first: asyncio.Task[list[Prediction]]

    def ask(self, predictor: Any, *texts: str, by: float | None = None) -> asyncio.Task[list[Prediction]]:
        return asyncio.create_task(self.engine.predict(predictor, inputs(*texts), by))

    async def waiting(self, tokens: int = 1) -> None:
        (worker,) = self.engine.list_workers().values()
        await until(lambda: worker.queued_tokens >= tokens)


def while_busy(do: Callable[[Held], Coroutine[Any, Any, None]], limits: EngineLimits | None = None) -> FakeBackbone:
    """Run a test while the bench is held up; what it saw."""

    async def run() -> FakeBackbone:
        bench, engine = FakeBackbone(), Engine(limits or EngineLimits())
        bench.unblocked.clear()
        first = asyncio.create_task(engine.predict(make_plannable(bench), inputs("first"), None))
        await until(bench.entered.is_set)
        try:
            await do(Held(engine, bench, first))
        finally:
            bench.unblocked.set()
        assert labels(await first) == ["card"]
        await until(lambda: not any(worker.queued_tokens for worker in engine.list_workers().values()))
        engine.close()
        return bench

    return asyncio.run(run())


def test_what_arrives_while_a_batch_is_computed_is_the_next_one() -> None:
    async def do(held: Held) -> None:
        one, other = make_plannable(held.bench), make_plannable(held.bench, THREATS)
        tasks = [held.ask(one, f"cash {n}") for n in range(5)] + [held.ask(other, f"injection {n}") for n in range(3)]
        await held.waiting(sum(estimate_tokens(inputs(text)) for text in ["cash 0"] * 5 + ["injection 0"] * 3))
        held.bench.unblocked.set()
        made = [labels(found) for found in await asyncio.gather(*tasks)]
        assert made == [["cash"]] * 5 + [["INJECTION"]] * 3

    bench = while_busy(do)
    assert [len(batch) for batch in bench.batches] == [1, 8]


def test_a_batch_ends_at_its_budget() -> None:
    async def do(held: Held) -> None:
        tasks = [held.ask(make_plannable(held.bench), "x" * 40) for _ in range(6)]  # 12 tokens each
        await held.waiting(6 * 12)
        held.bench.unblocked.set()
        await asyncio.gather(*tasks)

    assert [len(batch) for batch in while_busy(do, EngineLimits(batch_tokens=25)).batches] == [1, 2, 2, 2]


def test_a_full_queue_refuses_at_once_and_says_for_how_long() -> None:
    async def do(held: Held) -> None:
        predictor = make_plannable(held.bench)
        kept = held.ask(predictor, "x" * 80)  # 22 tokens
        await held.waiting(22)
        with pytest.raises(CapacityExceeded) as refused:
            await held.engine.predict(predictor, inputs("x" * 80), None)
        assert 0 < refused.value.retry_after < 60
        held.bench.unblocked.set()
        assert len(await kept) == 1

    assert "x" * 80 in while_busy(do, EngineLimits(queue_tokens=40)).seen_texts


def test_all_parts_of_a_long_list_are_queued_or_none() -> None:
    async def do(held: Held) -> None:
        predictor = make_plannable(held.bench)
        kept = held.ask(predictor, "kept" * 5)
        await held.waiting(7)
        with pytest.raises(CapacityExceeded):
            await held.engine.predict(predictor, inputs(*["x" * 40] * 6), None)
        held.bench.unblocked.set()
        await kept

    assert not any("x" in text for text in while_busy(do, EngineLimits(batch_tokens=24, queue_tokens=60)).seen_texts)


def test_what_would_be_late_is_refused_at_once() -> None:
    async def do(held: Held) -> None:
        (worker,) = held.engine.list_workers().values()
        worker.tokens_per_second = 10.0  # tokens a second: what waits takes 2.2 s
        predictor = make_plannable(held.bench)
        kept = held.ask(predictor, "x" * 80)
        await held.waiting(22)
        started = time.monotonic()
        with pytest.raises(CapacityExceeded):
            await held.engine.predict(predictor, inputs("late"), started + 1.0)
        assert time.monotonic() - started < 0.5
        soon = held.ask(predictor, "soon enough", by=started + 30.0)
        await held.waiting(24)
        held.bench.unblocked.set()
        assert len(await soon) == len(await kept) == 1

    assert "late" not in while_busy(do).seen_texts


def test_all_of_a_long_list_has_to_be_done_in_time() -> None:
    async def do(held: Held) -> None:
        (worker,) = held.engine.list_workers().values()
        worker.tokens_per_second = 20.0
        kept = held.ask(make_plannable(held.bench), "kept")
        await held.waiting(3)
        with pytest.raises(CapacityExceeded):  # the first part would be, the last would not
            await held.engine.predict(make_plannable(held.bench), inputs(*["x" * 40] * 6), time.monotonic() + 2.5)
        held.bench.unblocked.set()
        await kept

    assert not any("x" in text for text in while_busy(do, EngineLimits(batch_tokens=24)).seen_texts)


def test_who_waits_is_told_at_the_deadline_and_the_job_is_dropped() -> None:
    async def do(held: Held) -> None:
        started = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            await held.engine.predict(make_plannable(held.bench), inputs("late"), started + 0.05)
        assert 0.04 < time.monotonic() - started < 1.0

    assert "late" not in while_busy(do).seen_texts


def test_cancelled_jobs_are_not_worked_on() -> None:
    async def do(held: Held) -> None:
        left, stays = held.ask(make_plannable(held.bench), "left"), held.ask(make_plannable(held.bench), "stays")
        await held.waiting(6)
        left.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await left
        held.bench.unblocked.set()
        await stays

    bench = while_busy(do)
    assert "left" not in bench.seen_texts
    assert "stays" in bench.seen_texts


def test_a_failing_neighbour_does_not_fail_the_others() -> None:
    async def do(held: Held) -> None:
        good, bad = make_plannable(held.bench), make_plannable(held.bench, THREATS)
        tasks = [held.ask(good, "cash"), held.ask(bad, FAILING_TEXT), held.ask(good, "login")]
        await held.waiting(9)
        held.bench.unblocked.set()
        made = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(made[1], RuntimeError)
        assert [labels(one) for one in (made[0], made[2]) if isinstance(one, list)] == [["cash"], ["login"]]

    while_busy(do)


def test_a_lane_lives_on_when_a_predictor_fails_and_when_a_loop_is_gone() -> None:
    bench, engine = FakeBackbone(), Engine()
    predictor = make_plannable(bench)
    with pytest.raises(RuntimeError):
        asyncio.run(engine.predict(predictor, inputs(FAILING_TEXT), None))
    bench.unblocked.clear()
    loop = asyncio.new_event_loop()
    left = EngineRequest(predictor.plan, inputs("left"), None, 1, LoopFuture(loop))
    engine.get_worker(cast(Any, bench)).enqueue([left])
    loop.close()  # before its answer comes
    bench.unblocked.set()
    assert labels(asyncio.run(asyncio.wait_for(engine.predict(predictor, inputs("cash"), None), 5))) == ["cash"]


def test_a_long_list_is_cut_and_comes_back_in_order() -> None:
    bench = FakeBackbone()
    texts = [f"{('card', 'cash', 'login')[n % 3]} number {n}" for n in range(100)]
    made = asyncio.run(Engine(EngineLimits(batch_tokens=30)).predict(make_plannable(bench), inputs(*texts), None))
    assert labels(made) == [text.split()[0] for text in texts]
    assert bench.seen_texts == texts
    assert max(len(batch) for batch in bench.batches) <= 6


def test_slices() -> None:
    parts = list(split_inputs(inputs("x" * 40, "y" * 400, *["z" * 12] * 5), 24))
    assert [[str(one["text"])[0] for one in part] for part, _ in parts] == [["x"], ["y"], ["z"] * 4, ["z"]]
    assert [cost for _, cost in parts] == [12, 102, 20, 5]
    assert [cost for _, cost in split_inputs(inputs("x" * 40, "y" * 40), 0, 100)] == [
        112,
        112,
    ]  # what may be written, too
    assert [estimate_tokens(inputs(text)) for text in ("", "abcd", "x" * 400)] == [2, 3, 102]
    assert estimate_tokens([{"history": [{"role": "user", "content": "x" * 400}], "prompt": "y" * 40}]) > 110


class Twice:
    """Asks twice, and does not say what."""

    def __init__(self, bench: FakeBackbone) -> None:
        self.inner = make_plannable(bench)
        self.task, self.network = INTENTS, self.inner.network

    def predict(self, inputs: Inputs, run: Any) -> list[Prediction]:
        first = run(self.inner.requests(inputs))
        second = run(self.inner.requests([{"text": text[::-1]} for text in first]))
        return [self.inner.answers(INTENTS, {"text": text[::-1]}) for text in second]


class Unsure(Twice):
    """Could ask at once, but not now."""

    def plan(self, inputs: Inputs) -> InferencePlan | None:
        return None


@pytest.mark.parametrize("kind", [Twice, Unsure])
def test_a_predictor_that_goes_step_by_step_waits_in_a_thread(kind: type[Twice]) -> None:
    bench, engine = FakeBackbone(), Engine()
    predictor: Any = kind(bench)
    assert labels(asyncio.run(engine.predict(predictor, inputs("cash", "login"), None))) == ["cash", "login"]
    assert bench.batches == [["cash", "login"], ["hsac", "nigol"]]


def test_it_is_late_there_too_and_what_it_left_is_not_computed() -> None:
    async def do(held: Held) -> None:
        predictor: Any = Twice(held.bench)
        with pytest.raises(DeadlineExceeded):
            await held.engine.predict(predictor, inputs("late"), time.monotonic() + 0.05)

    assert "late" not in while_busy(do).seen_texts


def test_it_is_not_computed_either_when_its_client_has_gone() -> None:
    async def do(held: Held) -> None:
        left = held.ask(Twice(held.bench), "left", by=time.monotonic() + 30)
        await held.waiting(6)
        left.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await left

    assert "left" not in while_busy(do).seen_texts


def test_predictors_without_a_backbone_have_their_threads_and_a_bound() -> None:
    free = threading.Event()

    def slow(task: Any, input: Input) -> Prediction:
        assert free.wait(10)
        return predict_by_keyword(task, input)

    plain: Any = FakePredictor(INTENTS, slow)

    async def run() -> None:
        engine = Engine(EngineLimits(threads=1))
        tasks = [asyncio.create_task(engine.predict(plain, inputs("cash"), None)) for _ in range(16)]
        await asyncio.sleep(0.01)
        with pytest.raises(CapacityExceeded):
            await engine.predict(plain, inputs("login"), None)
        tasks.pop().cancel()
        await asyncio.sleep(0)
        with pytest.raises(DeadlineExceeded):  # it does not wait for a thread that is free after the deadline
            await engine.predict(plain, inputs("login"), time.monotonic() + 0.05)
        free.set()
        assert [labels(made) for made in await asyncio.gather(*tasks)] == [["cash"]] * 15

    asyncio.run(run())


def test_predictors_in_python_take_turns() -> None:
    inside, most = [0], [0]

    def counting(task: Any, input: Input) -> Prediction:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        time.sleep(0.005)
        inside[0] -= 1
        return predict_by_keyword(task, input)

    plain: Any = FakePredictor(INTENTS, counting)

    async def run() -> None:
        engine = Engine(EngineLimits(threads=4))
        await asyncio.gather(*(engine.predict(plain, inputs("cash"), None) for _ in range(12)))

    asyncio.run(run())
    assert most == [1]


def test_who_waits_for_a_backbone_lets_others_have_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loratory.serving.engine.thread_pool.LOCK_TIMEOUT_SECONDS", 20.0)

    async def do(held: Held) -> None:
        twice: Any = Twice(held.bench)
        plain: Any = FakePredictor(INTENTS)
        waits = held.ask(twice, "cash")
        await held.waiting(6)
        assert labels(await asyncio.wait_for(held.engine.predict(plain, inputs("login"), None), 5)) == ["login"]
        held.bench.unblocked.set()
        assert labels(await waits) == ["cash"]

    while_busy(do)


def count_worker_threads() -> int:
    return sum(thread.name == "worker-mortal" for thread in threading.enumerate())


def test_a_lane_ends_with_its_backbone() -> None:
    bench = FakeBackbone("mortal", "mortal")
    engine = Engine()
    predictor = make_plannable(bench)
    assert labels(asyncio.run(engine.predict(predictor, inputs("cash"), None))) == ["cash"]
    assert (count_worker_threads(), list(engine.list_workers())) == (1, ["mortal"])
    del bench, predictor
    end = time.monotonic() + 5
    while count_worker_threads() and time.monotonic() < end:
        gc.collect()
        time.sleep(0.01)
    assert (count_worker_threads(), list(engine.list_workers())) == (0, [])


def test_requests_of_a_test_are_characters() -> None:
    assert encode_characters("ab") == (97, 98)


# -- what needs no backbone
def slowly(seconds: float) -> Any:
    def work(task: Any, input: Input) -> Prediction:
        time.sleep(seconds)
        return predict_by_keyword(task, input)

    return FakePredictor(INTENTS, work)


def test_python_predictors_are_refused_by_how_long_they_take() -> None:
    async def run() -> None:
        engine, slow = Engine(), slowly(0.2)
        text = "card " * 20
        assert labels(await engine.predict(slow, inputs(text), None)) == ["card"]  # 0.2 s, it is known now
        kept = [asyncio.create_task(engine.predict(slow, inputs(text), None)) for _ in range(3)]
        await asyncio.sleep(0.02)
        with pytest.raises(CapacityExceeded) as refused:
            await engine.predict(slow, inputs(text), time.monotonic() + 0.5)
        assert 0.4 < refused.value.retry_after < 0.8
        with pytest.raises(CapacityExceeded):
            engine.admit(slow, estimate_tokens(inputs(text)), time.monotonic() + 0.5)
        engine.admit(slow, estimate_tokens(inputs(text)), time.monotonic() + 2.0)
        assert [labels(one) for one in await asyncio.gather(*kept)] == [["card"]] * 3
        engine.admit(
            slow, estimate_tokens(inputs(text)), time.monotonic() + 0.01
        )  # nobody waits: whoever comes may try
        engine.close()

    asyncio.run(run())


def test_calls_that_nobody_waits_for_are_not_counted() -> None:
    async def run() -> None:
        engine, slow = Engine(EngineLimits(threads=1)), slowly(0.1)
        calls = [asyncio.create_task(engine.predict(slow, inputs("card"), None)) for _ in range(6)]
        await asyncio.sleep(0.02)
        for call in calls[1:]:
            call.cancel()
        assert labels(await calls[0]) == ["card"]
        await until(lambda: not engine._thread_pool._pending_calls)
        assert engine._thread_pool._pending_seconds == pytest.approx(0)
        engine.close()

    asyncio.run(run())


def test_time_that_is_spent_in_a_lane_is_not_python_time() -> None:
    async def do(held: Held) -> None:
        twice: Any = Twice(held.bench)
        waits = held.ask(twice, "cash")
        await held.waiting(6)
        await asyncio.sleep(0.3)
        held.bench.unblocked.set()
        assert labels(await waits) == ["cash"]
        assert held.engine._thread_pool._seconds_per_token[Twice] * estimate_tokens(inputs("cash")) < 0.2

    while_busy(do)


# -- several tasks on a text
class Layered(FakeBackbone):
    """Of whose layers a quarter is a task's own."""

    def incremental_cost(self, network: Any) -> float:
        return 0.25


@pytest.mark.parametrize(("bench", "rows"), [(Layered(), 16), (FakeBackbone(), 7)])
def test_a_batch_counts_what_tasks_share_of_a_text_once(bench: FakeBackbone, rows: int) -> None:
    """112 tokens are 7 texts of 16, or 4 of them for one task and a quarter of that for three more."""

    async def run() -> None:
        engine = Engine(EngineLimits(batch_tokens=112))
        tasks = [make_plannable(bench) for _ in range(4)]
        bench.unblocked.clear()
        first = asyncio.create_task(engine.predict(tasks[0], inputs("first"), None))
        await until(bench.entered.is_set)
        texts = [f"{number} {'x' * 54}" for number in range(4)]  # 14 tokens and two around
        asked = [engine.predict(task, inputs(text), None) for text in texts for task in tasks]
        calls = [asyncio.create_task(one) for one in asked]
        (worker,) = engine.list_workers().values()
        await until(lambda: worker.queued_tokens == 16 * 16)
        bench.unblocked.set()
        await asyncio.gather(first, *calls)
        assert len(bench.batches[1]) == rows
        engine.close()

    asyncio.run(run())
