"""`loratory.serve`: a server for a `with` block, in a process of its own."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Any

import httpx
import pytest

import loratory
from ticket_rows import run_tickets


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> loratory.Run:
    return run_tickets(tmp_path_factory.mktemp("home") / "run", 120)


def test_it_answers_inside_the_block_and_ends_with_it(run: loratory.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    sources: dict[str, Path | loratory.Model] = {"tickets": run.folder, "words": run.model("rules")}
    with loratory.serve(sources, limits={"texts": 3}) as server:
        assert server.tasks == ("tickets", "words")
        asked = {"inputs": ["my invoice is wrong"]}
        told = httpx.post(f"{server.url}/v1/tasks/tickets/predict", json=asked).json()["predictions"][0]
        assert told["answer"] == run.best.predict_full(asked["inputs"])[0].answer
        assert httpx.post(f"{server.url}/v1/tasks/words/predict", json={"inputs": ["x"] * 4}).status_code == 413
        other = httpx.post(f"{server.url}/v1/tasks/words/predict", json=asked).json()["predictions"][0]
        assert other["served_by"] == "rules"
        pid = server._process.pid
    forgotten = loratory.serve(run.folder)
    process = forgotten._process
    assert process.poll() is None
    del forgotten  # a server that nobody holds ends, too
    gc.collect()
    assert process.poll() is not None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(httpx.ConnectError):
        httpx.get(server.url)


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"source": "/nowhere"}, loratory.LoratoryError, "no such folder"),
        ({}, loratory.SpecError, "nothing to serve"),
        ({"limit": {}}, loratory.SpecError, "did you mean 'limits'"),
        ({"contender": "tfidff"}, loratory.ArtifactError, "did you mean 'tfidf'"),
    ],
)
def test_a_mistake_is_told_before_anything_starts(
    run: loratory.Run,
    arguments: dict[str, Any],
    error: type[Exception],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MODEL_DIR", raising=False)
    if arguments:
        arguments = {"source": run.folder, **arguments}
    with pytest.raises(error, match=said):
        loratory.serve(**arguments)
