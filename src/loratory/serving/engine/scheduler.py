"""What is written on one backbone: jobs join between two steps, and leave when their texts are whole.

It belongs to the thread of a worker. Requests that cannot join others (a prompt and an answer longer than a layer looks
back, caches that cannot be joined) are written in whole batches beside them; those that come meanwhile are the next.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

from loratory.errors import DeadlineExceeded
from loratory.protocols import (
    GeneratedSequence,
    GenerateRequest,
    InferencePlan,
    Input,
    SequenceGenerator,
    require_causal,
)

INITIAL_TOKENS_PER_SECOND = 1000.0  # tokens a second that may be written, until some were
MAX_JOINS_PER_STEP = 4  # jobs that join between two steps: while their prompts are read, nobody's text goes on
RATE_DECAY = 0.8  # of what is known of the speed, with every job that ends


class SequenceRequest(Protocol):
    """A request, as far as the scheduler has to know it. `token_cost` counts the tokens that may be written."""

    @property
    def plan(self) -> Callable[[Sequence[Input]], InferencePlan | None]: ...
    @property
    def inputs(self) -> Sequence[Input]: ...
    @property
    def token_cost(self) -> int: ...
    def is_active(self) -> bool:
        """Whether somebody still waits for it."""


RequestResult = tuple[Any, Any, BaseException | None]  # a job, what came of it, or what went wrong


@dataclass(eq=False)
class RunningRequest:
    """A job while it is written."""

    request: SequenceRequest
    inference_plan: InferencePlan
    sequences: list[GeneratedSequence]
    can_join_batch: bool

    @property
    def started(self) -> bool:
        """Whether all of it is being written."""
        return all(sequence.ids or not sequence.is_active for sequence in self.sequences)

    @property
    def finished(self) -> bool:
        """Whether all of it is written."""
        return not any(sequence.is_active for sequence in self.sequences)

    def fail(self, problem: Exception) -> None:
        """Nothing more of it is written."""
        for sequence in self.sequences:
            sequence.error, sequence.finish_reason = problem, "failed"

    def make_result(self) -> RequestResult:
        """What came of it."""
        if not self.request.is_active():
            return self.request, None, DeadlineExceeded()
        if problem := next((sequence.error for sequence in self.sequences if sequence.error), None):
            return self.request, None, problem
        try:
            return (
                self.request,
                self.inference_plan.read_outputs([sequence.to_generation() for sequence in self.sequences]),
                None,
            )
        except Exception as problem:
            return self.request, None, problem


class GenerationScheduler:
    """Jobs that wait to be written, and those that are being written: so many rows and tokens at a time."""

    def __init__(self, max_sequences: int, max_tokens: int) -> None:
        self.max_sequences, self.max_tokens = max_sequences, max_tokens
        self.queued_tokens = 0  # that wait
        self.steps = 0
        self._waiting: deque[SequenceRequest] = deque()
        self._running: list[RunningRequest] = []
        # Only while something is written: a worker does not hold its backbone.
        self._generator: SequenceGenerator | None = None
        self._generated_tokens, self._generation_seconds = INITIAL_TOKENS_PER_SECOND, 1.0

    @property
    def busy(self) -> bool:
        """Whether there is anything to do."""
        return bool(self._running or self._waiting)

    @property
    def tokens_per_second(self) -> float:
        """Tokens a second, counted as they were estimated: what a text does not use of its budget is time saved."""
        return self._generated_tokens / self._generation_seconds

    def estimate_wait(self, token_cost: int) -> float:
        """Seconds until a job that came now would begin, estimated."""
        return (
            max(self.queued_tokens + self._count_running_tokens() + token_cost - self.max_tokens, 0)
            / self.tokens_per_second
            if self.busy
            else 0.0
        )

    def enqueue(self, request: SequenceRequest) -> None:
        """Queue a job."""
        self._waiting.append(request)
        self.queued_tokens += request.token_cost

    def take_admissible(self) -> list[SequenceRequest]:
        """Jobs that there is room for now."""
        taken: list[SequenceRequest] = []
        rows, tokens = sum(len(work.sequences) for work in self._running), self._count_running_tokens()
        while self._waiting:
            job = self._waiting[0]
            rows, tokens = rows + len(job.inputs), tokens + job.token_cost
            full = rows > self.max_sequences or tokens > self.max_tokens
            if (full and (self._running or taken)) or (self._running and len(taken) >= MAX_JOINS_PER_STEP):
                break
            taken.append(self._waiting.popleft())
            self.queued_tokens -= job.token_cost
        return taken

    def _count_running_tokens(self) -> int:
        return sum(work.request.token_cost for work in self._running)

    def step(self, joining: Sequence[SequenceRequest]) -> list[RequestResult]:
        """Let jobs join, and write a token of everything. Those that have ended."""
        started, ended = time.perf_counter(), list[RequestResult]()
        for job in joining:
            try:
                self._running.append(self._start_request(job))
            except Exception as problem:
                ended.append((job, None, problem))
        self._prefill_new()
        if self._generator is not None:
            self._decode_step()
        done = [work for work in self._running if work.finished]
        self._running = [work for work in self._running if not work.finished]
        if not self._running:
            self._generator = None
        self._update_rate(sum(work.request.token_cost for work in done), time.perf_counter() - started)
        return ended + [work.make_result() for work in done]

    def abort_all(self, problem: BaseException) -> list[RequestResult]:
        """Give up all that is being written."""
        works, self._running, self._generator = self._running, [], None
        return [(work.request, None, problem) for work in works]

    def _start_request(self, queued_request: SequenceRequest) -> RunningRequest:
        asked = queued_request.plan(queued_request.inputs) if queued_request.is_active() else InferencePlan([], list)
        assert asked is not None
        requests = cast("Sequence[GenerateRequest]", asked.requests)  # of a predictor that writes
        backbones = [require_causal(request.network.backbone) for request in requests]
        sequences = [
            backbone.create_sequence(one, queued_request.is_active)
            for backbone, one in zip(backbones, requests, strict=True)
        ]
        return RunningRequest(
            queued_request,
            asked,
            sequences,
            all(
                backbone.can_join_batch(sequence.request)
                for backbone, sequence in zip(backbones, sequences, strict=True)
            ),
        )

    def _prefill_new(self) -> None:
        """Begin what can begin: whole batches only when the one before is done."""
        new = [work for work in self._running if not work.started]
        self._prefill([work for work in new if work.can_join_batch], True)
        if self._generator is None or not self._generator.has_closed_batch:
            self._prefill([work for work in new if not work.can_join_batch], False)

    def _prefill(self, requests: Sequence[RunningRequest], joining: bool) -> None:
        """Read their prompts; where that fails for some together, each alone."""
        sequences = [
            sequence for work in requests for sequence in work.sequences if sequence.is_active and not sequence.ids
        ]
        if not sequences:
            return
        backbone = require_causal(sequences[0].request.network.backbone)
        try:
            self._generator = self._generator or backbone.create_generator()
            backbone.add_sequences(self._generator, sequences, joining)
        except Exception as problem:
            seated = set(self._generator.sequences) if self._generator else set()
            for work in requests:
                torn = any(
                    sequence.is_active and sequence.ids and sequence not in seated for sequence in work.sequences
                )
                if torn or len(requests) == 1:
                    work.fail(problem)
                else:
                    self._prefill([work], joining)

    def _decode_step(self) -> None:
        assert self._generator is not None
        try:
            self._generator.step()
            self.steps += 1
        except Exception as problem:  # of the pass: it is everybody's
            for work in self._running:
                work.fail(problem)
            self._generator = None

    def _update_rate(self, tokens: int, seconds: float) -> None:
        self._generation_seconds += seconds
        if tokens:
            self._generated_tokens, self._generation_seconds = (
                RATE_DECAY * self._generated_tokens + tokens,
                RATE_DECAY * self._generation_seconds,
            )
