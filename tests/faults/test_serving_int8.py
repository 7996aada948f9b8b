"""A server that answers in int8: near the trained run, by evidence, also of what is loaded while it runs."""

from __future__ import annotations

import asyncio
import gc
import shutil
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from loratory.backbones.forward import int8, int8_export
from loratory.backbones.forward.execution import run_locally
from loratory.backbones.pool import TorchBackbonePool
from loratory.errors import SpecError
from loratory.protocols import Input, Network, Prediction
from loratory.protocols.routes import RequestContext
from loratory.serving.engine import precision_selection
from loratory.serving.engine.capabilities import unwrap_predictor
from loratory.serving.engine.service_registry import Service
from loratory.serving.http.auth.api_keys import ApiKeys
from loratory.serving.http.server import Server
from loratory.serving.launcher import build_server, load_service
from loratory.specs.serve import ServedTaskSpec, ServerSpec

from .run_fixtures import make_rows, run_command

pytest.importorskip("onnxruntime", reason="the extra int8 is not installed")
pytest.importorskip("onnxscript", reason="the extra int8 is not installed")
INPUTS: Sequence[Input] = [{"text": text} for text, _ in make_rows()]
RUN = Path("runs/tiny")
TASKS = {
    "tiny": ServedTaskSpec(path=RUN, contender="lora", fallback=("tfidf",)),
    "plain": ServedTaskSpec(path=RUN, contender="tfidf"),
}


@pytest.fixture(scope="module")
def work(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a finished run; graphs are kept in it."""
    return shutil.copytree(
        finished_run, tmp_path_factory.mktemp("int8") / "w", symlinks=True, copy_function=shutil.copy2
    )


@pytest.fixture(autouse=True)
def inside(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(work)


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def server(said: list[str]) -> Iterator[Server]:
    made = build_server(ServerSpec(precision="int8", tasks=TASKS, threads=2), ApiKeys({}), said.append)
    torch.set_num_threads(1)
    yield made
    made.engine.close()


def network_of(service: Service) -> Network:
    predictor: Any = unwrap_predictor(service.stages[0].predictor)
    return predictor.network  # type: ignore[no-any-return]


def sessions_of(server: Server) -> Any:
    backbone: Any = network_of(server.get_service("tiny")).backbone
    return backbone.compute_backend.sessions


def answers(server: Server, inputs: Sequence[Input] = INPUTS) -> list[Prediction]:
    found = asyncio.run(server.answer(server.get_service("tiny"), inputs, RequestContext()))
    return [one.prediction for one in found]


def exact(contender: str) -> list[Prediction]:
    service = load_service("tiny", ServedTaskSpec(path=RUN, contender=contender), TorchBackbonePool(keep=False))
    return service.stages[0].predictor.predict(INPUTS, run_locally)


def alike(some: Sequence[Prediction], others: Sequence[Prediction]) -> float:
    return len([1 for a, b in zip(some, others, strict=True) if a.answer == b.answer]) / len(some)


def test_answers_are_near_whatever_else_is_asked(server: Server, said: list[str]) -> None:
    (backbone,) = server.info["backbones"]
    assert (backbone["precision"], server.engine.compute_threads) == ("int8", 1)  # rows are shared out, no row is
    assert backbone["reason"].startswith("as asked; ")
    assert " validation answers of tiny stay the same, " in backbone["reason"]
    (line,) = said
    assert line.endswith(f"{backbone['backbone']} computes in int8: {backbone['reason']}")
    found, before = answers(server), exact("lora")
    assert alike(found, before) >= 0.9  # an answer between two labels may turn either way
    odds = [[one.probabilities["/label"] for one in some] for some in (found, before)]
    assert odds[0] != odds[1]
    assert all(a[label] == pytest.approx(b[label], abs=0.05) for a, b in zip(*odds, strict=True) for label in a)
    assert [answers(server, [one])[0] for one in INPUTS[::9]] == found[::9]


def test_what_is_loaded_later_is_ready_before_it_is_seen(
    server: Server, said: list[str], work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def here(command: Sequence[str], **rest: Any) -> SimpleNamespace:
        int8_export.main(*command[command.index(int8_export.__name__) + 1 :])
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(int8, "subprocess", SimpleNamespace(run=here))
    first = answers(server)
    before = weakref.ref(sessions_of(server)[network_of(server.get_service("tiny"))])
    fit = next((work / RUN / "contenders/lora-stock").glob("seed-*"))
    service = server.load_service("other", str(fit))
    assert said[-1] == "other answers in int8: no validation texts of other to try int8 on"
    assert network_of(service) in sessions_of(server)
    server.load_service("plain", str(RUN))
    assert len(said) == 2  # of a task without a backbone there is nothing to say
    assert answers(server) == first
    server.registry.register(replace(service, name="tiny"))
    second = answers(server)
    assert second != first
    assert alike(second, exact("lora-stock")) >= 0.9
    del service
    gc.collect()
    assert before() is None
    assert list(sessions_of(server)) == [network_of(server.get_service("tiny"))]


def test_a_task_whose_answers_change_is_refused(server: Server, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision_selection, "MIN_INT8_AGREEMENT", 1.01)
    monkeypatch.setattr(precision_selection, "MAX_CHANGED_ANSWERS", -1)
    with pytest.raises(SpecError, match=r"in int8 only \d+ of \d+ validation answers of tiny stay the same"):
        server.load_service("tiny", str(RUN))
    (work / "server.yaml").write_text("precision: int8\ntasks: {tiny: {path: runs/tiny, contender: lora}}\nport: 0\n")
    done = run_command(work, "serve", "--config", "server.yaml")
    assert done.code == 2
    assert "precision: in int8 only" in done.err
    assert "set precision: auto" in done.err
