"""Routes that write: whole and streamed, ours and OpenAI's, and what they refuse."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from loratory.backbones.constraints import schema_limits
from loratory.backbones.forward.execution import run_locally
from loratory.backbones.pool import TorchBackbonePool
from loratory.errors import UnsupportedTask
from loratory.predictors.calibrated import CalibratedPredictor, OperatingPoint
from loratory.predictors.decoder import Decoder
from loratory.predictors.prompt_files import Prompt
from loratory.protocols import GenerateRequest, Network, Prediction
from loratory.serving.app import create_app
from loratory.serving.engine.batch_worker import EngineLimits
from loratory.serving.engine.inference_engine import Engine
from loratory.serving.engine.service_registry import FallbackStage, Service, ServiceRegistry
from loratory.serving.http.application import HttpApplication
from loratory.serving.http.server import Server
from loratory.specs.generation import GenerationSpec
from loratory.specs.serve import LimitsSpec, ServerSpec
from loratory.tasks.generate import Generate
from tiny_models import make_random_adapter, make_task

SCHEMA = {
    "type": "object",
    "properties": {"kind": {"enum": ["card", "cash"]}, "count": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["kind", "count"],
    "additionalProperties": False,
}
ASKED = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "once upon a time"}]
RELEASE = "0" * 64


class Canned:
    """Answers what it was told to, or fails."""

    task: Any = Generate()

    def __init__(self, answer: str | None, problem: Exception | None = None) -> None:
        self.answer, self.problem = answer, problem

    def predict(self, inputs: Any, run: Any) -> list[Prediction]:
        if self.problem:
            raise self.problem
        return [Prediction(self.answer) for _ in inputs]


def decoder(task: Any, wording: str, network: Network, **writing: Any) -> Decoder:
    how = GenerationSpec(**{"max_new_tokens": 20, **writing})
    return Decoder(task, wording, network, Prompt.load(None, wording), 200, writing=how)


@pytest.fixture(scope="module")
def backbone() -> Any:
    return TorchBackbonePool().get_base("seedling")


@pytest.fixture(scope="module")
def server(backbone: Any) -> Iterator[Server]:
    bare = Network(backbone)
    talk = decoder(Generate(), "talk", bare)
    fields = decoder(Generate(answer_schema=SCHEMA), "fields", bare, max_new_tokens=40)
    broken: Any = Canned(None, RuntimeError("lost"))
    stages: dict[str, list[Any]] = {
        "talk": [talk],
        "guest": [decoder(Generate(), "talk", Network(backbone, make_random_adapter(backbone)))],
        "fields": [fields],
        "labels": [CalibratedPredictor(decoder(make_task(), "labels", bare), OperatingPoint())],
        "shaky": [broken, talk],
        "canned": [broken, Canned("as ever")],
        "lost": [broken],
        "long": [decoder(Generate(), "talk", bare, max_new_tokens=180, temperature=6.0, seed=3)],
    }
    services = {
        name: Service(name, tuple(FallbackStage(f"{name}-{k}", one, RELEASE) for k, one in enumerate(listed)))
        for name, listed in stages.items()
    }
    spec = ServerSpec(limits=LimitsSpec(new_tokens=200))
    made = Server(spec, ServiceRegistry(services, {}), Engine(EngineLimits()), lambda name, path: services[name])
    yield made
    made.engine.close()


@pytest.fixture(scope="module")
def app(server: Server) -> HttpApplication:
    return create_app(server)


def sent(app: HttpApplication, path: str, body: Any = None) -> httpx.Response:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await (client.get(path) if body is None else client.post(path, json=body))

    return asyncio.run(ask())


def post_generate(app: HttpApplication, task: str, **body: Any) -> httpx.Response:
    return sent(app, f"/v1/tasks/{task}/generate", body)


def chat(app: HttpApplication, model: str = "talk", **more: Any) -> httpx.Response:
    return sent(app, "/v1/chat/completions", {"model": model, "messages": ASKED, **more})


def events(response: httpx.Response) -> list[Any]:
    assert response.headers["content-type"].startswith("text/event-stream")
    lines = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


# --- our own


def test_a_text_is_that_of_the_predictor_alone(app: HttpApplication, server: Server) -> None:
    found = post_generate(app, "talk", prompt="once upon a time").json()
    predictor = server.get_service("talk").stages[0].predictor
    (wanted,) = predictor.predict([{"prompt": "once upon a time"}], run_locally)
    assert found["answer"] == found["text"] == wanted.answer
    assert found["confidence"] == pytest.approx(wanted.confidence, rel=1e-4)
    assert (found["task"], found["status"], found["served_by"]) == ("talk", "answered", "talk-0")
    assert found["finish_reason"] in ("end", "length")
    assert found["usage"]["total_tokens"] == found["usage"]["prompt_tokens"] + found["usage"]["completion_tokens"]
    assert found["usage"]["completion_tokens"] <= 20
    assert post_generate(app, "guest", prompt="once upon a time").json()["text"] != found["text"]


def test_messages_and_inputs_are_asked_alike(app: HttpApplication) -> None:
    by_messages = post_generate(app, "talk", messages=ASKED).json()
    by_input = post_generate(app, "talk", input={"prompt": "once upon a time", "system": "be brief"}).json()
    assert by_messages["text"] == by_input["text"]


def test_parameters_change_one_answer_and_nothing_else(app: HttpApplication, server: Server) -> None:
    plain = post_generate(app, "talk", prompt="once upon a time").json()
    short = post_generate(app, "talk", prompt="once upon a time", parameters={"max_new_tokens": 3}).json()
    assert (short["usage"]["completion_tokens"], short["finish_reason"]) == (3, "length")
    assert plain["text"].startswith(short["text"])
    drawn = {
        post_generate(app, "talk", prompt="a", parameters={"temperature": 1.5, "seed": s}).json()["text"]
        for s in range(4)
    }
    assert len(drawn) > 1
    stop = plain["text"][4:6]
    stopped = post_generate(app, "talk", prompt="once upon a time", parameters={"stop": stop}).json()
    assert (stopped["text"], stopped["finish_reason"]) == (plain["text"].partition(stop)[0], "stop")
    assert post_generate(app, "talk", prompt="once upon a time").json()["text"] == plain["text"]


def test_the_servers_own_budget_is_the_largest(app: HttpApplication) -> None:
    found = post_generate(app, "talk", prompt="a", parameters={"max_new_tokens": 10_000}).json()
    assert found["usage"]["completion_tokens"] <= 200


def test_json_is_held_to_its_schema_whatever_the_parameters(app: HttpApplication) -> None:
    for parameters in ({}, {"temperature": 5.0, "seed": 3}, {"max_new_tokens": 25}, {"stop": ["{"]}):
        found = post_generate(app, "fields", prompt="17 cash", parameters=parameters).json()
        assert Draft202012Validator(SCHEMA).is_valid(found["answer"]), found
        assert json.loads(found["text"]) == found["answer"]
    refused = post_generate(app, "fields", prompt="17 cash", parameters={"max_new_tokens": 3})
    assert refused.status_code == 422
    assert "the budget is 3" in refused.json()["error"]["message"]


def test_a_task_of_labels_answers_too(app: HttpApplication) -> None:
    found = post_generate(app, "labels", prompt="my card").json()
    assert found["answer"]["label"] in ("card", "cash", "login")
    assert json.loads(found["text"]) == found["answer"]
    assert post_generate(app, "labels", input={"text": "my card"}).json()["answer"] == found["answer"]


@pytest.mark.parametrize("task", ["shaky", "canned"])
@pytest.mark.parametrize("stream", [False, True])
def test_who_fails_is_stood_in_for(app: HttpApplication, task: str, stream: bool) -> None:
    response = post_generate(app, task, prompt="once upon a time", stream=stream)
    assert response.status_code == 200
    found = events(response)[-2] if stream else response.json()
    assert (found["served_by"], found["fallback"]) == (f"{task}-1", {"from": f"{task}-0", "reason": "failed"})
    if stream:
        assert "".join(one["text"] for one in events(response)[:-2]) == found["text"]


def test_a_stream_tells_the_text_piece_by_piece(app: HttpApplication) -> None:
    whole = post_generate(app, "talk", prompt="once upon a time").json()
    *pieces, last, done = events(post_generate(app, "talk", prompt="once upon a time", stream=True))
    assert done == "[DONE]"
    assert len(pieces) > 3
    assert "".join(one["text"] for one in pieces) == whole["text"]
    assert {**last, "milliseconds": 0} == {**whole, "milliseconds": 0, "confidence": last["confidence"]}
    (only, _, _) = events(post_generate(app, "labels", prompt="my card", stream=True))
    assert json.loads(only["text"])["label"]


def test_what_goes_wrong_before_the_first_piece_is_an_ordinary_error(app: HttpApplication) -> None:
    response = post_generate(app, "lost", prompt="a", stream=True)
    assert response.status_code == 500
    assert response.json()["error"]["code"] == "internal"


def test_what_goes_wrong_later_is_an_event_and_nobody_goes_on_with_the_text(
    app: HttpApplication, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk: Any = server.get_service("talk").stages[0].predictor
    stages = (FallbackStage("first", talk, RELEASE), FallbackStage("second", Canned("as ever"), RELEASE))  # type: ignore[arg-type]
    monkeypatch.setattr(server.registry, "_services", {"both": Service("both", stages)})
    monkeypatch.setattr(talk.template.__class__, "parse_output", lambda *arguments: 1 / 0)
    *pieces, last = events(post_generate(app, "both", prompt="once upon a time", stream=True))
    assert pieces
    assert last["error"]["code"] == "internal"
    monkeypatch.undo()


BAD: list[tuple[Any, int]] = [
    ({}, 422),
    ({"prompt": "a", "messages": ASKED}, 422),
    ({"prompt": 7}, 422),
    ({"prompt": "a", "stream": "yes"}, 422),
    ({"prompt": "a", "others": 1}, 422),
    ({"prompt": "a" * 30_000}, 413),
    ({"prompt": "a", "parameters": {"temperature": "hot"}}, 422),
    ({"prompt": "a", "parameters": {"temperature": -1}}, 422),
    ({"prompt": "a", "parameters": {"max_new_tokens": True}}, 422),
    ({"prompt": "a", "parameters": {"max_new_tokens": 0}}, 422),
    ({"prompt": "a", "parameters": {"stop": [""]}}, 422),
    ({"prompt": "a", "parameters": {"stop": [7]}}, 422),
    ({"prompt": "a", "parameters": {"stop": ["a"] * 99}}, 422),
    ({"prompt": "a", "parameters": {"chat_template": "x"}}, 422),
    ({"messages": []}, 422),
    ({"messages": [{"role": "assistant", "content": "a"}]}, 422),
    ({"messages": [7]}, 422),
    ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 422),
    ({"input": {"prompt": "a", "history": "what"}}, 422),
    ({"input": {"prompt": "a", "history": [1, {}]}}, 422),
    ({"input": {"prompt": "a", "system": 5}}, 422),
    ({"input": {}}, 422),
]


@pytest.mark.parametrize(("body", "status"), BAD)
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_wrong_is_refused_in_our_shape(app: HttpApplication, body: Any, status: int, stream: bool) -> None:
    response = post_generate(app, "talk", **{"stream": stream, **body})
    assert response.status_code == status
    assert set(response.json()["error"]) == {"code", "message", "type", "param", "request_id"}


# --- who listens


async def spoken(app: HttpApplication, path: str, body: Any) -> AsyncIterator[tuple[int, asyncio.Queue[Any], str]]:
    """A client of ASGI itself, that can go away: status, a queue of what it sends, and each piece that it gets."""
    inbox: asyncio.Queue[Any] = asyncio.Queue()
    outbox: asyncio.Queue[Any] = asyncio.Queue()
    raw = json.dumps(body).encode()
    headers = [(b"host", b"test"), (b"content-length", str(len(raw)).encode())]
    scope = {"type": "http", "method": "POST", "path": path, "headers": headers, "query_string": b"", "asgi": {},
             "raw_path": path.encode(), "root_path": "", "scheme": "http", "http_version": "1.1"}  # fmt: skip
    inbox.put_nowait({"type": "http.request", "body": raw, "more_body": False})
    task = asyncio.create_task(app(scope, inbox.get, outbox.put))
    status = (await outbox.get())["status"]
    while not task.done():
        message = await asyncio.wait_for(outbox.get(), 5)
        yield status, inbox, message.get("body", b"").decode()
        if not message.get("more_body"):
            break
    await asyncio.wait([task], timeout=5)


def test_a_client_that_goes_away_stops_the_writing_within_a_few_steps(
    app: HttpApplication, server: Server, backbone: Any
) -> None:
    steps: list[int] = []
    hook = backbone.model.register_forward_hook(lambda *arguments: steps.append(1))

    whole = post_generate(app, "long", prompt="once upon a time").json()
    assert whole["usage"]["completion_tokens"] > 100

    async def leave() -> tuple[int, int]:
        heard, at = 0, 0
        body = {"prompt": "once upon a time", "stream": True}
        async for status, inbox, _ in spoken(app, "/v1/tasks/long/generate", body):
            assert status == 200
            heard += 1
            if heard == 3:
                at = len(steps)
                inbox.put_nowait({"type": "http.disconnect"})
                break
        await asyncio.sleep(0.5)
        return at, len(steps)

    try:
        at, after = asyncio.run(leave())
    finally:
        hook.remove()
    assert after - at <= 8
    assert not server.engine.get_worker(backbone)._scheduler.busy


def test_others_are_answered_while_a_long_text_is_streamed(app: HttpApplication) -> None:
    async def both() -> tuple[float, float]:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:

            async def time_generation(task: str, body: Any) -> float:
                assert (await client.post(f"/v1/tasks/{task}/generate", json=body)).status_code == 200
                return time.monotonic()

            long = asyncio.create_task(time_generation("long", {"prompt": "once upon a time"}))
            await asyncio.sleep(0.05)
            short = await time_generation("labels", {"prompt": "my card"})
            return short, await long

    short, long = asyncio.run(both())
    assert short < long


# --- OpenAI's


def test_models_are_tasks_and_the_bases_they_stand_on(app: HttpApplication) -> None:
    listed = sent(app, "/v1/models").json()
    found = {one["id"]: one for one in listed["data"]}
    assert listed["object"] == "list"
    assert set(found) == {"talk", "guest", "fields", "labels", "shaky", "canned", "lost", "long", "seedling"}
    assert all(one["owned_by"] == "loratory" and one["object"] == "model" for one in found.values())
    assert (found["guest"]["parent"], found["talk"]["parent"]) == ("seedling", None)
    assert sent(app, "/v1/models/guest").json() == found["guest"]
    assert sent(app, "/v1/models/org/none").status_code == 404


def test_a_completion(app: HttpApplication) -> None:
    found = chat(app).json()
    text = post_generate(app, "talk", messages=ASKED).json()
    (choice,) = found["choices"]
    assert found["object"] == "chat.completion"
    assert found["model"] == "talk"
    assert choice["message"] == {"role": "assistant", "content": text["text"], "refusal": None}
    assert (choice["index"], choice["finish_reason"]) == (
        0,
        {"end": "stop"}.get(text["finish_reason"], text["finish_reason"]),
    )
    assert found["usage"] == text["usage"]
    assert found["loratory"]["served_by"] == "talk-0"
    short = chat(app, max_tokens=100, max_completion_tokens=2, seed=-5, user="me", store=False, n=1, tools=[]).json()
    assert short["usage"]["completion_tokens"] == 2
    assert short["choices"][0]["finish_reason"] == "length"


def test_a_completion_in_chunks(app: HttpApplication) -> None:
    whole = chat(app).json()
    *chunks, usage, done = events(chat(app, stream=True, stream_options={"include_usage": True}))
    assert done == "[DONE]"
    assert {one["object"] for one in chunks} == {"chat.completion.chunk"}
    assert len({one["id"] for one in chunks}) == 1
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    said = [one["choices"][0]["delta"].get("content", "") for one in chunks]
    assert "".join(said) == whole["choices"][0]["message"]["content"]
    reasons = [one["choices"][0]["finish_reason"] for one in chunks]
    assert set(reasons[:-1]) == {None}
    assert reasons[-1] == whole["choices"][0]["finish_reason"]
    assert (usage["choices"], usage["usage"]) == ([], whole["usage"])
    assert chunks[0]["usage"] is None
    assert "usage" not in events(chat(app, stream=True))[0]


def test_the_logarithms_of_the_chosen_tokens(app: HttpApplication) -> None:
    found = chat(app, logprobs=True).json()
    told = found["choices"][0]["logprobs"]["content"]
    assert len(told) == found["usage"]["completion_tokens"]
    sure = math.exp(sum(one["logprob"] for one in told) / len(told))
    assert sure == pytest.approx(found["loratory"]["confidence"], rel=1e-6)
    assert "".join(one["token"] for one in told).strip() == found["choices"][0]["message"]["content"].strip()


def test_a_text_is_held_to_the_clients_schema(app: HttpApplication) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "order", "strict": True, "schema": SCHEMA}}
    for more in ({}, {"temperature": 2.0, "seed": 4}, {"stop": ["{"]}):
        found = chat(app, response_format=form, max_tokens=60, **more).json()
        assert Draft202012Validator(SCHEMA).is_valid(json.loads(found["choices"][0]["message"]["content"])), found
    *chunks, _ = events(chat(app, response_format=form, max_tokens=60, stream=True))
    text = "".join(one["choices"][0]["delta"].get("content", "") for one in chunks)
    assert Draft202012Validator(SCHEMA).is_valid(json.loads(text))
    assert chat(app, "fields", response_format=form).status_code == 200
    assert chat(app, "fields", response_format={"type": "json_object"}).status_code == 200


def laughs(depth: int) -> Any:
    levels = {f"a{k}": {"anyOf": [{"$ref": f"#/$defs/a{k + 1}"}] * 2} for k in range(depth)}
    return {"$defs": {**levels, f"a{depth}": {"type": "integer"}}, "$ref": "#/$defs/a0"}


HOSTILE: list[Any] = [
    laughs(40),
    {"type": "string", "minLength": 10**9},
    {"type": "array", "items": {"type": "array", "items": {"type": "null"}, "minItems": 4000}, "minItems": 4000},
    {"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
    {"$ref": "#"},
    {"type": "string", "pattern": "^(a|b)*a(a|b){20}$"},
    {"type": "object", "properties": []},
    {"type": "object", "required": [1, {}]},
    {"type": {"a": 1}},
    {"type": "object", "properties": {"a": {"type": "null"}}, "required": "a"},
    {"type": "integer", "minimum": 10**400},
    {"enum": "abc"},
    {"enum": ["a" * 9000]},
    {},
    {"anyOf": [{"type": "array", "maxItems": 4000 + k, "items": {"type": "string", "maxLength": 4000 - k}}
               for k in range(60)]},
]  # fmt: skip


@pytest.mark.parametrize("schema", HOSTILE)
def test_a_schema_that_is_too_much_is_refused_quickly(app: HttpApplication, schema: Any) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "bomb", "schema": schema}}
    started = time.monotonic()
    response = chat(app, response_format=form, max_tokens=30)
    assert response.status_code in (400, 422), response.text
    assert response.json()["error"]["param"].startswith("response_format")
    assert time.monotonic() - started < 3
    assert chat(app).status_code == 200


def test_deep_and_endless_values_are_no_schema() -> None:
    deep: Any = {"type": "null"}
    for _ in range(300):
        deep = {"anyOf": [deep]}
    for schema in (deep, {"type": "integer", "minimum": math.inf}, {"type": "integer", "maximum": math.nan}, 7):
        with pytest.raises(UnsupportedTask):
            schema_limits.check_schema_limits(schema)
    schema_limits.check_schema_limits(SCHEMA)


def test_the_contracts_json_is_the_content_of_a_task_of_labels(app: HttpApplication) -> None:
    found = chat(app, "labels", temperature=0.3).json()
    label = json.loads(found["choices"][0]["message"]["content"])["label"]
    text = post_generate(app, "labels", prompt="once upon a time").json()  # the last thing that the user says
    assert label == text["answer"]["label"]
    assert found["usage"]["completion_tokens"] == 0
    several = [*ASKED, {"role": "assistant", "content": "well"}, {"role": "user", "content": "my card"}]
    again = chat(app, "labels", messages=several).json()["choices"][0]["message"]["content"]
    assert json.loads(again) == post_generate(app, "labels", prompt="my card").json()["answer"]


REFUSED: list[tuple[str, Any, str]] = [
    ("tools", [{"type": "function"}], "tools"),
    ("functions", [{}], "functions"),
    ("logit_bias", {"5": 1}, "logit_bias"),
    ("n", 2, "n"),
    ("n", True, "n"),
    ("audio", {"voice": "a"}, "audio"),
    ("frequency_penalty", 0.5, "frequency_penalty"),
    ("chat_template", "x", "chat_template"),
    ("chat_template_kwargs", {"a": 1}, "chat_template_kwargs"),
    ("top_logprobs", 3, "top_logprobs"),
    ("temperature", "hot", "temperature"),
    ("temperature", True, "temperature"),
    ("temperature", 11, "temperature"),
    ("top_p", 0, "top_p"),
    ("max_tokens", 0, "max_tokens"),
    ("max_completion_tokens", 0, "max_completion_tokens"),
    ("response_format", {"type": "json_object"}, "response_format"),
    ("response_format", {"type": "grammar"}, "response_format"),
    ("response_format", {"type": "json_schema"}, "response_format.json_schema.schema"),
    ("stream_options", {"include_usage": True}, "stream_options"),
    ("messages", [], "messages"),
    ("messages", "hello", "messages"),
    ("nonsense", 1, "nonsense"),
]


@pytest.mark.parametrize(("name", "value", "param"), REFUSED)
def test_what_would_change_the_answer_and_is_not_done_is_refused_by_name(
    app: HttpApplication, name: str, value: Any, param: str
) -> None:
    response = chat(app, **{name: value})
    assert response.status_code in (400, 422)
    assert response.json()["error"]["param"] == param
    assert response.json()["error"]["type"] == "invalid_request_error"


def test_a_base_is_no_model_and_a_schema_of_ones_own_is_for_texts(app: HttpApplication) -> None:
    for name in ("seedling", "nobody"):
        response = chat(app, name)
        assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")
    form = {"type": "json_schema", "json_schema": {"name": "other", "schema": {"type": "null"}}}
    assert chat(app, "fields", response_format=form).status_code == 400
    assert chat(app, "labels", response_format=form).status_code == 400
    assert chat(app, "labels", logprobs=True).status_code == 400
    assert chat(app, logprobs=True, stream=True).status_code == 400
    long = [{"role": "user", "content": "once upon a time " * 600}]
    response = chat(app, messages=long)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "context_length_exceeded")
    assert post_generate(app, "talk", messages=long).json()["status"] == "long"


# --- budgets and the room of the base


def room_of(server: Server, task: str = "talk") -> tuple[int, int]:
    """Tokens of the conversation that is asked here, and those that the base reads."""
    predictor: Any = server.get_service(task).stages[0].predictor
    return len(predictor.encode_prompt({"prompt": "once upon a time", "system": "be brief"})), predictor.context_length


@pytest.fixture
def narrow(server: Server, monkeypatch: pytest.MonkeyPatch) -> int:
    """The room beside the conversation is 30 tokens."""
    monkeypatch.setattr(Decoder, "context_length", room_of(server)[0] + 30)
    return 30


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_budget_beyond_the_room_is_the_room(app: HttpApplication, narrow: int, name: str, stream: bool) -> None:
    for budget in (narrow + 1, 100_000):
        more: dict[str, Any] = {name: budget, "temperature": 5.0, "seed": 3}  # so hot that it never ends by itself
        response = chat(app, stream=stream, stream_options={"include_usage": True} if stream else None, **more)
        assert response.status_code == 200, response.text
        found = events(response) if stream else [response.json()]
        reasons = [choice["finish_reason"] for one in found if one != "[DONE]" for choice in one["choices"]]
        assert reasons[-1] == "length"
        usage = next(one["usage"] for one in reversed(found) if one != "[DONE]")
        assert usage["completion_tokens"] == narrow


@pytest.mark.parametrize("stream", [False, True])
def test_our_own_route_clamps_too(app: HttpApplication, narrow: int, stream: bool) -> None:
    hot = {"max_new_tokens": 5_000, "temperature": 5.0, "seed": 3}
    response = post_generate(app, "talk", messages=ASKED, parameters=hot, stream=stream)
    found = events(response)[-2] if stream else response.json()
    assert (found["finish_reason"], found["usage"]["completion_tokens"]) == ("length", narrow)


@pytest.mark.parametrize("stream", [False, True])
def test_json_is_whole_within_the_room_that_is_left(
    app: HttpApplication, server: Server, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "order", "schema": SCHEMA}}
    rooms = {task: room_of(server, task)[0] + 30 for task in ("talk", "fields")}
    for asked in ({"model": "talk", "response_format": form}, {"model": "fields"}):
        monkeypatch.setattr(Decoder, "context_length", rooms[str(asked["model"])])
        for seed in range(3):
            more: dict[str, Any] = {**asked, "max_tokens": 5_000, "temperature": 3.0, "seed": seed}
            response = chat(app, stream=stream, **more)
            assert response.status_code == 200, response.text
            found = [one for one in events(response) if one != "[DONE]"] if stream else [response.json()]
            parts = [
                choice["delta" if stream else "message"].get("content") for one in found for choice in one["choices"]
            ]
            assert Draft202012Validator(SCHEMA).is_valid(json.loads("".join(part or "" for part in parts)))


@pytest.mark.parametrize("stream", [False, True])
def test_only_a_conversation_that_leaves_no_room_is_refused_and_its_tokens_are_named(
    app: HttpApplication, server: Server, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    taken, _ = room_of(server)
    monkeypatch.setattr(Decoder, "context_length", taken + 1)
    assert chat(app, max_tokens=500, stream=stream).status_code == 200
    monkeypatch.setattr(Decoder, "context_length", taken)
    form = {"type": "json_schema", "json_schema": {"name": "order", "schema": SCHEMA}}
    for more in ({}, {"max_tokens": 500}, {"response_format": form}, {"response_format": form, "max_tokens": 400}):
        error = chat(app, stream=stream, **more).json()["error"]
        assert (error["code"], error["param"]) == ("context_length_exceeded", "messages"), error
        assert f"takes {taken} tokens of the {taken} that seedling reads" in error["message"]
        assert "max_tokens" in error["message"]


def test_a_schema_that_does_not_fit_beside_the_conversation_is_refused_by_name(
    app: HttpApplication, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    rooms = {task: room_of(server, task)[0] + 4 for task in ("talk", "fields")}
    form = {"type": "json_schema", "json_schema": {"name": "order", "schema": SCHEMA}}
    for body in ({"model": "talk", "response_format": form}, {"model": "fields"}):
        monkeypatch.setattr(Decoder, "context_length", rooms[str(body["model"])])
        error = sent(app, "/v1/chat/completions", {"messages": ASKED, "max_tokens": 400, **body}).json()["error"]
        assert (error["code"], error["param"]) == ("context_length_exceeded", "messages")
        assert "shortest answer takes" in error["message"]
    error = chat(app, "fields", max_completion_tokens=3).json()["error"]
    assert (error["param"], "the budget is 3" in error["message"]) == ("max_completion_tokens", True)


def test_a_predictor_alone_clamps_its_budget(backbone: Any) -> None:
    made = decoder(Generate(), "talk", Network(backbone), max_new_tokens=100_000)
    (request,) = made.plan([{"prompt": "once upon a time"}]).requests
    assert isinstance(request, GenerateRequest)
    assert request.max_new_tokens == made.context_length - len(request.prompt)
    assert made.max_text_tokens > 0
    (none,) = made.predict([{"prompt": "once upon a time " * 900}], run_locally)
    assert (none.answer, none.reason) == (None, "long")


def test_every_status_is_documented(app: HttpApplication) -> None:
    paths = sent(app, "/openapi.json").json()["paths"]
    for path in ("/v1/tasks/talk/generate", "/v1/chat/completions"):
        told = paths[path]["post"]["responses"]
        assert {"200", "400", "404", "413", "422", "429", "500", "504"} <= set(told)
        assert "text/event-stream" in told["200"]["content"]
    assert {"/v1/models", "/v1/models/{id}"} <= set(paths)


def test_two_tasks_are_written_at_the_same_time_as_alone(app: HttpApplication) -> None:
    alone = {name: post_generate(app, name, prompt="once upon a time").json()["text"] for name in ("talk", "guest")}

    async def both() -> list[Any]:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            names = ["talk", "guest"] * 5
            asked = (client.post(f"/v1/tasks/{name}/generate", json={"prompt": "once upon a time"}) for name in names)
            return [(name, one.json()["text"]) for name, one in zip(names, await asyncio.gather(*asked), strict=True)]

    assert all(text == alone[name] for name, text in asyncio.run(both()))


def test_the_grammars_of_clients_are_bounded(backbone: Any) -> None:
    from loratory.backbones.constraints import grammar

    shelf = grammar.GrammarCache()
    for number in range(300):
        shelf.get(json.dumps({"enum": [str(number) * 500]}), lambda schema: (schema, schema))  # type: ignore[arg-type,return-value]
    assert len(shelf._grammars) <= grammar.MAX_CACHED_SCHEMAS
    assert sum(map(len, shelf._grammars)) <= grammar.MAX_CACHED_CHARACTERS
