"""What every route needs, in one value."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from loratory.errors import DataError, LoratoryError
from loratory.protocols import JSON, Input
from loratory.serving.audit import Audit
from loratory.serving.averages import moving_average
from loratory.serving.cascade import Answered, Busy, Prepare, answer, as_it_is, foresee
from loratory.serving.engine import Engine, cost_of
from loratory.serving.keys import Key, Keys
from loratory.serving.metrics import Metrics
from loratory.serving.refusals import Refusal
from loratory.serving.served import Served
from loratory.serving.services import Board, Service
from loratory.serving.watch import Watch
from loratory.specs.serve import ServerSpec

log = logging.getLogger("loratory.serving")

Loader = Callable[[str, str], Service]  # a name and a path on this machine -> a service; raises LoratoryError


@dataclass
class Server:
    """One process: its tasks, its engine, its bounds."""

    spec: ServerSpec
    board: Board
    engine: Engine
    load: Loader
    keys: Keys = field(default_factory=lambda: Keys({}))
    metrics: Metrics = field(default_factory=Metrics)
    facts: Mapping[str, JSON] = field(default_factory=dict)  # version, machine, precision
    ready: bool = True
    started: float = field(default_factory=time.monotonic)
    changing: threading.Lock = field(default_factory=threading.Lock)  # one load or unload at a time

    def __post_init__(self) -> None:
        self.audit = Audit(self.spec.audit)
        self.watch = Watch(self.keys, self.spec.keys, self._keys_changed) if self.spec.keys else None
        self._density: dict[str, float] = {}  # tokens in a byte of a body, by task

    def look(self, now: bool = False) -> None:
        """See whether the file of keys has changed: at once, or once a second."""
        if self.watch is not None:
            self.watch.look(now)

    def key_of(self, secret: str) -> Key | None:
        """The key of a secret, one that was added since the last look too."""
        found = self.keys.find(secret)
        if found is None:
            self.look(now=True)
            found = self.keys.find(secret)
        return found

    def _keys_changed(self, came: list[str], went: list[str]) -> None:
        try:
            self.audit.note("keys changed", {"new": came, "gone": went})
        except LoratoryError as problem:  # the keys hold all the same: a full disk keeps no revoked key alive
            log.error("audit %s: %s", self.audit.file, problem.problem)

    def service(self, name: str) -> Service:
        """Raises Refusal where there is none of that name."""
        found = self.board.get(name)
        if found is None:
            raise Refusal(
                "not_found", f"there is no task {name[:80]!r}; there are: {', '.join(s.name for s in self.board)}"
            )
        return found

    def named(self, task: str) -> list[Service]:
        """The service of that name, if there is one: of whom a path asks."""
        found = self.board.get(task)
        return [found] if found else []

    def every(self) -> list[Service]:
        """All services: a body names those that are asked."""
        return [*self.board]

    def inputs(self, service: Service, given: Sequence[JSON], where: str = "inputs") -> list[Input]:
        """Inputs of the service's task within the limits. Raises Refusal."""
        limits = self.spec.limits
        if not given:
            raise Refusal("invalid_input", "there is no input", where=where)
        if len(given) > limits.texts:
            raise Refusal("too_large", f"{len(given)} inputs; allowed: {limits.texts}", where=where)
        try:
            made = [service.reading.input(one, f"{where}.{number}") for number, one in enumerate(given)]
            return [self._bounded(one, f"{where}.{number}") for number, one in enumerate(made)]
        except DataError as problem:
            allowed = f"; allowed: {problem.allowed}" if problem.allowed else ""
            raise Refusal("invalid_input", f"{problem.problem}{allowed}", where=problem.where) from None

    def _bounded(self, input: Input, where: str) -> Input:
        most = self.spec.limits.characters
        size = sum(len(v) if isinstance(v, str) else len(json.dumps(v)) for v in input.values())
        if size > most:
            raise Refusal("too_large", f"{size} characters; allowed: {most}", where=where)
        return input

    def foresee(self, services: Sequence[Service], served: Served) -> None:
        """Raises Busy where a body of that size, which is not read yet, could be answered by none of these in time.

        Under overload most of the work would otherwise be to read what is then refused.
        """
        busy = []
        for service in services:
            tokens = int(served.size * self._density.get(service.name, 0.0))
            try:
                foresee(self.engine, service, tokens, self.until(service, served.arrived))
                return
            except Busy as problem:
                busy.append(problem)
        if busy:
            raise min(busy, key=lambda one: one.after)

    def _learn(self, service: Service, inputs: Sequence[Input], size: int) -> None:
        """Remember how many tokens there were in a byte of a body."""
        if not size:
            return
        found = cost_of(inputs) / size
        self._density[service.name] = moving_average(self._density.get(service.name, found), found)

    def until(self, service: Service, arrived: float) -> float:
        """When an answer is due (monotonic)."""
        return arrived + min(service.deadline or 1e9, self.spec.limits.timeout_ms / 1000)

    async def answer(
        self, service: Service, inputs: Sequence[Input], served: Served, prepare: Prepare = as_it_is
    ) -> list[Answered]:
        """Answers within the deadline, counted; `served` is told who answered. Raises Busy, Late, Broken."""
        served.facts["task"] = service.name
        self._learn(service, inputs, served.size)
        if self.spec.texts_in_logs:
            served.facts["inputs"] = [dict(one) for one in inputs]
        found = await answer(self.engine, service, inputs, self.until(service, served.arrived), prepare)
        for one in found:
            self.metrics.texts.labels(service.name, one.stage.name, one.status).inc()
            if one.fallback:
                self.metrics.fallbacks.labels(service.name, one.fallback.why).inc()
        served.facts["contender"] = found[0].stage.name
        if fallback := next((one.fallback for one in found if one.fallback), None):
            served.facts["fallback"] = fallback.why
        return found

    async def answer_all(
        self, asked: Sequence[tuple[Service, Sequence[Input]]], served: Served
    ) -> list[list[Answered]]:
        """Several tasks at once; the first that cannot be answered is what all of them raise."""
        served.facts["task"] = ",".join(service.name for service, _ in asked)
        told = {service.name: Served(served.arrived, served.size) for service, _ in asked}
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self.answer(one, inputs, told[one.name])) for one, inputs in asked]
        except ExceptionGroup as several:
            raise several.exceptions[0] from None
        for fact in ("contender", "fallback", "inputs"):
            if found := {name: one.facts[fact] for name, one in told.items() if fact in one.facts}:
                served.facts[fact] = found
        return [task.result() for task in tasks]
