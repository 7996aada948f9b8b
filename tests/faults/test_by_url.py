"""`predict --url` and `evaluate --url` against a server of this process, through the command line."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import pytest
import uvicorn

from loratory.backbones.pool import TorchBackbonePool
from loratory.client import Client
from loratory.protocols import BackbonePool, Input, ParameterCount, Prediction, RequestRunner
from loratory.serving.app import create_app
from loratory.serving.engine.inference_engine import Engine
from loratory.serving.engine.service_registry import FallbackStage, Service, ServiceRegistry
from loratory.serving.http.auth.api_keys import ApiKey, ApiKeys, hash_secret
from loratory.serving.http.server import Server
from loratory.serving.launcher import load_service
from loratory.specs.serve import LimitsSpec, ServedTaskSpec, ServerSpec
from loratory.tasks.generate import Generate

from . import run_fixtures
from .run_fixtures import CommandResult, make_rows, run_command, to_csv, wait_until

KEY = "lk_secret"
GENERATE: Any = Generate(checks=({"words": {"most": 3}}, "exact"))
Instead = Callable[[str, int], tuple[int, bytes] | None]  # of a path and the number of the request


@dataclass(frozen=True)
class Parrot:
    """Writes what it is told; `freely` and `aloud` are what a writer has."""

    task: Generate = GENERATE

    def predict(self, inputs: Sequence[Input], run: RequestRunner) -> list[Prediction]:
        return [self._one(str(input["prompt"])) for input in inputs]

    def _one(self, prompt: str) -> Prediction:
        if prompt == "break":
            raise RuntimeError("as asked")
        return Prediction(None, reason="invalid") if prompt == "mumble" else Prediction(prompt)

    def generate_unconstrained(self, inputs: Sequence[Input], run: RequestRunner) -> list[str]:
        return [str(input["prompt"]) for input in inputs]

    def stream(self, input: Input, run: RequestRunner, on_token: Callable[[str], None]) -> Prediction:
        return self._one(str(input["prompt"]))

    def save(self, folder: Path) -> None: ...

    @classmethod
    def load(cls, source: Any, task: Any, backbones: BackbonePool) -> Self:
        return cls()

    def count_parameters(self) -> ParameterCount:
        return ParameterCount(0, 0)


@dataclass
class Fronted:
    """The application, behind what a test wants to be different. Streams are made here."""

    app: Any
    seen: list[str] = field(default_factory=list)
    instead: Instead = lambda path, number: None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.seen.append(scope["path"])
        if (found := self.instead(scope["path"], len(self.seen))) is None:
            await self.app(scope, receive, send)
            return
        kind = b"text/event-stream" if found[1].startswith(b"data: ") else b"application/json"
        headers = [(b"retry-after", b"0"), (b"content-type", kind)]
        await send({"type": "http.response.start", "status": found[0], "headers": headers})
        await send({"type": "http.response.body", "body": found[1]})


@contextmanager
def listening(app: Any) -> Iterator[str]:
    """An ASGI application on a free port, in a thread."""
    process = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, lifespan="off", log_level="warning"))
    thread = threading.Thread(target=process.run, daemon=True)
    thread.start()
    try:
        wait_until(lambda: process.started)
        yield f"http://127.0.0.1:{process.servers[0].sockets[0].getsockname()[1]}"
    finally:
        process.should_exit = True
        thread.join(10)


def create_front(*services: Service, keys: Mapping[str, ApiKey] | None = None) -> Fronted:
    def load(name: str, path: str) -> Service:
        raise AssertionError

    spec, board = ServerSpec(limits=LimitsSpec(texts=50)), ServiceRegistry({one.name: one for one in services}, {})
    return Fronted(create_app(Server(spec, board, Engine(), load, ApiKeys(keys or {}))))


@pytest.fixture(scope="module")
def workplace(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of two quick contenders."""
    ladder = "  - rules\n  - tfidf\n"
    folder = run_fixtures.make_workspace(tmp_path_factory.mktemp("by-url") / "w", base, run_fixtures.make_spec(ladder))
    done = run_command(folder, "run", "spec.yaml")
    assert done.code == 0, done.err
    return folder


@pytest.fixture(scope="module")
def tiny(workplace: Path) -> Service:
    return load_service(
        "tiny", ServedTaskSpec(path=workplace / "runs/tiny", contender="tfidf"), TorchBackbonePool(keep=False)
    )


@pytest.fixture(scope="module")
def parrot() -> Service:
    return Service("parrot", (FallbackStage("parrot", Parrot(), "ef" * 32),))


@pytest.fixture(scope="module")
def url(tiny: Service) -> Iterator[str]:
    """A server of one task."""
    with listening(create_front(tiny)) as found:
        yield found


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waits; no proxy, no key of this machine's."""
    defaults: Any = Client.__init__.__kwdefaults__
    monkeypatch.setitem(defaults, "sleep", lambda _: None)
    monkeypatch.delenv("LORATORY_KEY", raising=False)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def lines(done: CommandResult) -> list[Any]:
    assert done.code == 0, done.read_stderr()
    return [json.loads(line) for line in done.out.splitlines()]


def same(one: Any, other: Any) -> None:
    """Equal, but for the last places of floats."""
    assert json.dumps(round_floats(one)) == json.dumps(round_floats(other))


def round_floats(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: round_floats(part) for name, part in value.items()}
    if isinstance(value, list):
        return [round_floats(part) for part in value]
    return round(value, 5) if isinstance(value, float) else value


def test_a_server_answers_as_its_folder_does(url: str, workplace: Path) -> None:
    local = ("predict", "runs/tiny", "-c", "tfidf")
    for words in (["my card was stolen"], ["one", "two"], ["--file", "data.csv"]):
        mine, theirs = run_command(workplace, *local, *words), run_command(workplace, "predict", "--url", url, *words)
        assert lines(mine) == lines(theirs)
    folder = lines(run_command(workplace, *local, "-f", "data.csv", "--json"))
    server = lines(run_command(workplace, "predict", "--url", url, "-f", "data.csv", "--json"))
    assert len(server) == 120  # in three requests
    told = [{name: one.pop(name) for name in ("status", "served_by", "release", "fallback")} for one in server]
    same(folder, server)
    assert {(one["status"], one["served_by"], one["fallback"]) for one in told} == {("answered", "tfidf", None)}
    assert {len(one["release"]) for one in told} == {64}


def test_stdin_and_a_first_text_that_looks_like_a_path(url: str, workplace: Path) -> None:
    asked = ("predict", "--url", url, "--task", "tiny", "--json")
    text = "see http://shop//x and ./base"
    from_stdin = lines(run_command(workplace, *asked, stdin=text.encode() + b"\nmy card was stolen\n"))
    assert [one["text"] for one in from_stdin] == [text, "my card was stolen"]
    assert [one["text"] for one in lines(run_command(workplace, *asked, text, "runs"))] == [text, "runs"]


def test_scores_are_those_of_the_folder(url: str, workplace: Path, tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text(to_csv(make_rows()[::5]), encoding="utf-8")
    words = ("--data", tmp_path / "new.csv", "--json")
    local = json.loads(run_command(workplace, "evaluate", "runs/tiny", "-c", "tfidf", *words).out)
    done = run_command(workplace, "evaluate", "--url", url, "--task", "tiny", *words)
    found = json.loads(done.out)
    same(
        [found[name] for name in ("n", "metrics", "per_label")], [local[name] for name in ("n", "metrics", "per_label")]
    )
    assert found["latency_ms"]["calls"] == 24
    assert 0 < found["latency_ms"]["p50"] <= found["latency_ms"]["p95"]
    assert (found["status"], found["served_by"], found["fallbacks"]) == ({"answered": 1.0}, {"tfidf": 1.0}, 0.0)
    human = run_command(workplace, "evaluate", "--url", url, "--task", "tiny", *words[:2])
    assert "status       answered 100.0%; by a fallback 0.0%" in human.out


def conversations(folder: Path) -> Path:
    pairs = [("one two", "one two"), ("one two three four", "x"), ("mumble", "x"), ("break", "x")]
    text = "".join(json.dumps({"prompt": asked, "completion": said}) + "\n" for asked, said in pairs)
    (folder / "suite.jsonl").write_text(text, encoding="utf-8")
    return folder / "suite.jsonl"


def test_checks_run_against_a_live_task_and_what_fails_counts(parrot: Service, tmp_path: Path) -> None:
    with listening(create_front(parrot)) as url:
        done = run_command(tmp_path, "evaluate", "--url", url, "--data", conversations(tmp_path), "--json")
    assert done.code == 0, done.read_stderr()
    found = json.loads(done.out)
    scores = {name: one["value"] for name, one in found["metrics"].items()}
    assert scores["coverage"] == 0.5
    assert scores["words"] == 0.25  # of four, one is answered in at most three words
    assert scores["exact"] == 0.25
    assert found["status"] == {"answered": 0.5, "invalid": 0.25, "failed": 0.25}


def test_a_task_that_writes_is_asked_text_by_text(parrot: Service, tmp_path: Path) -> None:
    front = create_front(parrot)
    with listening(front) as url:
        done = run_command(tmp_path, "predict", "--url", url, stdin=b"one\ntwo\nmumble\n")
    assert lines(done) == ["one", "two", None]
    assert front.seen == ["/v1/tasks", *["/v1/tasks/parrot/predict"] * 3]


def test_fallbacks_and_deadlines_are_told(parrot: Service, tmp_path: Path) -> None:
    class Broken(Parrot):
        def predict(self, inputs: Sequence[Input], run: RequestRunner) -> list[Prediction]:
            raise RuntimeError("as asked")

    chain = Service("parrot", (FallbackStage("first", Broken(), "00" * 32), *parrot.stages), deadline=5.0)
    (tmp_path / "d.jsonl").write_text('{"prompt": "a", "completion": "a"}\n' * 2, encoding="utf-8")
    with listening(create_front(chain)) as url:
        found = json.loads(run_command(tmp_path, "evaluate", "--url", url, "--data", "d.jsonl", "--json").out)
        (one,) = lines(run_command(tmp_path, "predict", "--url", url, "hello", "--json"))
    assert (found["fallbacks"], found["served_by"]) == (1.0, {"parrot": 1.0})
    assert one["fallback"] == {"from": "first", "reason": "failed"}


WHOLE = {"answer": "a b", "text": "a b", "status": "answered", "confidence": 1.0, "served_by": "p", "release": "0"}


def stream(*values: Any) -> bytes:
    return b"".join(b"data: " + json.dumps(one).encode() + b"\n\n" for one in values) + b"data: [DONE]\n\n"


def replace_generation(body: bytes) -> Instead:
    return lambda path, _: (200, body) if path.endswith("/generate") else None


def test_a_stream_is_heard(parrot: Service, tiny: Service, tmp_path: Path) -> None:
    front = create_front(parrot, tiny)
    with listening(front) as url:
        asked = ("predict", "--url", url, "--task", "parrot", "--stream", "hello")
        bodies = {"whole": stream({"text": "a "}, {"text": "b"}, WHOLE), "cut": stream({"text": "a "})}
        bodies["none"] = stream({**WHOLE, "answer": None, "status": "late"})
        done = {}
        for name, body in bodies.items():
            front.instead = replace_generation(body)
            done[name] = run_command(tmp_path, *asked)
        silent = run_command(tmp_path, "predict", "--url", url, "--task", "tiny", "--stream", "x")
    assert (silent.code, silent.out) == (2, "")
    assert "tiny does not generate text" in silent.read_stderr()
    assert (done["whole"].code, done["whole"].out) == (0, "a b\n")
    assert done["cut"].code == 2
    assert "the stream ended before its answer was whole" in done["cut"].read_stderr()
    assert "there is no answer: late" in done["none"].read_stderr()


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    for verb in (("predict",), ("evaluate", "--data", "x.csv")):
        done = run_command(
            tmp_path, *verb, "--url", f"http://127.0.0.1:{free_port()}", *(["x"] if verb[0] == "predict" else [])
        )
        assert done.code == 2
        assert "there is no answer" in done.read_stderr()
        assert "check the address" in done.read_stderr()


def test_the_key_comes_from_the_environment(tiny: Service, tmp_path: Path) -> None:
    known = ApiKey("one", frozenset({"infer"}), hash_secret(KEY))
    with listening(create_front(tiny, keys={known.digest: known})) as url:
        for environment in ({}, {"LORATORY_KEY": "lk_wrong"}, {"LORATORY_KEY": "  "}):
            done = run_command(tmp_path, "predict", "--url", url, "x", environment=environment)
            assert (done.code, done.out) == (2, "")
            assert "this needs a key" in done.read_stderr()
            assert "LORATORY_KEY" in done.read_stderr()
            assert "lk_" not in done.read_stderr()
        assert len(lines(run_command(tmp_path, "predict", "--url", url, "x", environment={"LORATORY_KEY": KEY}))) == 1
    done = run_command(tmp_path, "predict", "--url", url, "x", "--key", KEY)
    assert done.code == 2
    assert "No such option" in done.err


def test_busy_to_the_end_and_busy_for_a_moment(tiny: Service, tmp_path: Path) -> None:
    front = create_front(tiny)
    busy = (429, json.dumps({"error": {"code": "busy", "message": "the server has no room for this now"}}).encode())
    with listening(front) as url:
        front.instead = lambda path, number: busy if number in (2, 3) else None
        assert len(lines(run_command(tmp_path, "predict", "--url", url, "x"))) == 1
        assert len(front.seen) == 4
        front.seen.clear()
        front.instead = lambda path, _: busy if path.endswith("/predict") else None
        done = run_command(tmp_path, "predict", "--url", url, "x")
        (tmp_path / "d.csv").write_text("text,label\nx,SHOP\n", encoding="utf-8")
        assert run_command(tmp_path, "evaluate", "--url", url, "--data", "d.csv").code == 2  # not scored as unanswered
    assert done.code == 2
    assert "the server has no room for this now" in done.read_stderr()
    assert front.seen.count("/v1/tasks/tiny/predict") == 10


def test_what_the_server_gives_up_on_is_not_answered(tiny: Service, tmp_path: Path) -> None:
    front, statuses = create_front(tiny), [504, 413, 500]
    (tmp_path / "d.csv").write_text("text,label\na,SHOP\nb,SHOP\nc,RESET\nd,FRAUD\n", encoding="utf-8")
    with listening(front) as url:
        front.instead = lambda path, _: (statuses.pop(), b"{}") if path.endswith("/predict") and statuses else None
        found = json.loads(run_command(tmp_path, "evaluate", "--url", url, "--data", "d.csv", "--json").out)
    assert found["status"] == dict.fromkeys(("failed", "long", "late", "answered"), 0.25)
    assert found["served_by"] == {"tfidf": 1.0}
    assert found["metrics"]["coverage"]["value"] == 0.25


def test_by_url_loads_nothing_that_answers(url: str, tmp_path: Path) -> None:
    heavy = ("torch", "transformers", "sklearn", "fastapi", "loratory.backbones.pool")
    words = ["loratory", "predict", "--url", url, "x", "--json"]
    code = (
        f"import sys\nsys.argv = {words}\nfrom loratory.cli import main\ntry:\n    main()\nfinally:\n"
        f"    print(sorted(set({heavy}) & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, cwd=tmp_path, timeout=60)
    assert done.stderr == b"[]\n"
    assert json.loads(done.stdout)["served_by"] == "tfidf"


def test_the_examples_of_the_page_run(tiny: Service, parrot: Service, capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs/client.md").read_text(encoding="utf-8")
    front = create_front(replace(tiny, name="risk-triage"), replace(parrot, name="notes"))
    said = stream({"text": "a b"}, {**WHOLE, "usage": {"completion_tokens": 2}})
    front.instead = replace_generation(said)
    with listening(front) as url:
        for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
            exec(compile(block.replace("http://127.0.0.1:8000", url), "client.md", "exec"), {})
    first, second, *rest = capsys.readouterr().out.splitlines()
    assert "FRAUD" in first
    assert "answered" in second
    assert rest == ["1000", "a b{'completion_tokens': 2}"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("predict", "--url", "URL", "x"), "--task: the server has 2 tasks\n  allowed: tiny, parrot"),
        (("predict", "--url", "URL", "--task", "tony", "x"), "there is no task 'tony'\n  allowed: tiny, parrot"),
        (("predict", "--url", "localhost:8000", "x"), "to mend it: http://localhost:8000"),
        (("predict", "--url", "URL", "--task", "tiny", "-c", "tfidf", "x"), "a server says itself who answers"),
        (("predict", "runs/tiny", "--url", "URL", "x"), "both WHERE and --url are given"),
        (("predict",), "neither WHERE nor --url is given"),
        (("predict", "runs/tiny", "--task", "tiny", "x"), "a folder holds one task"),
        (("evaluate", "runs/tiny", "--url", "URL", "--data", "data.csv"), "both WHERE and --url are given"),
        (("evaluate", "--data", "data.csv"), "neither WHERE nor --url is given"),
        (("evaluate", "--url", "URL", "--task", "tiny"), "--url needs --data"),
    ],
)
def test_mistakes(words: tuple[str, ...], said: str, both: str, workplace: Path) -> None:
    done = run_command(workplace, *(both if word == "URL" else word for word in words))
    assert (done.code, done.out) == (2, ""), done.err
    assert said in done.read_stderr()


@pytest.fixture(scope="module")
def both(tiny: Service, parrot: Service) -> Iterator[str]:
    """A server of two tasks."""
    with listening(create_front(tiny, parrot)) as found:
        yield found
