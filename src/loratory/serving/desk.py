"""What is written on one trunk: jobs join between two steps, and leave when their texts are whole.

It belongs to the thread of a lane. Requests that cannot join others (a prompt and an answer longer than a layer looks
back, caches that cannot be joined) are written in whole batches beside them; those that come meanwhile are the next.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from loratory.errors import Late
from loratory.protocols import Asked, Input

RATE = 1000.0  # tokens a second that may be written, until some were
AT_ONCE = 4  # jobs that join between two steps: while their prompts are read, nobody's text goes on
FADING = 0.8  # of what is known of the speed, with every job that ends


class Order(Protocol):
    """A job, as far as a desk has to know it. `cost` counts the tokens that may be written."""

    @property
    def ask(self) -> Callable[[Sequence[Input]], Asked | None]: ...
    @property
    def inputs(self) -> Sequence[Input]: ...
    @property
    def cost(self) -> int: ...
    def alive(self) -> bool:
        """Whether somebody still waits for it."""


Ended = tuple[Any, Any, BaseException | None]  # a job, what came of it, or what went wrong


@dataclass(eq=False)
class Work:
    """A job while it is written."""

    job: Order
    asked: Asked
    pens: list[Any]
    joins: bool

    @property
    def begun(self) -> bool:
        """Whether all of it is being written."""
        return all(pen.ids or not pen.going for pen in self.pens)

    @property
    def done(self) -> bool:
        """Whether all of it is written."""
        return not any(pen.going for pen in self.pens)

    def fail(self, problem: Exception) -> None:
        """Nothing more of it is written."""
        for pen in self.pens:
            pen.problem, pen.finish = problem, "failed"

    def ended(self) -> Ended:
        """What came of it."""
        if not self.job.alive():
            return self.job, None, Late()
        if problem := next((pen.problem for pen in self.pens if pen.problem), None):
            return self.job, None, problem
        try:
            return self.job, self.asked.read([pen.written() for pen in self.pens]), None
        except Exception as problem:
            return self.job, None, problem


class Desk:
    """Jobs that wait to be written, and those that are being written: so many rows and tokens at a time."""

    def __init__(self, rows: int, tokens: int) -> None:
        self.rows, self.room = rows, tokens
        self.tokens = 0  # that wait
        self.steps = 0
        self._waiting: deque[Order] = deque()
        self._works: list[Work] = []
        self._scribe: Any = None  # only while something is written: a lane does not hold its trunk
        self._earned, self._spent = RATE, 1.0

    @property
    def busy(self) -> bool:
        """Whether there is anything to do."""
        return bool(self._works or self._waiting)

    @property
    def rate(self) -> float:
        """Tokens a second, counted as they were estimated: what a text does not use of its budget is time saved."""
        return self._earned / self._spent

    def wait(self, cost: int) -> float:
        """Seconds until a job that came now would begin, estimated."""
        return max(self.tokens + self._doing() + cost - self.room, 0) / self.rate if self.busy else 0.0

    def put(self, job: Order) -> None:
        """Queue a job."""
        self._waiting.append(job)
        self.tokens += job.cost

    def take(self) -> list[Order]:
        """Jobs that there is room for now."""
        taken: list[Order] = []
        rows, tokens = sum(len(work.pens) for work in self._works), self._doing()
        while self._waiting:
            job = self._waiting[0]
            rows, tokens = rows + len(job.inputs), tokens + job.cost
            full = rows > self.rows or tokens > self.room
            if (full and (self._works or taken)) or (self._works and len(taken) >= AT_ONCE):
                break
            taken.append(self._waiting.popleft())
            self.tokens -= job.cost
        return taken

    def _doing(self) -> int:
        return sum(work.job.cost for work in self._works)

    def turn(self, jobs: Sequence[Order]) -> list[Ended]:
        """Let jobs join, and write a token of everything. Those that have ended."""
        started, ended = time.perf_counter(), list[Ended]()
        for job in jobs:
            try:
                self._works.append(self._opened(job))
            except Exception as problem:
                ended.append((job, None, problem))
        self._admit()
        if self._scribe is not None:
            self._step()
        done = [work for work in self._works if work.done]
        self._works = [work for work in self._works if not work.done]
        if not self._works:
            self._scribe = None
        self._learn(sum(work.job.cost for work in done), time.perf_counter() - started)
        return ended + [work.ended() for work in done]

    def drop(self, problem: BaseException) -> list[Ended]:
        """Give up all that is being written."""
        works, self._works, self._scribe = self._works, [], None
        return [(work.job, None, problem) for work in works]

    def _opened(self, job: Order) -> Work:
        asked = job.ask(job.inputs) if job.alive() else Asked([], list)
        assert asked is not None
        trunks: list[Any] = [request.network.trunk for request in asked.requests]
        pens = [trunk.pen(one, job.alive) for trunk, one in zip(trunks, asked.requests, strict=True)]
        return Work(job, asked, pens, all(trunk.joins(pen.request) for trunk, pen in zip(trunks, pens, strict=True)))

    def _admit(self) -> None:
        """Begin what can begin: whole batches only when the one before is done."""
        new = [work for work in self._works if not work.begun]
        self._seat([work for work in new if work.joins], True)
        if self._scribe is None or not self._scribe.closed:
            self._seat([work for work in new if not work.joins], False)

    def _seat(self, works: Sequence[Work], joining: bool) -> None:
        """Read their prompts; where that fails for some together, each alone."""
        pens = [pen for work in works for pen in work.pens if pen.going and not pen.ids]
        if not pens:
            return
        trunk = pens[0].request.network.trunk
        try:
            self._scribe = self._scribe or trunk.scribe()
            trunk.seat(self._scribe, pens, joining)
        except Exception as problem:
            seated = set(self._scribe.pens) if self._scribe else set()
            for work in works:
                torn = any(pen.going and pen.ids and pen not in seated for pen in work.pens)
                if torn or len(works) == 1:
                    work.fail(problem)
                else:
                    self._seat([work], joining)

    def _step(self) -> None:
        try:
            self._scribe.step()
            self.steps += 1
        except Exception as problem:  # of the pass: it is everybody's
            for work in self._works:
                work.fail(problem)
            self._scribe = None

    def _learn(self, tokens: int, seconds: float) -> None:
        self._spent += seconds
        if tokens:
            self._earned, self._spent = FADING * self._earned + tokens, FADING * self._spent
