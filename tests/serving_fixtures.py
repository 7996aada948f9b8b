"""Servers for tests: predictors whose answers are foretold, a backbone that can be held up, a caller without HTTP."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loratory.protocols import EncodeRequest, InferencePlan, InferenceRequest, Input, Network, Prediction, TokenIds
from loratory.serving.app import create_app
from loratory.serving.engine.batch_worker import EngineLimits
from loratory.serving.engine.inference_engine import Engine
from loratory.serving.engine.service_registry import FallbackStage, Service, ServiceRegistry
from loratory.serving.http.application import HttpApplication
from loratory.serving.http.auth.api_keys import ApiKey, ApiKeys, hash_secret
from loratory.serving.http.server import Server, ServiceLoader
from loratory.specs.serve import ServerSpec
from loratory.tasks.classify import Classify
from loratory.tasks.generate import Generate
from loratory.tasks.tag import Tag

INTENTS = Classify(labels=("card", "cash", "login"))
THREATS = Classify(labels=("BENIGN", "INJECTION", "JAILBREAK"))
PERSONAL = Tag(labels=("EMAIL", "PHONE"))
INFER, ADMIN = "lk_infer", "lk_admin"
FAILING_TEXT = "poison"  # a text at which a FakeBackbone fails


def predict_by_keyword(task: Any, input: Input) -> Prediction:
    """The first label that stands in the text, else the first of all; e-mails as spans; a prompt backwards."""
    if isinstance(task, Tag):
        return _spans(task, str(input["text"]))
    if isinstance(task, Generate):
        return Prediction(str(input["prompt"])[::-1] if task.answer_schema is None else {"name": input["prompt"]})
    labels: tuple[str, ...] = task.labels
    chosen = next((label for label in labels if label.lower() in str(input["text"]).lower()), labels[0])
    rest = 0.25 / (len(labels) - 1)
    return task.from_probabilities(input, {label: 0.75 if label == chosen else rest for label in labels})  # type: ignore[no-any-return]


def _spans(task: Tag, text: str) -> Prediction:
    found, place = [], 0
    for word in text.split(" "):
        if "@" in word:
            found.append((place, place + len(word), "EMAIL"))
        place += len(word) + 1
    odds = {f"/spans/{number}/label": {"EMAIL": 0.875, "PHONE": 0.0625} for number in range(len(found))}
    return Prediction(task.from_spans(text, found), odds)


@dataclass(eq=False)
class FakePredictor:
    """A predictor that needs no backbone."""

    task: Any
    answers: Callable[[Any, Input], Prediction] = predict_by_keyword

    def predict(self, inputs: Sequence[Input], run: Any) -> list[Prediction]:
        return [self.answers(self.task, one) for one in inputs]


@dataclass(eq=False)
class FakeBackbone:
    """Stands where a backbone does: notes what it is given, and may be held up."""

    name: str = "bench"
    digest: str = "bench"
    batches: list[list[str]] = field(default_factory=list)
    unblocked: threading.Event = field(default_factory=threading.Event)
    entered: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.unblocked.set()

    def incremental_cost(self, network: Network) -> float:
        return 1.0

    def encode(self, requests: Sequence[EncodeRequest], alive: Any = None) -> list[str]:
        texts = ["".join(map(chr, request.ids)) for request in requests]
        self.batches.append(texts)
        self.entered.set()
        assert self.unblocked.wait(20)
        if FAILING_TEXT in texts:
            raise RuntimeError("this text cannot be computed")
        return texts

    @property
    def seen_texts(self) -> list[str]:
        return [text for batch in self.batches for text in batch]


@dataclass(eq=False)
class PlannablePredictor:
    """A predictor that asks a FakeBackbone once."""

    task: Any
    network: Network
    answers: Callable[[Any, Input], Prediction] = predict_by_keyword

    def requests(self, inputs: Sequence[Input]) -> list[InferenceRequest]:
        return [EncodeRequest(self.network, encode_characters(str(one["text"]))) for one in inputs]

    def plan(self, inputs: Sequence[Input]) -> InferencePlan | None:
        def read(outputs: Sequence[Any]) -> list[Prediction]:
            return [self.answers(self.task, {"text": text}) for text in outputs]

        return InferencePlan(self.requests(inputs), read)

    def predict(self, inputs: Sequence[Input], run: Any) -> list[Prediction]:
        asked = self.plan(inputs)
        assert asked is not None
        return asked.read_outputs(run(asked.requests))


def encode_characters(text: str) -> TokenIds:
    return tuple(map(ord, text))


def make_plannable(backbone: FakeBackbone, task: Any = INTENTS) -> Any:
    shared: Any = backbone
    return PlannablePredictor(task, Network(shared))


def make_stages(*predictors: Any) -> tuple[FallbackStage, ...]:
    return tuple(FallbackStage(f"stage-{number}", one, f"{number}" * 64) for number, one in enumerate(predictors, 1))


def make_service(name: str, *predictors: Any, deadline: float | None = None) -> Service:
    return Service(name, make_stages(*predictors), deadline)


def make_keys() -> ApiKeys:
    made = [
        ApiKey("ann", frozenset({"infer"}), hash_secret(INFER)),
        ApiKey("root", frozenset({"infer", "admin"}), hash_secret(ADMIN)),
    ]
    return ApiKeys({key.digest: key for key in made})


def refuse_to_load(name: str, path: str) -> Service:
    raise AssertionError("nothing is loaded here")


def make_server(
    folder: Path,
    *services: Service,
    known: ApiKeys | None = None,
    roles: Mapping[str, str] | None = None,
    load: ServiceLoader = refuse_to_load,
    **spec: Any,
) -> Server:
    """A server without a process; `spec` are members of its YAML."""
    whole = ServerSpec.model_validate({"audit": folder / "audit.jsonl", **spec})
    limits = EngineLimits(whole.limits.batch_tokens, whole.limits.queue_tokens)
    board = ServiceRegistry({one.name: one for one in services}, roles or {}, whole.default)
    return Server(whole, board, Engine(limits), load, known or ApiKeys({}))


def make_router_server(folder: Path, **more: Any) -> Server:
    """A server with all three roles, and with a task that writes."""
    services = [
        make_service("intent", FakePredictor(INTENTS)),
        make_service("pii", FakePredictor(PERSONAL)),
        make_service("security", FakePredictor(THREATS)),
        make_service("reply", FakePredictor(Generate())),
    ]
    roles = {"intent": "intent", "pii": "pii", "security": "security"}
    return make_server(folder, *services, **{"roles": roles, **more})


@dataclass(frozen=True)
class Reply:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> Any:
        return self.json["error"]


@dataclass
class RawRequest:
    """One request, byte for byte."""

    method: str
    path: str
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body_chunks: Sequence[bytes] | None = None  # of the body, without a content-length
    disconnected: asyncio.Event | None = None  # set when the client goes away
    complete: bool = True  # whether all of the body comes

    def scope(self) -> dict[str, Any]:
        told = {"host": "localhost", **self.headers}
        if self.body_chunks is None:
            told = {"content-length": str(len(self.encode_body())), **told}
        return {
            "type": "http",
            "method": self.method,
            "path": self.path,
            "raw_path": self.path.encode(),
            "query_string": b"",
            "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in told.items()],
            "scheme": "http",
            "http_version": "1.1",
            "server": ("localhost", 80),
            "client": ("127.0.0.1", 1),
            "root_path": "",
        }

    def encode_body(self) -> bytes:
        return (
            self.body if isinstance(self.body, bytes) else b"" if self.body is None else json.dumps(self.body).encode()
        )

    async def send_to(self, app: HttpApplication) -> Reply:
        """Raises EOFError where there is no answer."""
        parts = list(self.body_chunks if self.body_chunks is not None else [self.encode_body()])
        sent: list[Any] = []
        gone = self.disconnected or asyncio.Event()

        async def receive() -> dict[str, Any]:
            if parts:
                return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts) or not self.complete}
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        await app(self.scope(), receive, send)
        if not sent:
            raise EOFError
        start = sent[0]
        headers = {name.decode().lower(): value.decode("latin-1") for name, value in start["headers"]}
        return Reply(start["status"], headers, b"".join(part.get("body", b"") for part in sent[1:]))


def send_request(app: HttpApplication, method: str, path: str, body: Any = None, **more: Any) -> Reply:
    """One request on an event loop of its own."""
    return asyncio.run(RawRequest(method, path, body, **more).send_to(app))


def post(server: Server, path: str, body: Any, **headers: str) -> Reply:
    return send_request(create_app(server), "POST", path, body, headers=headers)


def bearer_header(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}
