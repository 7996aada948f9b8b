"""The engine: everything that waits for one backbone is answered together, whichever task and adapter it is for.

A worker is a thread and a queue for each backbone (batch_worker.py); predictors without a backbone share a few threads
(thread_pool.py). A request is refused at once where the queue is full or would not be done in time, because an answer
that nobody waits for any more costs as much as one that is wanted.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from loratory.errors import DeadlineExceeded
from loratory.protocols import Backbone, GenerateRequest, InferencePlan, InferenceRequest, Input, Prediction
from loratory.serving.engine.batch_worker import BatchWorker, EngineLimits, MultiStepPredictor
from loratory.serving.engine.capabilities import (
    ServedPredictor,
    backbone_of,
    incremental_cost_of,
    is_plannable,
    max_new_tokens_of,
    unwrap_predictor,
)
from loratory.serving.engine.engine_requests import EngineRequest, LoopFuture
from loratory.serving.engine.predictor_process import PredictorProcess, PredictorSource
from loratory.serving.engine.thread_pool import FairLock, ThreadPoolBackend
from loratory.serving.engine.token_estimates import count_request_tokens, estimate_tokens, split_inputs


@dataclass
class Engine:
    """Workers by backbone, and threads for what needs none."""

    limits: EngineLimits = field(default_factory=EngineLimits)
    compute_threads: int = 0  # for the products of all workers together; 0: as torch has it
    process: PredictorProcess | None = None  # for predictors that need no backbone; None: threads of this process

    def __post_init__(self) -> None:
        self._workers: dict[str, BatchWorker] = {}
        self._lock = threading.Lock()
        self._thread_pool = ThreadPoolBackend(self.limits.threads, self.process)

    def admit(self, predictor: ServedPredictor, token_cost: int, deadline: float | None) -> None:
        """Raises CapacityExceeded where inputs of so many tokens would have no room, or no answer in time."""
        backbone, most = backbone_of(predictor), max_new_tokens_of(predictor)
        if backbone is None or not is_plannable(predictor):
            self._thread_pool.admit(type(unwrap_predictor(predictor)), token_cost, deadline)
        else:
            self.get_worker(backbone).admit(token_cost + most, deadline, bool(most))

    async def predict(
        self,
        predictor: ServedPredictor,
        inputs: Sequence[Input],
        deadline: float | None,
        source: PredictorSource | None = None,
    ) -> list[Prediction]:
        """One prediction for each input. `source` is the artifact of a predictor that needs no backbone.

        Raises CapacityExceeded, DeadlineExceeded, and what the predictor raises.
        """
        loop = asyncio.get_running_loop()
        backbone = backbone_of(predictor)
        if backbone is None or not is_plannable(predictor):
            return await self._predict_in_thread(predictor, inputs, deadline, source if backbone is None else None)
        most = max_new_tokens_of(predictor)  # each text for itself: they end at different times
        own = incremental_cost_of(predictor)
        jobs = [
            EngineRequest(predictor.plan, part, deadline, cost, LoopFuture(loop), id(predictor), None, bool(most), own)
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
        self,
        predictor: ServedPredictor,
        inputs: Sequence[Input],
        deadline: float | None,
        source: PredictorSource | None = None,
    ) -> list[Prediction]:
        kind, cost = type(unwrap_predictor(predictor)), estimate_tokens(inputs)
        return await self._thread_pool.predict(
            predictor, kind, inputs, cost, deadline, partial(self.make_runner, deadline), source
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
                    sum(map(count_request_tokens, mine)),
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

    def get_worker(self, backbone: Backbone) -> BatchWorker:
        """The backbone's own; it ends with the backbone."""
        with self._lock:
            if backbone.digest not in self._workers:
                self._workers[backbone.digest] = BatchWorker(backbone.name, self.limits, self._threads_per_worker)
                weakref.finalize(backbone, self._close_worker, backbone.digest)
            return self._workers[backbone.digest]

    def _threads_per_worker(self) -> int:
        """Threads of each worker; 0 where nothing is said of them."""
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
        if self.process is not None:
            self.process.close()


def _plan_requests(requests: Sequence[InferenceRequest]) -> Callable[[Sequence[Any]], InferencePlan]:
    return lambda _: InferencePlan(requests, list)
