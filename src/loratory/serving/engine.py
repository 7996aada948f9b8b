"""The engine: everything that waits for one trunk is answered together, whichever task and adapter it is for.

A lane is a thread and a queue for each trunk; predictors without a trunk share a few threads. Batches form by
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

from loratory.errors import Late
from loratory.models.execution import by_work, in_time
from loratory.protocols import Asked, Input, Prediction, Predictor, Request, Write
from loratory.serving.averages import moving_average
from loratory.serving.desk import Desk
from loratory.serving.plain import Full, Plain, Turn, fits

log = logging.getLogger("loratory.serving")

CHARACTERS = 4  # of a token, roughly: what a queue holds is estimated before anything is tokenised
AROUND = 2  # special tokens of a row
GUESS = 4000.0  # tokens a second, until a lane has been measured


class Stepwise(Exception):
    """A predictor cannot say at once what it needs: it goes step by step, in a thread."""


@dataclass(frozen=True)
class Limits:
    """Bounds of a lane."""

    batch_tokens: int = 2048  # of one pass, estimated; a single job may be more
    queue_tokens: int = 65_536  # that wait, estimated
    threads: int = 4  # for predictors that need no trunk
    rows: int = 16  # that are written side by side
    rows_tokens: int = 32_768  # of them, prompts and budgets; a single job may be more


@dataclass(eq=False)
class Job:
    """Inputs for one predictor, or requests of one whose work goes step by step."""

    ask: Callable[[Sequence[Input]], Asked | None]
    inputs: Sequence[Input]
    by: float | None
    cost: int
    future: Future[Any] | Waiting
    together: int = 0  # jobs with the same number are asked for at once
    gone: threading.Event | None = None  # set when nobody waits for the thread that asked
    writes: bool = False  # whether all that it asks for is written
    own: float = 1.0  # the part of a pass that it needs for itself where its texts stand in the batch already

    @cached_property
    def text(self) -> str:
        """What tells its inputs from others', where some of a pass can be shared."""
        return str(self.inputs) if self.own < 1 else ""

    def alive(self) -> bool:
        """Whether somebody still waits for it."""
        left = self.gone is not None and self.gone.is_set()
        return not left and not self.future.cancelled() and in_time(self.by)


def cost_of(inputs: Sequence[Input], most: int = 0) -> int:
    """Tokens of these inputs, estimated, and those that may be written behind each."""
    cost = 0
    for one in inputs:
        size = 0
        for value in one.values():
            size += len(value) if isinstance(value, str) else _characters(value)
        cost += size // CHARACTERS + AROUND + most
    return cost


def _characters(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(_characters(part) for part in value.values())
    if isinstance(value, (list, tuple)):
        return sum(_characters(part) for part in value)
    return 1


class Lane:
    """The queue of one trunk and the thread that works through it."""

    def __init__(self, name: str, limits: Limits, threads: Callable[[], int] = lambda: 0) -> None:
        self.name, self.limits, self._threads, self._team = name, limits, threads, 0
        self.rate = GUESS  # tokens a second
        self.batches = self.rows = 0
        self._waiting: deque[Job] = deque()
        self._tokens = 0
        self._doing, self._since = 0, 0.0
        self._ready = threading.Condition()
        self._desk = Desk(limits.rows, limits.rows_tokens)
        self._open = True
        self._thread = threading.Thread(target=self._work, name=f"lane-{name}", daemon=True)
        self._thread.start()

    @property
    def tokens(self) -> int:
        """Estimated tokens that wait."""
        return self._tokens + self._desk.tokens

    def wait(self) -> float:
        """Seconds until a job that is not written would begin if it came now, estimated."""
        spent = time.monotonic() - self._since if self._doing else 0.0
        return self._tokens / self.rate + max(self._doing / self.rate - spent, 0.0)

    def admit(self, cost: int, by: float | None, writes: bool = False) -> None:
        """Raises Full where so many tokens more have no room, or would not be done in time."""
        over = self.tokens and self.tokens + cost > self.limits.queue_tokens
        wait = self._desk.wait(cost) if writes else self.wait()
        needed = wait + cost / (self._desk.rate if writes else self.rate)
        waits = self._desk.busy if writes else self._tokens
        if over or not self._open or (waits and not fits(needed, by)):
            raise Full(wait)

    def put(self, jobs: Sequence[Job]) -> None:
        """Queue jobs of one request, all or none. Raises Full."""
        cost, writes = sum(job.cost for job in jobs), jobs[0].writes
        with self._ready:
            self.admit(cost, jobs[0].by, writes)
            if writes:
                for job in jobs:
                    self._desk.put(job)
            else:
                self._waiting.extend(jobs)
                self._tokens += cost
            self._ready.notify()

    def close(self) -> None:
        """Let the thread end when the queue is empty."""
        with self._ready:
            self._open = False
            self._ready.notify()

    def _take(self) -> tuple[list[Job], list[Any]] | None:
        """What is next, to be answered at once and to be written; None when the lane is closed."""
        with self._ready:
            while not (self._waiting or self._desk.busy):
                if not self._open:
                    return None
                self._ready.wait()
            return self._batch(), self._desk.take()

    def _batch(self) -> list[Job]:
        """Whatever waits, up to the budget, and to what is computed in half of the time that the first job has.

        The budget counts what is computed, and several tasks share what lies below their adapters on a text.
        """
        batch: list[Job] = []
        cost, computed, texts = 0, 0.0, set[str]()
        most, quick = self.limits.batch_tokens, float("inf")
        if self._waiting and (by := self._waiting[0].by) is not None:
            quick = self.rate * max(by - time.monotonic(), 0.0) / 2
        while self._waiting:
            job = self._waiting[0]
            own = job.cost * (job.own if job.text in texts else 1.0)
            if batch and (computed + own > most or cost + job.cost > quick):
                break
            batch.append(self._waiting.popleft())
            cost, computed = cost + job.cost, computed + own
            texts |= {job.text}
        self._tokens -= cost
        self._doing, self._since = cost, time.monotonic()
        return batch

    def _work(self) -> None:
        while self._turn():
            pass

    def _turn(self) -> bool:
        """One batch, and one token of what is written; nothing of it is held while the lane waits for the next, or its
        trunk would never go.
        """
        taken = self._take()
        if taken is None:
            return False
        batch, written = taken
        self._share()
        try:
            self._answer(batch)
        except BaseException as problem:  # the lane lives on: its other callers wait
            log.exception("lane %s", self.name)
            settle([(job, None, problem) for job in batch])
        self._doing = 0
        try:
            self._write(written)
        except BaseException as problem:
            log.exception("lane %s", self.name)
            settle([*self._desk.drop(problem), *[(job, None, problem) for job in written]])
        return True

    def _share(self) -> None:
        """Compute with as many threads as are this lane's now."""
        if (team := self._threads()) != self._team:
            import torch

            torch.set_num_threads(team)  # of this thread's products alone
            self._team = team

    def _write(self, jobs: Sequence[Any]) -> None:
        """One token more of all that is being written."""
        if not jobs and not self._desk.busy:
            return
        ended = self._desk.turn(jobs)
        self.batches, self.rows = self.batches + 1, self.rows + sum(len(job.inputs) for job, _, _ in ended)
        settle(ended)

    def _answer(self, batch: Sequence[Job]) -> None:
        alive = [job for job in batch if job.alive()]
        settle([(job, None, Late()) for job in batch if not job.alive()])
        if not alive:
            return
        started = time.perf_counter()
        try:
            settle([(job, made, None) for job, made in zip(alive, self._together(alive), strict=True)])
            self._learn(sum(job.cost for job in alive), time.perf_counter() - started)
            self.batches, self.rows = self.batches + 1, self.rows + sum(len(job.inputs) for job in alive)
        except Exception as problem:
            if len(alive) == 1:
                settle([(alive[0], None, problem)])
                return
            for job in alive:  # one of them fails: the others are answered
                self._answer([job])

    def _learn(self, tokens: int, seconds: float) -> None:
        self.rate = moving_average(self.rate, tokens / max(seconds, 1e-6))

    def _together(self, jobs: Sequence[Job]) -> list[list[Any]]:
        """What comes of each job, all of them in as few passes as their trunk needs."""
        groups: dict[int, list[Job]] = {}
        for job in jobs:
            groups.setdefault(job.together or id(job), []).append(job)
        asked = []
        for mine in groups.values():
            one = mine[0].ask([input for job in mine for input in job.inputs])
            if one is None:
                raise Stepwise
            asked.append((mine, one))
        owners = [mine for mine, one in asked for _ in one.requests]
        requests = [request for _, one in asked for request in one.requests]
        found = iter(execute(requests, lambda place: any(job.alive() for job in owners[place])))
        out: dict[int, list[Any]] = {}
        for mine, one in asked:
            made = iter(one.read([next(found) for _ in one.requests]))
            for job in mine:
                out[id(job)] = [next(made) for _ in job.inputs]
        return [out[id(job)] for job in jobs]


def execute(requests: Sequence[Request], alive: Callable[[int], bool]) -> list[Any]:
    """Requests of one trunk, by kind. Only what is written is stopped on the way: a pass is soon over."""
    out: dict[int, Any] = {}
    for do, places in by_work(requests):
        mine = [requests[place] for place in places]
        written = isinstance(mine[0], Write)
        made = do(mine, lambda k, places=places: alive(places[k])) if written else do(mine)
        out.update(zip(places, made, strict=True))
    return [out[place] for place in range(len(requests))]


def settle(ended: Iterable[tuple[Job, Any, BaseException | None]]) -> None:
    """Hand results to whoever waits; one wake-up for each event loop, however many of its jobs have ended."""
    loops: dict[Any, list[tuple[Job, Any, BaseException | None]]] = {}
    for one in ended:
        job, made, problem = one
        if isinstance(job.future, Waiting):
            loops.setdefault(job.future.loop, []).append(one)
        else:
            _set(job.future, made, problem)
    for loop, several in loops.items():
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits there
            loop.call_soon_threadsafe(_settled, several)


def _settled(ended: Iterable[tuple[Job, Any, BaseException | None]]) -> None:
    for job, made, problem in ended:
        _set(job.future, made, problem)


def _set(future: Future[Any] | Waiting, made: Any, problem: BaseException | None) -> None:
    try:
        if problem is not None:
            future.set_exception(problem)
        else:
            future.set_result(made)
    except InvalidStateError:  # nobody waits any more
        return


class Waiting:
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
    """Lanes by trunk, and threads for what needs none."""

    limits: Limits = field(default_factory=Limits)
    threads: int = 0  # for the products of all lanes together; 0: as torch has it

    def __post_init__(self) -> None:
        self._lanes: dict[str, Lane] = {}
        self._lock = threading.Lock()
        self._plain = Plain(self.limits.threads)

    def admit(self, predictor: Predictor, cost: int, by: float | None) -> None:
        """Raises Full where inputs of so many tokens would have no room, or no answer in time."""
        trunk, most = trunk_of(predictor), written_by(predictor)
        if trunk is None or not staged(predictor):
            self._plain.admit(type(innermost(predictor)), cost, by)
        else:
            self.lane(trunk).admit(cost + most, by, bool(most))

    async def predict(self, predictor: Predictor, inputs: Sequence[Input], by: float | None) -> list[Prediction]:
        """One prediction for each input. Raises Full, Late, and whatever the predictor raises."""
        loop = asyncio.get_running_loop()
        trunk = trunk_of(predictor)
        if trunk is None or not staged(predictor):
            return await self._in_a_thread(predictor, inputs, by)
        most = written_by(predictor)  # each text for itself: they end at different times
        own = trunk.own(innermost(predictor).network) if hasattr(trunk, "own") else 1.0
        asking: Any = predictor
        jobs = [
            Job(asking.ask, part, by, cost, Waiting(loop), id(predictor), None, bool(most), own)
            for part, cost in slices(inputs, 0 if most else self.limits.batch_tokens, most)
        ]
        self.lane(trunk).put(jobs)
        waiting = [job.future.inner for job in jobs if isinstance(job.future, Waiting)]
        try:
            async with asyncio.timeout_at(None if by is None else loop.time() + by - time.monotonic()):
                done = [await one for one in waiting]
        except TimeoutError:
            raise Late from None
        except Stepwise:
            return await self._in_a_thread(predictor, inputs, by)
        finally:
            for one in waiting:
                if one.done():
                    one.cancelled() or one.exception()  # seen, so that nobody complains of it
                one.cancel()
        return [prediction for part in done for prediction in part]

    async def _in_a_thread(self, predictor: Predictor, inputs: Sequence[Input], by: float | None) -> list[Prediction]:
        kind, cost = type(innermost(predictor)), cost_of(inputs)
        return await self._plain.predict(predictor, kind, inputs, cost, by, partial(self.run_by, by))

    def run_by(
        self, by: float | None, gone: threading.Event | None = None, turn: Turn | None = None
    ) -> Callable[..., list[Any]]:
        """`run` for a predictor that goes step by step, in a thread of its own, until nobody waits for it.

        While it waits it lets others have their `turn`, where its thread has one.
        """

        def run(requests: Sequence[Request], until: float | None = None) -> list[Any]:
            last = min((moment for moment in (by, until) if moment is not None), default=None)
            groups: dict[str, list[int]] = {}
            for place, request in enumerate(requests):
                groups.setdefault(request.network.trunk.digest, []).append(place)
            jobs: list[tuple[list[int], Future[Any]]] = []
            for places in groups.values():
                mine = [requests[place] for place in places]
                future: Future[Any] = Future()
                job = Job(_as_they_are(mine), mine, last, sum(map(_length, mine)), future, gone=gone)  # type: ignore[arg-type]
                job.writes = all(isinstance(request, Write) for request in mine)
                self.lane(mine[0].network.trunk).put([job])
                jobs.append((places, future))
            out: dict[int, Any] = {}
            for places, future in jobs:
                try:
                    left = None if last is None else max(last - time.monotonic(), 0)
                    with turn.given_up() if turn else contextlib.nullcontext():
                        made = future.result(left)
                    out.update(zip(places, made, strict=True))
                except TimeoutError:
                    future.cancel()
                    raise Late from None
            return [out[place] for place in range(len(requests))]

        return run

    def lane(self, trunk: Any) -> Lane:
        """The trunk's own; it ends with the trunk."""
        with self._lock:
            if trunk.digest not in self._lanes:
                self._lanes[trunk.digest] = Lane(trunk.name, self.limits, self._each)
                weakref.finalize(trunk, self._forget, trunk.digest)
            return self._lanes[trunk.digest]

    def _each(self) -> int:
        """Threads of each lane; 0 where nothing is said of them."""
        return self.threads and max(self.threads // max(len(self._lanes), 1), 1)

    def _forget(self, digest: str) -> None:
        lane = self._lanes.pop(digest, None)
        if lane is not None:
            lane.close()

    def lanes(self) -> Mapping[str, Lane]:
        """By digest."""
        return dict(self._lanes)

    def close(self) -> None:
        """End all threads when their work is done."""
        for digest in list(self._lanes):
            self._forget(digest)
        self._plain.close()


def innermost(predictor: Any) -> Any:
    """Without what stands around it, such as an operating point."""
    while hasattr(predictor, "predictor"):
        predictor = predictor.predictor
    return predictor


def staged(predictor: Predictor) -> bool:
    """Whether it is Staged: `isinstance` of a protocol looks at every member, with every request."""
    return hasattr(predictor, "ask")


def trunk_of(predictor: Any) -> Any:
    """The trunk that a predictor asks, where it says so."""
    return getattr(getattr(innermost(predictor), "network", None), "trunk", None)


def written_by(predictor: Any) -> int:
    """Tokens that it may write behind an input; 0 where its answers are not written."""
    return getattr(innermost(predictor), "most", 0)


def slices(inputs: Sequence[Input], budget: int, most: int = 0) -> Iterator[tuple[Sequence[Input], int]]:
    """Inputs in parts of about a batch, so that a long list does not hold up everybody else, and their costs."""
    part: list[Input] = []
    cost = 0
    for one in inputs:
        own = cost_of([one], most)
        if part and cost + own > budget:
            yield part, cost
            part, cost = [], 0
        part.append(one)
        cost += own
    if part:
        yield part, cost


def _length(request: Any) -> int:
    most = request.most if isinstance(request, Write) else 0
    return len(getattr(request, "ids", ()) or getattr(request, "prompt", ())) + AROUND + most


def _as_they_are(requests: Sequence[Request]) -> Callable[[Sequence[Any]], Asked]:
    return lambda _: Asked(requests, list)
