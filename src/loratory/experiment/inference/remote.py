"""A task of a running server, asked by its URL in the place of a predictor in a folder."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from loratory.discovery import load_named
from loratory.errors import ServerError, SpecError, UnsupportedTask
from loratory.experiment.inference.local_prediction import BATCH_INPUTS, iterate_batches
from loratory.protocols import JSON, Input, Prediction, RequestRunner, Task

if TYPE_CHECKING:
    from pathlib import Path

    from loratory.client import Answer, Client

KEY_VARIABLE = "LORATORY_KEY"
UNANSWERED_STATUSES = {413: "long", 500: "failed", 504: "late"}  # statuses of one input that is answered by nobody


@dataclass(frozen=True)
class RemoteAnswerer:
    """A server's task, and what it is."""

    client: Client
    name: str
    task: Task
    can_stream: bool
    one_by_one: bool  # whether inputs are sent one by one: each is to have the task's whole deadline

    def answer_all(self, inputs: Iterable[Input]) -> Iterator[tuple[Input, Prediction, dict[str, JSON]]]:
        """Answers in order, with further facts of the server. Raises ServerError."""
        for batch in iterate_batches(inputs, 1 if self.one_by_one else BATCH_INPUTS):
            found = self.client.predict(self.name, batch)
            for asked, one in zip(batch, found, strict=True):
                facts = {name: getattr(one, name) for name in ("status", "served_by", "release", "fallback")}
                yield asked, prediction_from_answer(one), facts

    def stream(self, input: Input, on_token: Callable[[str], None]) -> None:
        """Stream the answer to one input, and end the line. Raises UnsupportedTask, ServerError."""
        if not self.can_stream:
            raise UnsupportedTask(
                f"{self.name} does not generate text", where="--stream", allowed="a task whose answers are generated"
            )
        with self.client.stream(self.name, input=input) as pieces:
            for piece in pieces:
                on_token(piece)
        if pieces.answer is None or pieces.answer.answer is None:
            raise UnsupportedTask(f"there is no answer: {pieces.answer.status if pieces.answer else 'it was cut'}")
        on_token("\n")


def prediction_from_answer(answer: Answer) -> Prediction:
    """As a predictor would have said it."""
    why = None if answer.answer is not None else answer.status
    return Prediction(answer.answer, answer.probabilities, why, answered_by=answer.served_by)


def check_source_options(source: Path | str | None, url: str | None, contender: str | None, task: str | None) -> None:
    """Raises SpecError unless the command names either a folder or a server, and options of that one only."""
    if (source is None) == (url is None):
        given = "neither WHERE nor --url is given" if url is None else "both WHERE and --url are given"
        raise SpecError(given, where=str(source or ""), allowed="one of them: a folder, or a running server")
    if url is not None and contender is not None:
        raise SpecError("a server says itself who answers", where="--contender", allowed="with WHERE")
    if url is None and task is not None:
        raise SpecError("a folder holds one task", where="--task", allowed="with --url")


@contextmanager
def open_remote(url: str, name: str | None) -> Iterator[RemoteAnswerer]:
    """A server's task; the only one where no name is given. Raises ServerError, SpecError."""
    from loratory.client import Client

    with Client(url, os.environ.get(KEY_VARIABLE)) as client:
        facts = client.task(name) if name else _fetch_only_task(client)
        yield make_remote(client, facts)


def _fetch_only_task(client: Client) -> dict[str, JSON]:
    found = client.tasks()
    if len(found) != 1:
        names = ", ".join(str(one.get("task")) for one in found)
        raise SpecError(f"the server has {len(found)} tasks", where="--task", allowed=names)
    return found[0]


def make_remote(client: Client, facts: dict[str, JSON]) -> RemoteAnswerer:
    """From what GET /v1/tasks/{name} tells. Raises ServerError, SpecError."""
    try:
        name, definition = str(facts["task"]), facts["definition"]
        task = load_named("tasks", str(definition["kind"])).model_validate(definition)
    except (KeyError, TypeError, ValidationError) as problem:
        remedy = "give the server and this machine the same version of loratory"
        said = problem.errors()[0]["msg"] if isinstance(problem, ValidationError) else f"{problem} is missing"
        raise ServerError(f"this task cannot be understood: {said}", where=str(facts)[:80], remedy=remedy) from None
    streams = bool(facts.get("streams"))
    return RemoteAnswerer(client, name, task, streams, one_by_one=streams or facts.get("deadline_ms") is not None)


@dataclass
class TimedRemotePredictor:
    """A predictor whose answers come from a server, one text a call, as its clients would ask."""

    remote: RemoteAnswerer
    seconds: list[float] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)

    @property
    def task(self) -> Task:
        return self.remote.task

    def predict(self, inputs: Sequence[Input], run: RequestRunner) -> list[Prediction]:
        """In order. What the server gives up on (late, failed, too long) counts as not answered."""
        return [self._predict_one(input) for input in inputs]

    def _predict_one(self, input: Input) -> Prediction:
        started = time.perf_counter()
        try:
            (answer,) = self.remote.client.predict(self.remote.name, [input])
        except ServerError as problem:
            why = "late" if problem.code == "timeout" else UNANSWERED_STATUSES.get(problem.status)
            if why is None:
                raise
            answer = make_unanswered(why)
        self.seconds.append(time.perf_counter() - started)
        self.answers.append(answer)
        return prediction_from_answer(answer)

    def summarize_calls(self) -> dict[str, Any]:
        """Latency of the calls, and who answered what share."""
        import numpy as np

        count = len(self.answers)
        p50, p95 = (round(float(value) * 1000, 3) for value in np.quantile(self.seconds, (0.5, 0.95)))
        return {
            "latency_ms": {"p50": p50, "p95": p95, "calls": count},
            "status": _compute_shares(one.status for one in self.answers),
            "served_by": _compute_shares(one.served_by for one in self.answers if one.served_by),
            "fallbacks": sum(one.fallback is not None for one in self.answers) / count,
            "releases": sorted({one.release for one in self.answers if one.release}),
        }


def make_unanswered(why: str) -> Answer:
    """For an input that got no answer at all."""
    from loratory.client import Answer

    return Answer(None, why, 0.0, "", "")


def _compute_shares(names: Iterable[str]) -> dict[str, float]:
    counted = Counter(names)
    return {name: count / counted.total() for name, count in counted.most_common()}


def evaluate_remote(remote: RemoteAnswerer, data: str, columns: Sequence[str]) -> dict[str, Any]:
    """Scores with intervals as of a folder, and how the server did. Raises DataError, ServerError."""
    from loratory.data.splitting.ledger import TestReader
    from loratory.experiment.inference.evaluate_on_data import score_predictor

    timed: Any = TimedRemotePredictor(remote)
    look = TestReader(remote.name, f"server task {remote.name}", f"evaluate by URL: {data}")
    scores = score_predictor(timed, data, columns, look)
    return {"task": remote.name, **scores, **timed.summarize_calls()}
