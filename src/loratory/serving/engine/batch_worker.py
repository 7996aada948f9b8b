"""One thread for each backbone: everything that waits for the backbone is answered together.

Batches form by themselves: what arrives while a batch is computed is the next one, and texts join those that are being
written (scheduler.py).
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from loratory.backbones.forward.execution import group_by_backbone
from loratory.errors import DeadlineExceeded
from loratory.protocols import GenerateRequest, InferenceRequest
from loratory.serving.engine.engine_requests import EngineRequest, resolve_futures
from loratory.serving.engine.moving_average import update_moving_average
from loratory.serving.engine.scheduler import GenerationScheduler
from loratory.serving.engine.thread_pool import CapacityExceeded, fits_deadline

log = logging.getLogger("loratory.serving")

INITIAL_TOKENS_PER_SECOND = 4000.0  # tokens a second, until a worker has been measured


class MultiStepPredictor(Exception):
    """A predictor cannot say at once what it needs: it goes step by step, in a thread."""


@dataclass(frozen=True)
class EngineLimits:
    """Bounds of a worker."""

    batch_tokens: int = 2048  # of one pass, estimated; a single job may be more
    queue_tokens: int = 65_536  # that wait, estimated
    threads: int = 4  # for predictors that need no backbone
    max_sequences: int = 16  # that are written side by side
    max_sequence_tokens: int = 32_768  # of them, prompts and budgets; a single job may be more


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
        self._thread = threading.Thread(target=self._run_loop, name=f"worker-{name}", daemon=True)
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
        """What is next, to be answered at once and to be written; None when the worker is closed."""
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
        """One batch, and one token of what is written.

        Nothing of it is held while the worker waits for the next, or its backbone would never go.
        """
        taken = self._take_next()
        if taken is None:
            return False
        batch, written = taken
        self._set_torch_threads()
        try:
            self._execute_batch(batch)
        except BaseException as problem:  # the worker lives on: its other callers wait
            log.exception("worker %s", self.name)
            resolve_futures([(job, None, problem) for job in batch])
        self._running_tokens = 0
        try:
            self._generate_tokens(written)
        except BaseException as problem:
            log.exception("worker %s", self.name)
            resolve_futures([*self._scheduler.abort_all(problem), *[(job, None, problem) for job in written]])
        return True

    def _set_torch_threads(self) -> None:
        """Compute with as many threads as are this worker's now."""
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
