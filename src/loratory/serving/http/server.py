"""What every route needs, in one value."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from loratory.errors import DataError, LoratoryError
from loratory.protocols import JSON, Input
from loratory.protocols.routes import ApiError, Dialect, RequestContext, Route
from loratory.serving.audit_log import AuditLog
from loratory.serving.engine.fallback_chain import (
    Overloaded,
    PreparePredictor,
    StagedAnswer,
    answer_inputs,
    check_capacity,
    use_stage_predictor,
)
from loratory.serving.engine.inference_engine import Engine
from loratory.serving.engine.moving_average import update_moving_average
from loratory.serving.engine.prometheus_metrics import Metrics
from loratory.serving.engine.service_registry import Service, ServiceRegistry
from loratory.serving.engine.token_estimates import estimate_tokens
from loratory.serving.http.auth.api_keys import ApiKey, ApiKeys
from loratory.serving.http.auth.key_watcher import KeyFileWatcher
from loratory.serving.http.auth.login_sessions import LoginSessions
from loratory.specs.serve import ServerSpec

log = logging.getLogger("loratory.serving")

ServiceLoader = Callable[[str, str], Service]  # a name and a path on this machine -> a service; raises LoratoryError


@dataclass
class Server:
    """One process: its tasks, its engine, its bounds."""

    spec: ServerSpec
    registry: ServiceRegistry
    engine: Engine
    load_service: ServiceLoader
    keys: ApiKeys = field(default_factory=lambda: ApiKeys({}))
    metrics: Metrics = field(default_factory=Metrics)
    info: Mapping[str, JSON] = field(default_factory=dict)  # version, machine, precision
    ready: bool = True
    started_at: float = field(default_factory=time.monotonic)
    registry_lock: threading.Lock = field(default_factory=threading.Lock)  # one load or unload at a time

    def __post_init__(self) -> None:
        self.sessions = LoginSessions(self.keys)
        self.routes: Sequence[tuple[Dialect[Any], Route]] = ()  # of the application that answers for this server
        self.audit = AuditLog(self.spec.audit)
        self.key_watcher = KeyFileWatcher(self.keys, self.spec.keys, self._audit_key_change) if self.spec.keys else None
        self._tokens_per_byte: dict[str, float] = {}  # tokens in a byte of a body, by task

    def check_keys(self, now: bool = False) -> None:
        """See whether the file of keys has changed: at once, or once a second."""
        if self.key_watcher is not None:
            self.key_watcher.check(now)

    def find_key(self, secret: str) -> ApiKey | None:
        """The key of a secret, one that was added since the last look too."""
        found = self.keys.find(secret)
        if found is None:
            self.check_keys(now=True)
            found = self.keys.find(secret)
        return found

    def _audit_key_change(self, came: list[str], went: list[str]) -> None:
        try:
            self.audit.record("keys changed", {"new": came, "gone": went})
        except LoratoryError as problem:  # the keys hold all the same: a full disk keeps no revoked key alive
            log.error("audit %s: %s", self.audit.file, problem.problem)

    def get_service(self, name: str) -> Service:
        """Raises ApiError where there is none of that name."""
        found = self.registry.get(name)
        if found is None:
            raise ApiError(
                "not_found", f"there is no task {name[:80]!r}; there are: {', '.join(s.name for s in self.registry)}"
            )
        return found

    def services_named(self, task: str) -> list[Service]:
        """The service of that name, if there is one: of whom a path asks."""
        found = self.registry.get(task)
        return [found] if found else []

    def list_services(self) -> list[Service]:
        """All services: a body names those that are asked."""
        return [*self.registry]

    def validate_inputs(self, service: Service, given: Sequence[JSON], where: str = "inputs") -> list[Input]:
        """Inputs of the service's task within the limits. Raises ApiError."""
        limits = self.spec.limits
        if not given:
            raise ApiError("invalid_input", "there is no input", where=where)
        if len(given) > limits.texts:
            raise ApiError("too_large", f"{len(given)} inputs; allowed: {limits.texts}", where=where)
        try:
            made = [service.input_validator.validate(one, f"{where}.{number}") for number, one in enumerate(given)]
            return [self._check_size(one, f"{where}.{number}") for number, one in enumerate(made)]
        except DataError as problem:
            allowed = f"; allowed: {problem.allowed}" if problem.allowed else ""
            raise ApiError("invalid_input", f"{problem.problem}{allowed}", where=problem.where) from None

    def _check_size(self, input: Input, where: str) -> Input:
        most = self.spec.limits.characters
        size = sum(len(v) if isinstance(v, str) else len(json.dumps(v)) for v in input.values())
        if size > most:
            raise ApiError("too_large", f"{size} characters; allowed: {most}", where=where)
        return input

    def check_capacity(self, services: Sequence[Service], context: RequestContext) -> None:
        """Raises Overloaded where a body of that size, not read yet, could be answered by none of these in time.

        Under overload most of the work would otherwise be to read what is then refused.
        """
        busy = []
        for service in services:
            tokens = int(context.body_bytes * self._tokens_per_byte.get(service.name, 0.0))
            try:
                check_capacity(self.engine, service, tokens, self.deadline_of(service, context.arrived_at))
                return
            except Overloaded as problem:
                busy.append(problem)
        if busy:
            raise min(busy, key=lambda one: one.retry_after)

    def _update_tokens_per_byte(self, service: Service, inputs: Sequence[Input], size: int) -> None:
        """Remember how many tokens there were in a byte of a body."""
        if not size:
            return
        found = estimate_tokens(inputs) / size
        self._tokens_per_byte[service.name] = update_moving_average(
            self._tokens_per_byte.get(service.name, found), found
        )

    def deadline_of(self, service: Service, arrived: float) -> float:
        """When an answer is due (monotonic)."""
        return arrived + min(service.deadline or 1e9, self.spec.limits.timeout_ms / 1000)

    async def answer(
        self,
        service: Service,
        inputs: Sequence[Input],
        context: RequestContext,
        prepare: PreparePredictor = use_stage_predictor,
    ) -> list[StagedAnswer]:
        """Answers within the deadline, counted; `served` is told who answered. Raises Overloaded, DeadlineExceeded,
        PredictorFailed.
        """
        context.log_fields["task"] = service.name
        self._update_tokens_per_byte(service, inputs, context.body_bytes)
        if self.spec.texts_in_logs:
            context.log_fields["inputs"] = [dict(one) for one in inputs]
        found = await answer_inputs(
            self.engine, service, inputs, self.deadline_of(service, context.arrived_at), prepare
        )
        for one in found:
            self.metrics.texts.labels(service.name, one.stage.name, one.status).inc()
            if one.fallback:
                self.metrics.fallbacks.labels(service.name, one.fallback.reason).inc()
        context.log_fields["contender"] = found[0].stage.name
        if fallback := next((one.fallback for one in found if one.fallback), None):
            context.log_fields["fallback"] = fallback.reason
        return found

    async def answer_all(
        self, requests: Sequence[tuple[Service, Sequence[Input]]], context: RequestContext
    ) -> list[list[StagedAnswer]]:
        """Several tasks at once; the first that cannot be answered is what all of them raise."""
        context.log_fields["task"] = ",".join(service.name for service, _ in requests)
        told = {service.name: RequestContext(context.arrived_at, context.body_bytes) for service, _ in requests}
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self.answer(one, inputs, told[one.name])) for one, inputs in requests]
        except ExceptionGroup as several:
            raise several.exceptions[0] from None
        for fact in ("contender", "fallback", "inputs"):
            if found := {name: one.log_fields[fact] for name, one in told.items() if fact in one.log_fields}:
                context.log_fields[fact] = found
        return [task.result() for task in tasks]
