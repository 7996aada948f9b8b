"""The client against a transport that says what it should, and against the real application without a socket."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx
import pytest

from loratory.client import Answer, AsyncClient, Client, Generation, RetryPolicy, ServerError
from loratory.client.requests import split_parts
from loratory.client.responses import parse_retry_after
from loratory.errors import DataError
from loratory.protocols import BackbonePool, Input, ParameterCount, Prediction, RequestRunner
from loratory.serving.app import create_app
from loratory.serving.engine.inference_engine import Engine
from loratory.serving.engine.service_registry import FallbackStage, Service, ServiceRegistry
from loratory.serving.http.auth.api_keys import ApiKey, ApiKeys, hash_secret
from loratory.serving.http.server import Server
from loratory.specs.serve import LimitsSpec, ServerSpec
from loratory.tasks.classify import Classify

URL = "http://server:8000"
FACTS = {"status": "answered", "confidence": 0.5, "served_by": "head", "release": "ab", "fallback": None}
WHOLE = {"task": "t", "answer": "ab", "text": "ab", **FACTS, "usage": {"completion_tokens": 2}, "milliseconds": 1.5}
CLASSIFY = Classify(labels=("long", "short"))
Handler = Callable[[httpx.Request], httpx.Response]


@dataclass
class Time:
    """A clock that only sleeping moves."""

    now: float = 0.0
    slept: list[float] = field(default_factory=list)
    chance: float = 1.0

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    async def asleep(self, seconds: float) -> None:
        self.sleep(seconds)

    def retries(self, **bounds: Any) -> RetryPolicy:
        return RetryPolicy(jitter=lambda: self.chance, clock=lambda: self.now, **bounds)


@dataclass
class ClientCaller:
    """Either client, asked for one thing."""

    kind: str
    time: Time = field(default_factory=Time)
    bounds: dict[str, Any] = field(default_factory=dict)

    def __call__(self, handler: Handler, method: str, *words: Any, key: str | None = None, **named: Any) -> Any:
        retries, transport = self.time.retries(**self.bounds), httpx.MockTransport(handler)
        if self.kind == "sync":
            with Client(URL, key, retries=retries, transport=transport, sleep=self.time.sleep) as client:
                found = getattr(client, method)(*words, **named)
                return (list(found), found.answer) if method == "stream" else found
        return asyncio.run(self._call_async(retries, transport, key, method, words, named))

    async def _call_async(
        self, retries: RetryPolicy, transport: Any, key: str | None, method: str, words: Any, named: Any
    ) -> Any:
        async with AsyncClient(URL, key, retries=retries, transport=transport, sleep=self.time.asleep) as client:
            found = await getattr(client, method)(*words, **named)
            return ([piece async for piece in found], found.answer) if method == "stream" else found


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> ClientCaller:
    return ClientCaller(request.param)


@dataclass
class Scripted:
    """Answers with what it was given, one after the other, the last one for ever."""

    answers: Sequence[Any]
    seen: list[httpx.Request] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        found = self.answers[min(len(self.seen), len(self.answers)) - 1]
        if isinstance(found, type):
            raise found("gone", request=request)
        status, value, *headers = found
        return httpx.Response(status, json=value, headers=headers[0] if headers else None)


def make_error_reply(status: int, code: str, message: str, **more: Any) -> tuple[Any, ...]:
    return status, {"error": {"code": code, "message": message, "param": None, **more}}


BUSY = make_error_reply(429, "busy", "the server has no room for this now")
GOOD = (200, {"tasks": [{"task": "t"}]})


# -- asking again
@pytest.mark.parametrize("first", [BUSY, (503, {}), httpx.ConnectError, httpx.ReadError, httpx.RemoteProtocolError])
def test_what_may_pass_is_asked_again(first: Any, ask: ClientCaller) -> None:
    server = Scripted([first, first, GOOD])
    assert ask(server, "tasks") == [{"task": "t"}]
    assert len(server.seen) == 3
    assert ask.time.slept == [0.25, 0.5]  # the ceiling of each wait: chance was 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 413, 422, 500, 502, 504])
def test_what_will_not_pass_is_asked_once(status: int, ask: ClientCaller) -> None:
    server = Scripted([make_error_reply(status, "no", "it is so", request_id="x")])
    with pytest.raises(ServerError, match="it is so") as caught:
        ask(server, "tasks")
    assert (caught.value.status, caught.value.code, len(server.seen)) == (status, "no", 1)
    assert ask.time.slept == []


def test_a_server_that_is_too_slow_is_asked_once(ask: ClientCaller) -> None:
    server = Scripted([httpx.ReadTimeout])
    with pytest.raises(ServerError, match="did not answer in time") as caught:
        ask(server, "tasks")
    assert (caught.value.status, caught.value.code, len(server.seen)) == (0, "timeout", 1)


def test_tries_are_bounded_in_number(ask: ClientCaller) -> None:
    server = Scripted([BUSY])
    with pytest.raises(ServerError, match="no room") as caught:
        ask(server, "tasks")
    assert len(server.seen) == 5
    assert ask.time.slept == [0.25, 0.5, 1.0, 2.0]
    assert caught.value.status == 429


def test_waits_are_jittered_in_full_and_end_at_the_longest(ask: ClientCaller) -> None:
    ask.time.chance, ask.bounds = 0.5, {"max_retries": 6, "max_wait": 2.0}
    with pytest.raises(ServerError):
        ask(Scripted([BUSY]), "tasks")
    assert ask.time.slept == [0.125, 0.25, 0.5, 1.0, 1.0, 1.0]


def test_the_server_says_when(ask: ClientCaller) -> None:
    ask.time.chance = 0.0
    server = Scripted([(*BUSY, {"retry-after": "7"}), GOOD])
    assert ask(server, "tasks")
    assert ask.time.slept == [7.0]


def test_a_wait_that_is_longer_than_the_patience_is_not_begun(ask: ClientCaller) -> None:
    server = Scripted([(*BUSY, {"retry-after": "3600"}), GOOD])
    with pytest.raises(ServerError, match="try again in 3600 s"):
        ask(server, "tasks")
    assert (len(server.seen), ask.time.slept) == (1, [])
    ask.bounds = {"max_seconds": 1.0}
    with pytest.raises(ServerError):
        ask(Scripted([BUSY]), "tasks")
    assert sum(ask.time.slept) <= 1.0


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("12", 12.0),
        ("soon", None),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 90.0),
        ("Thu, 01 Jan 1970 00:00:05 GMT", 0.0),
    ],
)
def test_retry_after_in_seconds_or_as_a_date(header: str | None, seconds: float | None) -> None:
    assert parse_retry_after(header, 10.0) == seconds


def test_ready_is_asked_once_and_is_false_where_nobody_is(ask: ClientCaller) -> None:
    for answer, ready in (((200, {}), True), ((503, {}), False), (httpx.ConnectError, False)):
        server = Scripted([answer])
        assert ask(server, "ready") is ready
        assert len(server.seen) == 1


# -- parts
@dataclass
class Echo:
    """Answers each input with itself, with its own limits."""

    texts: int = 3
    body_bytes: int = 1 << 20
    sizes: list[int] = field(default_factory=list)
    asked: int = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/info":
            self.asked += 1
            return httpx.Response(200, json={"limits": {"texts": self.texts, "body_bytes": self.body_bytes}})
        body = json.loads(request.content)
        self.sizes.append(len(body["inputs"]))
        if len(body["inputs"]) > self.texts or len(request.content) > self.body_bytes:
            return httpx.Response(413, json=make_error_reply(413, "too_large", "too much")[1])
        made = [{"answer": one, **FACTS, "probabilities": {"": {"x": 0.5}}} for one in body["inputs"]]
        return httpx.Response(200, json={"task": "t", "predictions": made, "milliseconds": 1.0})


def test_a_long_list_goes_in_parts_and_comes_back_in_order(ask: ClientCaller) -> None:
    server = Echo()
    texts = [f"text {number} ü" for number in range(20)]
    found = ask(server, "predict", "t", texts)
    assert [one.answer for one in found] == texts
    assert sorted(server.sizes, reverse=True) == [3] * 6 + [2]
    assert server.asked == 1
    assert found[0] == Answer(texts[0], "answered", 0.5, "head", "ab", None, {"": {"x": 0.5}})


def test_bytes_are_bounded_too(ask: ClientCaller) -> None:
    server = Echo(texts=256, body_bytes=8192)
    texts = ["ü" * 1000] * 10  # 2 kB each
    assert len(ask(server, "predict", "t", texts)) == 10
    assert max(server.sizes) == 3
    assert sum(server.sizes) == 10


def test_as_few_at_once_as_one_wants_and_nothing_for_nothing(ask: ClientCaller) -> None:
    server = Echo()
    assert len(ask(server, "predict", "t", ["a", "b", "c"], at_once=1)) == 3
    assert server.sizes == [1, 1, 1]
    assert ask(Scripted([httpx.ConnectError]), "predict", "t", []) == []


@pytest.mark.parametrize(
    ("sizes", "expected"), [([], []), ([9999], [(0, 1)]), ([10, 9999, 10], [(0, 1), (1, 2), (2, 3)])]
)
def test_an_input_that_is_too_large_is_sent_alone(sizes: list[int], expected: list[tuple[int, int]]) -> None:
    assert list(split_parts(sizes, 256, 2048)) == expected


def test_the_place_of_a_refused_input_is_counted_over_all_parts(ask: ClientCaller) -> None:
    def server(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/info":
            return httpx.Response(403, json={})
        rows = json.loads(request.content)["inputs"]
        if "bad" in rows:
            wrong = make_error_reply(
                422, "invalid_input", "the text is 5; allowed: a string", param=f"inputs.{rows.index('bad')}: text"
            )
            return httpx.Response(422, json=wrong[1])
        return httpx.Response(200, json={"predictions": [{"answer": one, **FACTS} for one in rows]})

    with pytest.raises(ServerError) as caught:
        ask(server, "predict", "t", ["good"] * 300 + ["bad"])
    assert caught.value.where == f"{URL}/v1/tasks/t/predict: inputs.300: text"
    assert (caught.value.problem, caught.value.allowed) == ("the text is 5", "a string")


def test_parts_of_the_async_client_are_few_at_a_time_and_end_with_the_first_failure() -> None:
    busy, most, seen = 0, 0, 0

    async def server(request: httpx.Request) -> httpx.Response:
        nonlocal busy, most, seen
        if request.url.path == "/info":
            return httpx.Response(200, json={"limits": {"texts": 1}})
        busy, seen = busy + 1, seen + 1
        most = max(most, busy)
        await asyncio.sleep(0.01)
        busy -= 1
        text = json.loads(request.content)["inputs"][0]
        if text == "3":
            return httpx.Response(500, json=make_error_reply(500, "internal", "something went wrong here")[1])
        return httpx.Response(200, json={"predictions": [{"answer": text, **FACTS}]})

    async def predict_many() -> None:
        async with AsyncClient(URL, transport=httpx.MockTransport(server)) as client:
            await client.predict("t", [str(number) for number in range(40)])

    with pytest.raises(ServerError, match="something went wrong"):
        asyncio.run(predict_many())
    assert most == 4
    assert seen < 12


# -- what is sent, and what is not
def test_the_key_and_the_name_go_where_they_belong(ask: ClientCaller) -> None:
    server = Scripted([(200, {"task": "a/b"})])
    ask(server, "task", "a/b", key=" sk-1\n")
    assert server.seen[0].headers["authorization"] == "Bearer sk-1"
    assert server.seen[0].url.raw_path == b"/v1/tasks/a%2Fb"
    ask(server, "task", "x")
    assert "authorization" not in server.seen[1].headers


@pytest.mark.parametrize("inputs", ["one text", [float("nan")], ["half \ud800"], [object()]])
def test_what_is_no_list_of_json_is_not_sent(inputs: Any, ask: ClientCaller) -> None:
    server = Echo()
    with pytest.raises(DataError):
        ask(server, "predict", "t", inputs)
    assert server.sizes == []


def test_one_thing_is_to_be_answered(ask: ClientCaller) -> None:
    server = Scripted([(200, WHOLE)])
    both: dict[str, Any] = {"prompt": "a", "messages": [{"role": "user", "content": "b"}]}
    for asked in ({}, both):
        with pytest.raises(DataError, match="of them are given"):
            ask(server, "generate", "t", **asked)
    found = ask(server, "generate", "t", "say", parameters={"temperature": 0})
    assert found == Generation("ab", "ab", "answered", 0.5, "head", "ab", None, {"completion_tokens": 2}, 1.5)
    body = json.loads(server.seen[0].content)
    assert body == {"prompt": "say", "parameters": {"temperature": 0}, "stream": False}


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://x", "http://", "", "http://a:b:c"])
def test_an_address_that_is_none(url: str) -> None:
    for client in (Client, AsyncClient):
        with pytest.raises(ServerError, match="is no address"):
            client(url)


def test_a_key_that_no_header_holds() -> None:
    with pytest.raises(ServerError, match="the key holds"):
        Client(URL, "ключ")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((200, ["x"]), "this is no answer of loratory serve: it is"),
        ((200, {"predictions": []}), "there are 0 answers to 1 inputs"),
        ((200, {"predictions": [{"answer": 1}]}), "confidence, release, served_by, status is missing"),
        ((200, {"predictions": [1]}), "this is no answer of loratory serve"),
        ((302, {}), "the server answered 302"),
        ((401, {"error": {"message": "this needs a key"}}), "LORATORY_KEY"),
    ],
)
def test_what_a_stranger_answers(answer: Any, said: str, ask: ClientCaller) -> None:
    with pytest.raises(ServerError) as caught:
        ask(Scripted([answer]), "predict", "t", ["x"])
    assert said in str(caught.value)
    with pytest.raises(ServerError, match="it is no JSON"):
        ask(lambda _: httpx.Response(200, text="<html>"), "info")
    with pytest.raises(ServerError, match="502: <h1> Bad gateway"):
        ask(lambda _: httpx.Response(502, text="<h1>\n Bad gateway"), "info")


def test_a_password_in_the_address_is_in_no_message() -> None:
    with Client("http://me:secret@server", transport=httpx.MockTransport(Scripted([(500, {})]))) as client:
        with pytest.raises(ServerError) as caught:
            client.info()
    assert "secret" not in str(caught.value)


# -- streams
class Chunks(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that comes in these chunks; an error ends it."""

    def __init__(self, chunks: Sequence[bytes | type[httpx.RequestError]]) -> None:
        self.chunks, self.closed = chunks, False

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self.chunks:
            if isinstance(chunk, type):
                raise chunk("gone")
            yield chunk

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self:
            yield chunk

    def close(self) -> None:
        self.closed = True

    async def aclose(self) -> None:
        self.closed = True


def events(*values: Any) -> bytes:
    return b"".join(b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n" for value in values)


TEXT_PIECES = [{"text": "größe "}, {"text": "🎉\n"}, {"text": ""}]
STREAM = b": hello\n\n" + events(*TEXT_PIECES, WHOLE) + b"data: [DONE]\n\n"


def stream_response(body: httpx.ByteStream | Any) -> httpx.Response:
    return httpx.Response(200, stream=body, headers={"content-type": "text/event-stream"})


@pytest.mark.parametrize("size", [1, 2, 3, 7, 4096])
@pytest.mark.parametrize("ends", [b"\n", b"\r\n", b"\r"])
def test_a_stream_in_chunks_of_any_size(size: int, ends: bytes, ask: ClientCaller) -> None:
    raw = STREAM.replace(b"\n", ends)
    body = Chunks([raw[place : place + size] for place in range(0, len(raw), size)])
    pieces, answer = ask(lambda _: stream_response(body), "stream", "t", "say")
    assert pieces == ["größe ", "🎉\n", ""]
    assert answer == Generation("ab", "ab", "answered", 0.5, "head", "ab", None, {"completion_tokens": 2}, 1.5)
    assert body.closed


def test_data_on_several_lines_is_one_event(ask: ClientCaller) -> None:
    parts = [b'data: {"text":\ndata: "a"}\nid: 1\n', b"\n" + events(WHOLE) + b"data: [DONE]\n\n"]
    pieces, _ = ask(lambda _: stream_response(Chunks(parts)), "stream", "t", "say")
    assert pieces == ["a"]


def test_a_reply_that_is_no_stream(ask: ClientCaller) -> None:
    with pytest.raises(ServerError, match="text/event-stream"):
        ask(lambda _: httpx.Response(200, json={"answer": 1}), "stream", "t", "say")


WRONG = events(make_error_reply(500, "internal", "something went wrong here")[1])


@pytest.mark.parametrize(
    ("chunks", "said"),
    [
        ([events(TEXT_PIECES[0]), WRONG, b"data: [DONE]\n\n"], "something went wrong here"),
        ([events(TEXT_PIECES[0])], "ended before its answer was whole"),
        ([events(TEXT_PIECES[0]), b"data: [DONE]\n\n"], "ended before its answer was whole"),
        ([events(TEXT_PIECES[0], WHOLE)], "ended before its answer was whole"),
        ([events(TEXT_PIECES[0]), httpx.ReadError], "there is no answer: gone"),
        ([events(TEXT_PIECES[0]), httpx.ReadTimeout], "did not answer in time"),
        ([events(TEXT_PIECES[0]), b"data: {\n\n"], "it is no JSON"),
        ([events(TEXT_PIECES[0]), events({"answer": 1})], "is missing"),
    ],
)
def test_a_stream_that_breaks_was_heard_until_then(chunks: Any, said: str) -> None:
    body = Chunks(chunks)
    heard: list[str] = []
    with Client(URL, transport=httpx.MockTransport(lambda _: stream_response(body))) as client:
        with pytest.raises(ServerError, match=said):
            heard.extend(client.stream("t", "say"))
    assert heard == ["größe "]
    assert body.closed


def test_a_stream_is_asked_again_only_before_it_begins(ask: ClientCaller) -> None:
    seen = 0

    def server(request: httpx.Request) -> httpx.Response:
        nonlocal seen
        seen += 1
        if seen == 1:
            return httpx.Response(503, json=make_error_reply(503, "unavailable", "not now")[1])
        return stream_response(Chunks([STREAM]))

    pieces, _ = ask(server, "stream", "t", "say")
    assert (len(pieces), seen, ask.time.slept) == (3, 2, [0.25])
    with pytest.raises(ServerError, match="no such task"):
        ask(Scripted([make_error_reply(404, "not_found", "no such task")]), "stream", "t", "say")


def test_who_leaves_a_stream_closes_it() -> None:
    body = Chunks([STREAM])
    with Client(URL, transport=httpx.MockTransport(lambda _: stream_response(body))) as client:
        with client.stream("t", "say") as stream:
            next(iter(stream))
        assert body.closed


# -- the real application
@dataclass(frozen=True)
class Lengths:
    """Answers a by the length of a text, abstains from what is empty of letters."""

    task: Classify = CLASSIFY

    def predict(self, inputs: Sequence[Input], run: RequestRunner) -> list[Prediction]:
        return [self._one(str(input["text"])) for input in inputs]

    def _one(self, text: str) -> Prediction:
        if not any(map(str.isalpha, text)):
            return Prediction(None, reason="abstained")
        label = "long" if len(text) > 5 else "short"
        return Prediction({"label": label}, {"/label": {"long": 0.75, "short": 0.25}})

    def save(self, folder: Path) -> None: ...

    @classmethod
    def load(cls, source: Any, task: Any, backbones: BackbonePool) -> Self:
        return cls()

    def count_parameters(self) -> ParameterCount:
        return ParameterCount(0, 0)


def application(keys: Mapping[str, ApiKey] | None = None, **limits: Any) -> Any:
    service = Service("t", (FallbackStage("lengths", Lengths(), "cd" * 32),))
    spec = ServerSpec(limits=LimitsSpec(**limits))

    def load(name: str, path: str) -> Service:
        raise AssertionError

    return create_app(Server(spec, ServiceRegistry({"t": service}, {}), Engine(), load, ApiKeys(keys or {})))


def real(application: Any, use: Callable[[AsyncClient], Any], key: str | None = None) -> Any:
    async def use_async_client() -> Any:
        transport = httpx.ASGITransport(application)
        async with AsyncClient(
            "http://localhost", key, transport=transport, retries=RetryPolicy(max_retries=0)
        ) as client:
            return await use(client)

    return asyncio.run(use_async_client())


def test_real_answers() -> None:
    made = application(texts=2)
    texts = ["ab", "abcdef", "...", "abc", "abcdefg"]
    found = real(made, lambda client: client.predict("t", texts))
    assert [one.answer and one.answer["label"] for one in found] == ["short", "long", None, "short", "long"]
    assert [one.status for one in found] == ["answered", "answered", "abstained", "answered", "answered"]
    assert found[0].probabilities == {"/label": {"long": 0.75, "short": 0.25}}
    assert (found[0].served_by, found[0].release, found[0].fallback) == ("lengths", "cd" * 32, None)
    short = real(made, lambda client: client.predict("t", [{"text": "ab"}], probabilities=False))
    assert short[0].probabilities == {}


def test_real_facts_rebuild_the_task() -> None:
    made = application()
    (told,) = real(made, lambda client: client.tasks())
    assert told == real(made, lambda client: client.task("t"))
    assert Classify.model_validate(told["definition"]) == CLASSIFY
    assert real(made, lambda client: client.ready()) is True
    assert real(made, lambda client: client.info())["limits"]["texts"] == 256


def test_real_refusals() -> None:
    made = application(characters=50)
    with pytest.raises(ServerError) as caught:
        real(made, lambda client: client.predict("x", ["a"]))
    assert (caught.value.status, caught.value.code, caught.value.allowed) == (404, "not_found", "t")
    with pytest.raises(ServerError) as caught:
        real(made, lambda client: client.predict("t", ["a", "b" * 51]))
    assert (caught.value.code, caught.value.problem, caught.value.allowed) == ("too_large", "51 characters", "50")
    assert caught.value.where.endswith(": inputs.1")


def test_real_keys() -> None:
    one = ApiKey("one", frozenset({"infer"}), hash_secret("lk_1"))
    made = application({one.digest: one})
    assert real(made, lambda client: client.predict("t", ["ab"]), "lk_1")[0].answer == {"label": "short"}
    assert real(made, lambda client: client.ready()) is True
    for key in (None, "lk_2"):
        with pytest.raises(ServerError, match="this needs a key") as caught:
            real(made, lambda client: client.predict("t", ["ab"]), key)
        assert caught.value.status == 401


# -- what it needs
def test_the_client_loads_httpx_and_nothing_that_answers() -> None:
    heavy = (
        "torch",
        "transformers",
        "fastapi",
        "uvicorn",
        "pydantic",
        "numpy",
        "loratory.serving",
        "loratory.backbones",
    )
    code = f"import sys, loratory.client\nprint(sorted(set({heavy}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=60)
    assert done.stdout == b"[]\n"


def test_without_httpx_it_says_which_extra() -> None:
    code = "import sys\nsys.modules['httpx'] = None\nimport loratory.client"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, timeout=60)
    assert b'pip install "loratory[client]"' in done.stderr
