"""Out of memory while a server answers: who asked is told to come again, and everybody else is answered."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fault_recording import FaultCounts
from loratory.errors import is_out_of_memory
from loratory.protocols import EncodeRequest
from loratory.serving.app import create_app
from loratory.serving.http.application import HttpApplication
from serving_fixtures import (
    INTENTS,
    FakeBackbone,
    FakePredictor,
    RawRequest,
    Reply,
    make_plannable,
    make_server,
    make_service,
    send_request,
)


def on_a_cpu() -> Exception:
    return RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you")


def on_a_gpu() -> Exception:
    import torch

    return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


WAYS: dict[str, Callable[[], Exception]] = {
    "Python": MemoryError,
    "a CPU": on_a_cpu,
    "a GPU": on_a_gpu,
    "C++": lambda: RuntimeError("std::bad_alloc"),
}
PATH = "/v1/tasks/intent/predict"


@dataclass(eq=False)
class Short(FakeBackbone):
    """A backbone that has no memory for more than so many texts in a pass, or for the next passes at all."""

    most: int = 1000
    without: int = 0  # of the next passes
    say: Callable[[], Exception] = MemoryError
    refused: list[int] = field(default_factory=list)

    def encode(self, requests: Sequence[EncodeRequest], alive: Any = None) -> list[str]:
        if self.without or len(requests) > self.most:
            self.without = max(self.without - 1, 0)
            self.refused.append(len(requests))
            raise self.say()
        return super().encode(requests, alive)


def app_of(folder: Path, bench: FakeBackbone) -> HttpApplication:
    return create_app(make_server(folder, make_service("intent", make_plannable(bench))))


def ask(app: HttpApplication, *texts: str) -> Reply:
    return send_request(app, "POST", PATH, {"inputs": list(texts)})


@pytest.mark.parametrize("way", WAYS)
def test_who_asked_is_told_to_come_again_and_the_next_is_answered(tmp_path: Path, way: str) -> None:
    bench = Short(say=WAYS[way])
    app = app_of(tmp_path, bench)
    bench.without = 1
    refused = ask(app, "card please")
    assert (refused.status, refused.error["code"]) == (503, "unavailable")
    assert int(refused.headers["retry-after"]) >= 1
    assert "memory" in refused.error["message"]
    answered = ask(app, "card please")
    assert (answered.status, answered.json["predictions"][0]["answer"]) == (200, {"label": "card"})


def test_a_pass_that_is_too_large_together_is_computed_one_by_one(tmp_path: Path) -> None:
    bench = Short(most=1)
    app = app_of(tmp_path, bench)

    async def together() -> list[Reply]:
        bench.unblocked.clear()
        first = asyncio.create_task(RawRequest("POST", PATH, {"inputs": ["cash"]}).send_to(app))
        while not bench.entered.is_set():
            await asyncio.sleep(0.001)
        others = [asyncio.create_task(RawRequest("POST", PATH, {"inputs": ["login"]}).send_to(app)) for _ in range(5)]
        await asyncio.sleep(0.1)
        bench.unblocked.set()
        return list(await asyncio.gather(first, *others))

    assert [reply.status for reply in asyncio.run(together())] == [200] * 6
    assert bench.refused == [5]


def test_predictors_in_python_and_fallbacks_too(tmp_path: Path) -> None:
    def short(task: Any, input: Any) -> Any:
        raise MemoryError

    app = create_app(make_server(tmp_path, make_service("intent", FakePredictor(INTENTS, short))))
    assert ask(app, "cash").status == 503
    both = create_app(
        make_server(tmp_path, make_service("intent", FakePredictor(INTENTS, short), FakePredictor(INTENTS)))
    )
    (one,) = ask(both, "cash").json["predictions"]
    assert one["answer"] == {"label": "cash"}
    assert one["fallback"] == {"from": "stage-1", "reason": "failed"}


@pytest.mark.parametrize(
    "problem", [RuntimeError("this text cannot be computed"), ValueError("out of memory"), OSError()]
)
def test_other_errors_are_not_a_lack_of_memory(problem: Exception) -> None:
    assert not is_out_of_memory(problem)


def exhaust(folder: Path, number: int) -> list[str]:
    """So many times in the middle of other requests; what did not end as promised."""
    chance, bench, wrong = random.Random(number), Short(), list[str]()
    app = app_of(folder, bench)

    async def once(way: str) -> None:
        bench.say, bench.without = WAYS[way], chance.choice((1, 1, 2, 5))
        texts = [[chance.choice(("card", "cash", "login"))] * chance.randint(1, 3) for _ in range(chance.randint(1, 6))]
        replies = await asyncio.gather(*(RawRequest("POST", PATH, {"inputs": mine}).send_to(app) for mine in texts))
        for mine, reply in zip(texts, replies, strict=True):
            if reply.status == 200:
                if [one["answer"]["label"] for one in reply.json["predictions"]] != mine:
                    wrong.append(f"{way}: {mine}: {reply.body!r}")
            elif reply.status != 503 or not reply.headers.get("retry-after", "").isdigit():
                wrong.append(f"{way}: {reply.status}, {reply.body!r}")
        bench.without = 0
        after = await RawRequest("POST", PATH, {"inputs": ["login"]}).send_to(app)
        if after.status != 200 or json.loads(after.body)["predictions"][0]["answer"] != {"label": "login"}:
            wrong.append(f"{way}: it does not live: {after.status}, {after.body!r}")

    async def run() -> None:
        for count in range(number):
            await once(list(WAYS)[count % len(WAYS)])

    asyncio.run(run())
    assert len(bench.refused) >= number
    return wrong


def test_a_server_lives_through_a_lack_of_memory(tmp_path: Path) -> None:
    assert exhaust(tmp_path, 12) == []


@pytest.mark.slow
def test_a_server_lives_through_a_lack_of_memory_200_times(tmp_path: Path, faults: FaultCounts) -> None:
    failed = exhaust(tmp_path, 200)
    faults.tries_of("out of memory while a server answers").add(200, len(failed))
    assert failed == []
