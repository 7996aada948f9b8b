"""The engine: everything that waits for one backbone is answered together, whichever task and adapter it is for.

A lane is a thread and a queue for each backbone; predictors without a backbone share a few threads. Batches form by
themselves: what arrives while a batch is computed is the next one, and texts join those that are being written
(desk.py). A job is refused at once where the queue is full or would not be done in time, because an answer that nobody
waits for any more costs as much as one that is wanted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

from loratory.backbones.forward.execution import group_by_backbone, is_in_time
from loratory.errors import DeadlineExceeded
from loratory.protocols import GenerateRequest, InferencePlan, InferenceRequest, Input, Prediction, Predictor
from loratory.serving.engine.moving_average import update_moving_average
from loratory.serving.engine.scheduler import GenerationScheduler
from loratory.serving.engine.thread_pool import CapacityExceeded, FairLock, ThreadPoolBackend, fits_deadline

log = logging.getLogger("loratory.serving")

CHARACTERS_PER_TOKEN = 4  # of a token, roughly: what a queue holds is estimated before anything is tokenised
SPECIAL_TOKENS_PER_ROW = 2  # special tokens of a row
INITIAL_TOKENS_PER_SECOND = 4000.0  # tokens a second, until a lane has been measured


class MultiStepPredictor(Exception):
    """A predictor cannot say at once what it needs: it goes step by step, in a thread."""


@dataclass(frozen=True)
class EngineLimits:
    """Bounds of a lane."""

    batch_tokens: int = 2048  # of one pass, estimated; a single job may be more
    queue_tokens: int = 65_536  # that wait, estimated
    threads: int = 4  # for predictors that need no backbone
    max_sequences: int = 16  # that are written side by side
    max_sequence_tokens: int = 32_768  # of them, prompts and budgets; a single job may be more


@dataclass(eq=False)
class EngineRequest:
    """Inputs for one predictor, or requests of one whose work goes step by step."""

    plan: Callable[[Sequence[Input]], InferencePlan | None]
    inputs: Sequence[Input]
    deadline: float | None
    token_cost: int
    future: Future[Any] | LoopFuture
    batch_group: int = 0  # jobs with the same number are asked for at once
    abandoned: threading.Event | None = None  # set when nobody waits for the thread that asked
    generates: bool = False  # whether all that it asks for is written
    incremental_cost: float = (
        1.0  # the part of a pass that it needs for itself where its texts are in the batch already
    )

    @cached_property
    def sharing_key(self) -> str:
        """What tells its inputs from others', where some of a pass can be shared."""
        return str(self.inputs) if self.incremental_cost < 1 else ""

    def is_active(self) -> bool:
        """Whether somebody still waits for it."""
        left = self.abandoned is not None and self.abandoned.is_set()
        return not left and not self.future.cancelled() and is_in_time(self.deadline)


def estimate_tokens(inputs: Sequence[Input], max_new_tokens: int = 0) -> int:
    """Tokens of these inputs, estimated, and those that may be written behind each."""
    cost = 0
    for one in inputs:
        size = 0
        for value in one.values():
            size += len(value) if isinstance(value, str) else _count_characters(value)
        cost += size // CHARACTERS_PER_TOKEN + SPECIAL_TOKENS_PER_ROW + max_new_tokens
    return cost


def _count_characters(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(_count_characters(part) for part in value.values())
    if isinstance(value, (list, tuple)):
        return sum(_count_characters(part) for part in value)
    return 1


class BatchWorker:
    """The queue of one backbone and the thread that works through it."""

    def __init__(self, name: str, limits: EngineLimits, threads: Callable[[], int] = lambda: 0) -> None:
        self.name, self.limits, self._thread_budget, self._thread_count = name, limits, threads, 0
        self.tokens_per_second = INITIAL_TOKENS_PER_SECOND  # tokens a second
        self.batches = self.rows = 0
        self._waiting: deque[EngineRequest] = deque()
        self._waiting_tokens = 0
        self._running_tokens, self._running_since = 0, 0.0
        self._ready = threading.Condition()
        self._scheduler = GenerationScheduler(limits.max_sequences, limits.max_sequence_tokens)
        self._accepting = True
        self._thread = threading.Thread(target=self._run_loop, name=f"lane-{name}", daemon=True)
        self._thread.start()

    @property
    def queued_tokens(self) -> int:
        """Estimated tokens that wait."""
        return self._waiting_tokens + self._scheduler.queued_tokens

    def estimate_wait(self) -> float:
        """Seconds until a job that is not written would begin if it came now, estimated."""
        spent = time.monotonic() - self._running_since if self._running_tokens else 0.0
        return self._waiting_tokens / self.tokens_per_second + max(
            self._running_tokens / self.tokens_per_second - spent, 0.0
        )

    def admit(self, token_cost: int, deadline: float | None, generates: bool = False) -> None:
        """Raises CapacityExceeded where so many tokens more have no room, or would not be done in time."""
        over = self.queued_tokens and self.queued_tokens + token_cost > self.limits.queue_tokens
        wait = self._scheduler.estimate_wait(token_cost) if generates else self.estimate_wait()
        needed = wait + token_cost / (self._scheduler.tokens_per_second if generates else self.tokens_per_second)
        waits = self._scheduler.busy if generates else self._waiting_tokens
        if over or not self._accepting or (waits and not fits_deadline(needed, deadline)):
            raise CapacityExceeded(wait)

    def enqueue(self, requests: Sequence[EngineRequest]) -> None:
        """Queue jobs of one request, all or none. Raises CapacityExceeded."""
        cost, writes = sum(job.token_cost for job in requests), requests[0].generates
        with self._ready:
            self.admit(cost, requests[0].deadline, writes)
            if writes:
                for job in requests:
                    self._scheduler.enqueue(job)
            else:
                self._waiting.extend(requests)
                self._waiting_tokens += cost
            self._ready.notify()

    def close(self) -> None:
        """Let the thread end when the queue is empty."""
        with self._ready:
            self._accepting = False
            self._ready.notify()

    def _take_next(self) -> tuple[list[EngineRequest], list[Any]] | None:
        """What is next, to be answered at once and to be written; None when the lane is closed."""
        with self._ready:
            while not (self._waiting or self._scheduler.busy):
                if not self._accepting:
                    return None
                self._ready.wait()
            return self._form_batch(), self._scheduler.take_admissible()

    def _form_batch(self) -> list[EngineRequest]:
        """Whatever waits, up to the budget, and to what is computed in half of the time that the first job has.

        The budget counts what is computed, and several tasks share what lies below their adapters on a text.
        """
        batch: list[EngineRequest] = []
        cost, computed, texts = 0, 0.0, set[str]()
        most, quick = self.limits.batch_tokens, float("inf")
        if self._waiting and (by := self._waiting[0].deadline) is not None:
            quick = self.tokens_per_second * max(by - time.monotonic(), 0.0) / 2
        while self._waiting:
            job = self._waiting[0]
            own = job.token_cost * (job.incremental_cost if job.sharing_key in texts else 1.0)
            if batch and (computed + own > most or cost + job.token_cost > quick):
                break
            batch.append(self._waiting.popleft())
            cost, computed = cost + job.token_cost, computed + own
            texts |= {job.sharing_key}
        self._waiting_tokens -= cost
        self._running_tokens, self._running_since = cost, time.monotonic()
        return batch

    def _run_loop(self) -> None:
        while self._run_iteration():
            pass

    def _run_iteration(self) -> bool:
        """One batch, and one token of what is written; nothing of it is held while the lane waits for the next, or its
        backbone would never go.
        """
        taken = self._take_next()
        if taken is None:
            return False
        batch, written = taken
        self._set_torch_threads()
        try:
            self._execute_batch(batch)
        except BaseException as problem:  # the lane lives on: its other callers wait
            log.exception("lane %s", self.name)
            resolve_futures([(job, None, problem) for job in batch])
        self._running_tokens = 0
        try:
            self._generate_tokens(written)
        except BaseException as problem:
            log.exception("lane %s", self.name)
            resolve_futures([*self._scheduler.abort_all(problem), *[(job, None, problem) for job in written]])
        return True

    def _set_torch_threads(self) -> None:
        """Compute with as many threads as are this lane's now."""
        if (team := self._thread_budget()) != self._thread_count:
            import torch

            torch.set_num_threads(team)  # of this thread's products alone
            self._thread_count = team

    def _generate_tokens(self, requests: Sequence[Any]) -> None:
        """One token more of all that is being written."""
        if not requests and not self._scheduler.busy:
            return
        ended = self._scheduler.step(requests)
        self.batches, self.rows = self.batches + 1, self.rows + sum(len(job.inputs) for job, _, _ in ended)
        resolve_futures(ended)

    def _execute_batch(self, batch: Sequence[EngineRequest]) -> None:
        alive = [job for job in batch if job.is_active()]
        resolve_futures([(job, None, DeadlineExceeded()) for job in batch if not job.is_active()])
        if not alive:
            return
        started = time.perf_counter()
        try:
            resolve_futures([(job, made, None) for job, made in zip(alive, self._predict_batch(alive), strict=True)])
            self._update_rate(sum(job.token_cost for job in alive), time.perf_counter() - started)
            self.batches, self.rows = self.batches + 1, self.rows + sum(len(job.inputs) for job in alive)
        except Exception as problem:
            if len(alive) == 1:
                resolve_futures([(alive[0], None, problem)])
                return
            for job in alive:  # one of them fails: the others are answered
                self._execute_batch([job])

    def _update_rate(self, tokens: int, seconds: float) -> None:
        self.tokens_per_second = update_moving_average(self.tokens_per_second, tokens / max(seconds, 1e-6))

    def _predict_batch(self, batch: Sequence[EngineRequest]) -> list[list[Any]]:
        """What comes of each job, all of them in as few passes as their backbone needs."""
        groups: dict[int, list[EngineRequest]] = {}
        for job in batch:
            groups.setdefault(job.batch_group or id(job), []).append(job)
        asked = []
        for mine in groups.values():
            one = mine[0].plan([input for job in mine for input in job.inputs])
            if one is None:
                raise MultiStepPredictor
            asked.append((mine, one))
        owners = [mine for mine, one in asked for _ in one.requests]
        requests = [request for _, one in asked for request in one.requests]
        found = iter(execute_requests(requests, lambda place: any(job.is_active() for job in owners[place])))
        out: dict[int, list[Any]] = {}
        for mine, one in asked:
            made = iter(one.read_outputs([next(found) for _ in one.requests]))
            for job in mine:
                out[id(job)] = [next(made) for _ in job.inputs]
        return [out[id(job)] for job in batch]


def execute_requests(requests: Sequence[InferenceRequest], is_active: Callable[[int], bool]) -> list[Any]:
    """Requests of one backbone, by kind. Only what is written is stopped on the way: a pass is soon over."""
    out: dict[int, Any] = {}
    for do, places in group_by_backbone(requests):
        mine = [requests[place] for place in places]
        written = isinstance(mine[0], GenerateRequest)
        made = do(mine, lambda k, places=places: is_active(places[k])) if written else do(mine)
        out.update(zip(places, made, strict=True))
    return [out[place] for place in range(len(requests))]


def resolve_futures(results: Iterable[tuple[EngineRequest, Any, BaseException | None]]) -> None:
    """Hand results to whoever waits; one wake-up for each event loop, however many of its jobs have ended."""
    loops: dict[Any, list[tuple[EngineRequest, Any, BaseException | None]]] = {}
    for one in results:
        job, made, problem = one
        if isinstance(job.future, LoopFuture):
            loops.setdefault(job.future.loop, []).append(one)
        else:
            _resolve_future(job.future, made, problem)
    for loop, several in loops.items():
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits there
            loop.call_soon_threadsafe(_resolve_on_loop, several)


def _resolve_on_loop(results: Iterable[tuple[EngineRequest, Any, BaseException | None]]) -> None:
    for job, made, problem in results:
        _resolve_future(job.future, made, problem)


def _resolve_future(future: Future[Any] | LoopFuture, result: Any, problem: BaseException | None) -> None:
    try:
        if problem is not None:
            future.set_exception(problem)
        else:
            future.set_result(result)
    except InvalidStateError:  # nobody waits any more
        return


class LoopFuture:
    """A future that is settled on its event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.inner: asyncio.Future[Any] = loop.create_future()

    def set_result(self, result: Any) -> None:
        """On its loop."""
        if not self.inner.done():
            self.inner.set_result(result)

    def set_exception(self, problem: BaseException) -> None:
        """On its loop."""
        if not self.inner.done():
            self.inner.set_exception(problem)

    def cancelled(self) -> bool:
        """Whether nobody waits any more."""
        return self.inner.cancelled()


@dataclass
class Engine:
    """Lanes by backbone, and threads for what needs none."""

    limits: EngineLimits = field(default_factory=EngineLimits)
    compute_threads: int = 0  # for the products of all lanes together; 0: as torch has it

    def __post_init__(self) -> None:
        self._workers: dict[str, BatchWorker] = {}
        self._lock = threading.Lock()
        self._thread_pool = ThreadPoolBackend(self.limits.threads)

    def admit(self, predictor: Predictor, token_cost: int, deadline: float | None) -> None:
        """Raises CapacityExceeded where inputs of so many tokens would have no room, or no answer in time."""
        backbone, most = backbone_of(predictor), max_new_tokens_of(predictor)
        if backbone is None or not is_plannable(predictor):
            self._thread_pool.admit(type(unwrap_predictor(predictor)), token_cost, deadline)
        else:
            self.get_worker(backbone).admit(token_cost + most, deadline, bool(most))

    async def predict(self, predictor: Predictor, inputs: Sequence[Input], deadline: float | None) -> list[Prediction]:
        """One prediction for each input. Raises CapacityExceeded, DeadlineExceeded, and what the predictor raises."""
        loop = asyncio.get_running_loop()
        backbone = backbone_of(predictor)
        if backbone is None or not is_plannable(predictor):
            return await self._predict_in_thread(predictor, inputs, deadline)
        most = max_new_tokens_of(predictor)  # each text for itself: they end at different times
        own = (
            backbone.incremental_cost(unwrap_predictor(predictor).network)
            if hasattr(backbone, "incremental_cost")
            else 1.0
        )
        asking: Any = predictor
        jobs = [
            EngineRequest(asking.plan, part, deadline, cost, LoopFuture(loop), id(predictor), None, bool(most), own)
            for part, cost in split_inputs(inputs, 0 if most else self.limits.batch_tokens, most)
        ]
        self.get_worker(backbone).enqueue(jobs)
        waiting = [job.future.inner for job in jobs if isinstance(job.future, LoopFuture)]
        try:
            async with asyncio.timeout_at(None if deadline is None else loop.time() + deadline - time.monotonic()):
                done = [await one for one in waiting]
        except TimeoutError:
            raise DeadlineExceeded from None
        except MultiStepPredictor:
            return await self._predict_in_thread(predictor, inputs, deadline)
        finally:
            for one in waiting:
                if one.done():
                    one.cancelled() or one.exception()  # seen, so that nobody complains of it
                one.cancel()
        return [prediction for part in done for prediction in part]

    async def _predict_in_thread(
        self, predictor: Predictor, inputs: Sequence[Input], deadline: float | None
    ) -> list[Prediction]:
        kind, cost = type(unwrap_predictor(predictor)), estimate_tokens(inputs)
        return await self._thread_pool.predict(
            predictor, kind, inputs, cost, deadline, partial(self.make_runner, deadline)
        )

    def make_runner(
        self, deadline: float | None, abandoned: threading.Event | None = None, lock: FairLock | None = None
    ) -> Callable[..., list[Any]]:
        """`run` for a predictor that goes step by step, in a thread of its own, until nobody waits for it.

        While it waits it lets others have their `turn`, where its thread has one.
        """

        def run(requests: Sequence[InferenceRequest], until: float | None = None) -> list[Any]:
            last = min((moment for moment in (deadline, until) if moment is not None), default=None)
            groups: dict[str, list[int]] = {}
            for place, request in enumerate(requests):
                groups.setdefault(request.network.backbone.digest, []).append(place)
            jobs: list[tuple[list[int], Future[Any]]] = []
            for places in groups.values():
                mine = [requests[place] for place in places]
                future: Future[Any] = Future()
                job = EngineRequest(
                    _plan_requests(mine),
                    mine,  # type: ignore[arg-type]
                    last,
                    sum(map(_count_request_tokens, mine)),
                    future,
                    abandoned=abandoned,
                )
                job.generates = all(isinstance(request, GenerateRequest) for request in mine)
                self.get_worker(mine[0].network.backbone).enqueue([job])
                jobs.append((places, future))
            out: dict[int, Any] = {}
            for places, future in jobs:
                try:
                    left = None if last is None else max(last - time.monotonic(), 0)
                    with lock.release_temporarily() if lock else contextlib.nullcontext():
                        made = future.result(left)
                    out.update(zip(places, made, strict=True))
                except TimeoutError:
                    future.cancel()
                    raise DeadlineExceeded from None
            return [out[place] for place in range(len(requests))]

        return run

    def get_worker(self, backbone: Any) -> BatchWorker:
        """The backbone's own; it ends with the backbone."""
        with self._lock:
            if backbone.digest not in self._workers:
                self._workers[backbone.digest] = BatchWorker(backbone.name, self.limits, self._threads_per_worker)
                weakref.finalize(backbone, self._close_worker, backbone.digest)
            return self._workers[backbone.digest]

    def _threads_per_worker(self) -> int:
        """Threads of each lane; 0 where nothing is said of them."""
        return self.compute_threads and max(self.compute_threads // max(len(self._workers), 1), 1)

    def _close_worker(self, digest: str) -> None:
        worker = self._workers.pop(digest, None)
        if worker is not None:
            worker.close()

    def list_workers(self) -> Mapping[str, BatchWorker]:
        """By digest."""
        return dict(self._workers)

    def close(self) -> None:
        """End all threads when their work is done."""
        for digest in list(self._workers):
            self._close_worker(digest)
        self._thread_pool.close()


def unwrap_predictor(predictor: Any) -> Any:
    """Without what stands around it, such as an operating point."""
    while hasattr(predictor, "predictor"):
        predictor = predictor.predictor
    return predictor


def is_plannable(predictor: Predictor) -> bool:
    """Whether it is StageCheckpoints: `isinstance` of a protocol looks at every member, with every request."""
    return hasattr(predictor, "plan")


def backbone_of(predictor: Any) -> Any:
    """The backbone that a predictor asks, where it says so."""
    return getattr(getattr(unwrap_predictor(predictor), "network", None), "backbone", None)


def max_new_tokens_of(predictor: Any) -> int:
    """Tokens that it may write behind an input; 0 where its answers are not written."""
    return getattr(unwrap_predictor(predictor), "max_new_tokens", 0)


def split_inputs(
    inputs: Sequence[Input], batch_tokens: int, max_new_tokens: int = 0
) -> Iterator[tuple[Sequence[Input], int]]:
    """Inputs in parts of about a batch, so that a long list does not hold up everybody else, and their costs."""
    part: list[Input] = []
    cost = 0
    for one in inputs:
        own = estimate_tokens([one], max_new_tokens)
        if part and cost + own > batch_tokens:
            yield part, cost
            part, cost = [], 0
        part.append(one)
        cost += own
    if part:
        yield part, cost


def _count_request_tokens(request: Any) -> int:
    most = request.max_new_tokens if isinstance(request, GenerateRequest) else 0
    return len(getattr(request, "ids", ()) or getattr(request, "prompt", ())) + SPECIAL_TOKENS_PER_ROW + most


def _plan_requests(requests: Sequence[InferenceRequest]) -> Callable[[Sequence[Any]], InferencePlan]:
    return lambda _: InferencePlan(requests, list)
