"""What clients see: our own interface, the router's and the one-text interface; right answers and right errors."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from loratory.protocols import Input, Prediction
from loratory.serving import launcher
from loratory.serving.app import create_app
from loratory.serving.engine.precision_selection import PrecisionChoice
from loratory.serving.http.auth.api_keys import ApiKeys
from loratory.serving.http.public_names import public_base_name
from loratory.serving.http.server import Server
from loratory.specs.serve import ServerSpec
from loratory.tasks.classify import Classify
from loratory.tasks.generate import Generate
from serving_fixtures import (
    INTENTS,
    PERSONAL,
    THREATS,
    FakeBackbone,
    FakePredictor,
    Reply,
    make_plannable,
    make_router_server,
    make_server,
    make_service,
    post,
    predict_by_keyword,
    send_request,
)

BATCH = "/api/v1/classify/batch"
OTHER = Classify(labels=("x", "y"))
HISTORY = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}]


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return make_router_server(tmp_path)


def get(server: Server, path: str, method: str = "GET") -> Reply:
    return send_request(create_app(server), method, path)


def predict(server: Server, task: str, *inputs: Any, **more: Any) -> Reply:
    return post(server, f"/v1/tasks/{task}/predict", {"inputs": list(inputs), **more})


def answers(reply: Reply) -> list[Any]:
    assert reply.status == 200, reply.body
    return [one["answer"] for one in reply.json["predictions"]]


# -- our own
def test_labels(server: Server) -> None:
    reply = predict(server, "intent", "cash please", {"text": "I cannot login"})
    assert answers(reply) == [{"label": "cash"}, {"label": "login"}]
    assert reply.json["predictions"][0] == {
        "answer": {"label": "cash"},
        "status": "answered",
        "confidence": 0.75,
        "probabilities": {"/label": {"card": 0.125, "cash": 0.75, "login": 0.125}},
        "served_by": "stage-1",
        "release": "1" * 64,
        "fallback": None,
    }
    assert reply.json["task"] == "intent"
    assert reply.json["milliseconds"] > 0


def test_probabilities_off(server: Server) -> None:
    (one,) = predict(server, "intent", "cash", probabilities=False).json["predictions"]
    assert "probabilities" not in one
    assert one["confidence"] == 0.75


def test_spans(server: Server) -> None:
    reply = predict(server, "pii", "write to ann@example.org now", "nobody")
    span = {"start": 9, "end": 24, "label": "EMAIL", "text": "ann@example.org"}
    assert answers(reply) == [{"spans": [span]}, {"spans": []}]
    assert reply.json["predictions"][0]["probabilities"] == {"/spans/0/label": {"EMAIL": 0.875, "PHONE": 0.0625}}


def test_written_answers(server: Server) -> None:
    inputs = ["abc", {"prompt": "xyz"}, {"prompt": "three", "system": "be kind", "history": HISTORY}]
    assert answers(predict(server, "reply", *inputs)) == ["cba", "zyx", "eerht"]


def test_written_json(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"name": {"type": "string"}}}
    server = make_server(tmp_path, make_service("a", FakePredictor(Generate(answer_schema=schema))))
    assert answers(predict(server, "a", "ann")) == [{"name": "ann"}]


def test_infinity_is_null(tmp_path: Path) -> None:
    def wild(task: Any, input: Input) -> Prediction:
        return Prediction({"label": "card"}, {"/label": {"card": float("inf"), "cash": float("nan")}})

    reply = predict(make_server(tmp_path, make_service("a", FakePredictor(INTENTS, wild))), "a", "x")
    assert reply.json["predictions"][0]["probabilities"] == {"/label": {"card": None, "cash": None}}


@pytest.mark.parametrize(
    ("task", "given", "said"),
    [
        ("intent", {"txt": "cash"}, "did you mean 'text'?"),
        ("intent", {"text": "cash", "lang": "en"}, "'lang'"),
        ("intent", "", "the text is empty"),
        ("intent", {"text": ""}, "the text is empty"),
        ("intent", {"text": 3}, "a string"),
        ("intent", {"text": None}, '"text"'),
        ("intent", 3, "no input"),
        ("intent", None, "no input"),
        ("intent", ["cash"], "no input"),
        ("pii", {}, '"text"'),
        ("reply", {"prompt": "x", "history": "hello"}, "history"),
        ("reply", {"prompt": "x", "history": [3]}, "history[0]"),
        ("reply", {"prompt": "x", "history": [{}]}, "role"),
        ("reply", {"prompt": "x", "history": [{"role": "user"}]}, "content"),
        ("reply", {"prompt": "x", "history": [{"role": "nobody", "content": "x"}]}, "nobody"),
        ("reply", {"prompt": "x", "history": [{"role": "user", "content": 3}]}, "content"),
        ("reply", {"prompt": "x", "history": HISTORY[:1]}, "user"),
        ("reply", {"prompt": "x", "history": [HISTORY[1]]}, "assistant"),
        ("reply", {"prompt": "x", "system": 3}, "system"),
        ("reply", {"messages": HISTORY}, "messages"),
    ],
)
def test_an_input_that_is_none_is_named(server: Server, task: str, given: Any, said: str) -> None:
    reply = predict(server, task, "a good one", given)
    assert (reply.status, reply.error["code"]) == (422, "invalid_input")
    assert said in reply.error["message"]
    assert reply.error["param"].startswith("inputs.1")


def test_an_empty_text_has_no_spans(server: Server) -> None:
    assert answers(predict(server, "pii", "")) == [{"spans": []}]


@pytest.mark.parametrize(
    ("body", "status", "code", "said"),
    [
        (b"{", 400, "invalid_request", "no JSON"),
        (b"", 400, "invalid_request", "no JSON"),
        (b'{"inputs": ["a"], "x": NaN}', 400, "invalid_request", "no JSON"),
        (b'{"inputs": ["\\ud800"]}', 400, "invalid_request", "no JSON"),
        (b'{"inputs": ["\xff"]}', 400, "invalid_request", "no JSON"),
        (b"[" * 2000, 400, "invalid_request", "no JSON"),
        (b"[]", 400, "invalid_request", "object"),
        (b"3", 400, "invalid_request", "object"),
        ({}, 422, "invalid_input", "no input"),
        ({"inputs": []}, 422, "invalid_input", "no input"),
        ({"inputs": "cash"}, 422, "invalid_input", "a list"),
        ({"inputs": None}, 422, "invalid_input", "a list"),
        ({"input": ["cash"]}, 422, "invalid_input", "did you mean 'inputs'?"),
        ({"inputs": ["cash"], "probabilities": 1}, 422, "invalid_input", "true or false"),
        ({"inputs": ["cash"] * 9}, 413, "too_large", "9 inputs; allowed: 8"),
        ({"inputs": ["x" * 51]}, 413, "too_large", "51 characters; allowed: 50"),
        ({"inputs": ["x" * 3000]}, 413, "too_large", "more than 2048 bytes"),
    ],
)
def test_bodies_that_are_none(tmp_path: Path, body: Any, status: int, code: str, said: str) -> None:
    limits = {"texts": 8, "characters": 50, "body_bytes": 2048}
    reply = post(make_router_server(tmp_path, limits=limits), "/v1/tasks/intent/predict", body)
    assert (reply.status, reply.error["code"]) == (status, code)
    assert said in reply.error["message"]
    assert set(reply.error) == {"code", "message", "type", "param", "request_id"}
    assert reply.headers["content-type"] == "application/json"


def test_a_body_over_the_cap_is_cut_off_without_a_content_length_too(tmp_path: Path) -> None:
    app = create_app(make_router_server(tmp_path, limits={"body_bytes": 1024}))
    small = json.dumps({"inputs": ["cash"]}).encode()
    kept = send_request(app, "POST", "/v1/tasks/intent/predict", body_chunks=[small[:9], b"", small[9:]])
    assert answers(kept) == [{"label": "cash"}]
    cut = send_request(app, "POST", "/v1/tasks/intent/predict", body_chunks=[b" " * 700, b" " * 700])
    assert (cut.status, cut.headers["connection"]) == (413, "close")
    for told in ("1025", "9" * 5000):
        cut = send_request(app, "POST", "/v1/tasks/intent/predict", body_chunks=[b""], headers={"content-length": told})
        assert (cut.status, cut.error["code"]) == (413, "too_large")
    for told in ("²", "-1", "many"):  # a server below would have refused these
        odd = send_request(
            app, "POST", "/v1/tasks/intent/predict", body_chunks=[small], headers={"content-length": told}
        )
        assert odd.status == 200


def test_tasks_are_described(server: Server) -> None:
    listed = get(server, "/v1/tasks").json["tasks"]
    assert [one["task"] for one in listed] == ["intent", "pii", "security", "reply"]
    one = get(server, "/v1/tasks/intent").json
    assert one == listed[0]
    assert (one["labels"], one["kind"], one["streams"]) == (["card", "cash", "login"], "classify", False)
    assert one["answer"] == dict(INTENTS.contract())
    assert one["stages"] == [{"contender": "stage-1", "release": "1" * 64}]
    missing = get(server, "/v1/tasks/nobody")
    assert (missing.status, missing.error["code"]) == (404, "not_found")
    assert "intent, pii, security, reply" in missing.error["message"]


# -- one text
def test_one_text(server: Server) -> None:
    reply = post(server, "/predict/", {"text": "cash"})
    assert reply.json == {
        "label": "cash",
        "status": "answered",
        "confidence": 0.75,
        "served_by": "stage-1",
        "release": "1" * 64,
        "fallback": None,
    }


def test_the_path_without_its_slash_is_another_one(server: Server) -> None:
    reply = post(server, "/predict", {"text": "cash"})
    assert (reply.status, reply.error["code"]) == (404, "not_found")
    assert "location" not in reply.headers


@pytest.mark.parametrize("body", [{}, {"text": ""}, {"text": 3}, {"text": None}, {"txt": "a"}, {"text": "a", "k": 1}])
def test_one_text_that_is_none(server: Server, body: Any) -> None:
    assert post(server, "/predict/", body).status == 422


def test_one_text_goes_to_the_default(tmp_path: Path) -> None:
    services = [
        make_service("pii", FakePredictor(PERSONAL)),
        make_service("a", FakePredictor(INTENTS)),
        make_service("b", FakePredictor(OTHER)),
    ]
    assert post(make_server(tmp_path, *services), "/predict/", {"text": "y"}).json["label"] == "card"
    assert post(make_server(tmp_path, *services, default="b"), "/predict/", {"text": "y"}).json["label"] == "y"
    assert post(make_server(tmp_path, services[0]), "/predict/", {"text": "y"}).status == 404
    assert post(make_server(tmp_path, *services, default="pii"), "/predict/", {"text": "y"}).status == 404


# -- the router's
def batch(server: Server, *texts: str, kind: str | None = None, **options: Any) -> Any:
    body: dict[str, Any] = {"texts": list(texts), **({"options": options} if options else {})}
    reply = post(server, BATCH, body if kind is None else {**body, "task_type": kind})
    assert reply.status == 200, reply.body
    return reply.json


def categories(found: Any) -> list[tuple[str, float]]:
    return [(one["category"], one["confidence"]) for one in found["results"]]


TEXTS = ("login, ann@example.org", "cash", "injection of cash")
RIGHT: Mapping[str, Sequence[tuple[str, float]]] = {
    "intent": [("login", 0.75), ("cash", 0.75), ("cash", 0.75)],
    "pii": [("EMAIL", 0.875), ("no_pii", 1.0), ("no_pii", 1.0)],
    "security": [("safe", 0.75), ("safe", 0.75), ("INJECTION", 0.75)],
}


def make_statistics(average: float, **categories: int) -> Mapping[str, Any]:
    return {"category_distribution": categories, "avg_confidence": average, "low_confidence_count": 0}


COUNTED = {
    "intent": make_statistics(0.75, login=1, cash=2),
    "pii": make_statistics(2.875 / 3, EMAIL=1, no_pii=2),
    "security": make_statistics(0.75, safe=2, INJECTION=1),
}


@pytest.mark.parametrize("kind", ["intent", "pii", "security"])
def test_each_kind_answers_rightly_and_counts_its_own(server: Server, kind: str) -> None:
    found = batch(server, *TEXTS, kind=kind)
    assert categories(found) == RIGHT[kind]
    assert found["statistics"] == COUNTED[kind]
    assert found["total_count"] == 3
    assert found["processing_time_ms"] > 0
    assert all(one["processing_time_ms"] > 0 and "probabilities" not in one for one in found["results"])


def test_all_answers_all_of_them(server: Server) -> None:
    found = batch(server, *TEXTS, kind="all")
    for role, right in RIGHT.items():
        assert [(row[role]["category"], row[role]["confidence"]) for row in found["results"]] == right
    assert found["statistics"] == COUNTED
    assert found["total_count"] == 3


@pytest.mark.parametrize("kind", ["", None])
def test_no_kind_means_intent(server: Server, kind: str | None) -> None:
    assert categories(batch(server, *TEXTS, kind=kind)) == RIGHT["intent"]


def test_probabilities_are_of_all_labels(server: Server) -> None:
    found = batch(server, *TEXTS, kind="all", return_probabilities=True)["results"]
    assert found[0]["intent"]["probabilities"] == {"card": 0.125, "cash": 0.125, "login": 0.75}
    assert found[0]["pii"]["probabilities"] == {"EMAIL": 0.875, "PHONE": 0.0625}
    assert found[1]["pii"]["probabilities"] == {"EMAIL": 0.0, "PHONE": 0.0}
    assert found[2]["security"]["probabilities"] == {"safe": 0.125, "INJECTION": 0.75, "JAILBREAK": 0.125}


def test_the_threshold_is_honoured(server: Server) -> None:
    found = batch(server, *TEXTS, kind="pii", confidence_threshold=0.9)
    assert [(one["category"], one["status"]) for one in found["results"]] == [
        ("unknown", "below_threshold"),
        ("no_pii", "answered"),
        ("no_pii", "answered"),
    ]
    assert found["statistics"]["category_distribution"] == {"unknown": 1, "no_pii": 2}
    assert categories(batch(server, "cash", confidence_threshold=0.75)) == [("cash", 0.75)]
    assert categories(batch(server, "cash", confidence_threshold=0.76)) == [("unknown", 0.75)]


def test_a_confidence_below_seven_tenths_is_low(tmp_path: Path) -> None:
    def unsure(task: Any, input: Input) -> Prediction:
        most = 0.69 if "a" in str(input["text"]) else 0.7
        return Prediction({"label": "card"}, {"/label": {"card": most, "cash": 1 - most}})

    server = make_router_server(tmp_path)
    server.registry.register(make_service("intent", FakePredictor(INTENTS, unsure)))
    assert batch(server, "a", "b", "a")["statistics"]["low_confidence_count"] == 2


def test_an_explanation_says_who_and_why(server: Server) -> None:
    (one,) = batch(server, "cash", include_explanation=True)["results"]
    assert one["explanation"] == "stage-1 answered cash with probability 0.750"
    (one,) = batch(server, "cash", include_explanation=True, confidence_threshold=0.8)["results"]
    assert one["explanation"].endswith("below the threshold of 0.8")
    assert "explanation" not in batch(server, "cash", include_explanation=False)["results"][0]


def test_an_abstention_is_nobodys_category(tmp_path: Path) -> None:
    server = make_router_server(tmp_path)
    server.registry.register(
        make_service(
            "intent", FakePredictor(INTENTS, lambda *_: Prediction(None, reason="abstained")), FakePredictor(INTENTS)
        )
    )
    (one,) = batch(server, "cash", include_explanation=True)["results"]
    assert (one["category"], one["confidence"], one["status"]) == ("unknown", 0.0, "abstained")
    assert one["explanation"] == "stage-1 gave no answer: abstained"


STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def read_router_error(reply: Reply) -> tuple[int, str]:
    """Status and code, in the router's own form and no other."""
    assert list(reply.json) == ["error"]
    assert set(reply.error) == {"code", "message", "timestamp"}
    assert STAMP.fullmatch(reply.error["timestamp"])
    assert reply.error["message"]
    return reply.status, reply.error["code"]


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        {},
        {"texts": []},
        {"texts": None},
        {"texts": "cash"},
        {"texts": ["cash", 3]},
        {"texts": [""]},
        {"texts": ["x" * 60]},
        {"texts": ["x"] * 9},
        {"texts": ["cash"], "text": "cash"},
        {"texts": ["cash"], "task_type": 3},
        {"texts": ["cash"], "options": []},
        {"texts": ["cash"], "options": {"confidence": 0.5}},
        {"texts": ["cash"], "options": {"return_probabilities": 1}},
        {"texts": ["cash"], "options": {"confidence_threshold": "high"}},
        {"texts": ["cash"], "options": {"confidence_threshold": True}},
        {"texts": ["cash"], "options": {"confidence_threshold": 10**400}},
        b'{"texts": ["cash"], "options": {"confidence_threshold": NaN}}',
    ],
)
def test_invalid_input(tmp_path: Path, body: Any) -> None:
    server = make_router_server(tmp_path, limits={"texts": 8, "characters": 50})
    assert read_router_error(post(server, BATCH, body)) == (400, "INVALID_INPUT")


def test_invalid_kinds(server: Server) -> None:
    reply = post(server, BATCH, {"texts": ["cash"], "task_type": "intents"})
    assert read_router_error(reply) == (400, "INVALID_TASK_TYPE")
    assert "intent, pii, security, all" in reply.error["message"]


@pytest.mark.parametrize("kind", ["pii", "all"])
def test_a_role_that_nobody_plays(tmp_path: Path, kind: str) -> None:
    server = make_router_server(tmp_path, roles={"intent": "intent"})
    assert read_router_error(post(server, BATCH, {"texts": ["x"], "task_type": kind})) == (
        503,
        "UNIFIED_CLASSIFIER_UNAVAILABLE",
    )
    assert categories(batch(server, "cash")) == [("cash", 0.75)]


def broken(task: Any, input: Input) -> Prediction:
    raise RuntimeError("the secret of the house")


@pytest.mark.parametrize("kind", ["pii", "all"])
def test_what_fails_here(tmp_path: Path, kind: str) -> None:
    server = make_router_server(tmp_path)
    server.registry.register(make_service("pii", FakePredictor(PERSONAL, broken)))
    reply = post(server, BATCH, {"texts": ["x"], "task_type": kind})
    assert read_router_error(reply) == (500, "UNIFIED_CLASSIFICATION_ERROR")
    assert "secret" not in reply.body.decode()


def test_an_answer_that_cannot_be_read_fails_here_too(tmp_path: Path) -> None:
    server = make_router_server(tmp_path)
    server.registry.register(make_service("intent", FakePredictor(INTENTS, lambda *_: Prediction({"nothing": 1}))))
    assert read_router_error(post(server, BATCH, {"texts": ["x"]})) == (500, "UNIFIED_CLASSIFICATION_ERROR")


def test_a_full_server_and_a_late_one_in_the_same_form(tmp_path: Path) -> None:
    server = make_router_server(tmp_path)
    server.engine._thread_pool._pending_calls = 10**6
    reply = post(server, BATCH, {"texts": ["x"], "task_type": "all"})
    assert read_router_error(reply) == (429, "busy")
    assert reply.headers["retry-after"] == "1"
    late = make_router_server(tmp_path, limits={"timeout_ms": 0.001})
    assert read_router_error(post(late, BATCH, {"texts": ["x"]})) == (504, "late")


# -- all of them
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/tasks/intent/predict", 405),
        ("DELETE", "/v1/tasks", 405),
        ("GET", BATCH, 405),
        ("PUT", "/predict/", 405),
        ("GET", "/nothing", 404),
        ("GET", "/v1/tasks/", 404),
        ("POST", "/v1/tasks/nobody/predict", 404),
        ("GET", "/doc", 404),
        ("GET", "/redoc", 404),
    ],
)
def test_other_methods_and_paths(server: Server, method: str, path: str, status: int) -> None:
    reply = get(server, path, method)
    assert (reply.status, reply.error["code"]) == (status, {404: "not_found", 405: "method_not_allowed"}[status])
    assert reply.headers.get("allow", "") == {"/v1/tasks": "GET, HEAD"}.get(path, "POST" if status == 405 else "")
    assert set(reply.error) == (
        {"code", "message", "timestamp"} if path == BATCH else {"code", "message", "type", "param", "request_id"}
    )


def test_health(server: Server) -> None:
    assert (get(server, "/health/live").json, get(server, "/health/ready").json) == (
        {"status": "live"},
        {"status": "ready"},
    )
    server.ready = False
    leaving = get(server, "/health/ready")
    assert (leaving.status, leaving.json, leaving.headers["connection"]) == (503, {"status": "leaving"}, "close")
    assert get(server, "/health/live").status == 200
    assert post(server, "/predict/", {"text": "cash"}).status == 200  # who still asks is answered


def test_info(server: Server) -> None:
    told = get(server, "/info").json
    assert told["tasks"] == dict.fromkeys(("intent", "pii", "security", "reply"), "1" * 64)
    assert told["roles"] == {"intent": "intent", "pii": "pii", "security": "security"}
    assert told["limits"]["texts"] == 256
    assert told["uptime_seconds"] >= 0


def metrics(server: Server) -> list[str]:
    reply = get(server, "/metrics")
    assert reply.headers["content-type"].startswith("text/plain")
    return [line for line in reply.body.decode().splitlines() if not line.startswith("#")]


def test_metrics_count_what_happened(server: Server) -> None:
    batch(server, "cash", "x@y", kind="all")
    predict(server, "intent", "cash", "card")
    predict(server, "intent", 3)
    lines = metrics(server)
    assert 'loratory_texts_total{contender="stage-1",status="answered",task="intent"} 4.0' in lines
    assert 'loratory_texts_total{contender="stage-1",status="answered",task="pii"} 2.0' in lines
    assert 'loratory_requests_total{route="/api/v1/classify/batch",status="200"} 1.0' in lines
    assert 'loratory_requests_total{route="/v1/tasks/{task}/predict",status="422"} 1.0' in lines
    assert 'loratory_request_seconds_count{route="/v1/tasks/{task}/predict"} 2.0' in lines


def test_fallbacks_are_counted(tmp_path: Path) -> None:
    server = make_server(tmp_path, make_service("a", FakePredictor(INTENTS, broken), FakePredictor(INTENTS)))
    assert answers(predict(server, "a", "cash", "login")) == [{"label": "cash"}, {"label": "login"}]
    lines = metrics(server)
    assert 'loratory_fallbacks_total{reason="failed",task="a"} 2.0' in lines
    assert 'loratory_texts_total{contender="stage-2",status="answered",task="a"} 2.0' in lines


def test_a_scan_makes_no_new_label_values(server: Server) -> None:
    def scan(word: str) -> None:
        app = create_app(server)
        for path in (f"/{word}", f"/v1/tasks/{word}", f"/v1/tasks/{word}/predict", f"/api/v1/{word}", f"//{word}/.."):
            for method in ("GET", "POST", "PROPFIND", word.upper()):
                send_request(app, method, path)

    metrics(server)
    scan("first")
    before = {line.rpartition(" ")[0] for line in metrics(server)}
    scan("second")
    scan("%00\n")
    assert {line.rpartition(" ")[0] for line in metrics(server)} == before


IDS = [("abc-1.2_3", True), ("a" * 65, False), ("a b", False), ("ä", False), ("", False)]


@pytest.mark.parametrize(("given", "kept"), IDS)
def test_request_ids(server: Server, given: str, kept: bool) -> None:
    app = create_app(server)
    for method, path, body in (("POST", "/predict/", {"text": "cash"}), ("POST", "/predict/", {}), ("GET", "/x", None)):
        reply = send_request(app, method, path, body, headers={"x-request-id": given})
        told = reply.headers["x-request-id"]
        assert (told == given) if kept else re.fullmatch("[0-9a-f]{16}", told)
        if reply.status != 200:
            assert reply.error["request_id"] == told
    assert reply.headers["x-content-type-options"] == "nosniff"


@dataclass(frozen=True)
class TextSchemaTask:
    """A task of one text, whose question says more of it."""

    more: Mapping[str, Any]
    kind: str = "asking"
    labels = INTENTS.labels

    def input_schema(self) -> Mapping[str, Any]:
        return {"type": "object", "properties": {"text": {"type": "string", **self.more}}, "required": ["text"]}


@pytest.mark.parametrize("more", [{"maxLength": 3}, {"pattern": "^c"}])
def test_what_a_question_says_of_its_strings_is_held_to(tmp_path: Path, more: Mapping[str, Any]) -> None:
    plain = FakePredictor(TextSchemaTask(more), lambda _, input: predict_by_keyword(INTENTS, input))
    server = make_server(tmp_path, make_service("a", plain))
    assert predict(server, "a", "cas").status == 200
    assert predict(server, "a", "xash").status == 422


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("minilm", "minilm"),
        ("sentence-transformers/all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"),
        ("/srv/secret/models/tiny", "tiny"),
        ("/srv/secret/models/tiny/", "tiny"),
        ("../models/tiny", "tiny"),
        ("./tiny", "tiny"),
        ("~/tiny", "tiny"),
        ("~ann/tiny", "tiny"),
        ("secret/models/tiny", "tiny"),
        (r"C:\secret\tiny", "tiny"),
        ("..", "base"),
        ("/", "base"),
    ],
)
def test_of_a_path_only_the_last_part_is_told(name: str, told: str) -> None:
    assert public_base_name(name) == told


def test_a_folder_with_two_parts_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models/mine").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert (public_base_name("models/mine"), public_base_name("models/other")) == ("mine", "models/other")


def test_clients_do_not_learn_where_a_base_lies(tmp_path: Path) -> None:
    benches = [FakeBackbone("/srv/secret/one/tiny", "a"), FakeBackbone("/srv/secret/two/tiny", "b")]
    server = make_server(tmp_path, *(make_service(f"task-{n}", make_plannable(one)) for n, one in enumerate(benches)))
    app = create_app(server)
    for number in range(2):
        body = {"inputs": ["cash"] * (number + 1)}
        assert send_request(app, "POST", f"/v1/tasks/task-{number}/predict", body).status == 200
    paths = ("/", "/page/traffic", "/info", "/metrics", "/v1/models", "/v1/models/task-0", "/v1/tasks", "/openapi.json")
    for path in paths:
        reply = send_request(app, "GET", path)
        assert reply.status == 200
        assert b"secret" not in reply.body, path
    assert 'loratory_backbone_texts{backbone="tiny"} 3.0' in send_request(app, "GET", "/metrics").body.decode()
    listed = send_request(app, "GET", "/v1/models").json["data"]
    assert {"id": "tiny", "root": "tiny", "parent": None} in [
        {key: one[key] for key in ("id", "root", "parent")} for one in listed
    ]
    server.engine.close()


def test_what_a_server_says_of_itself_names_no_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = PrecisionChoice("/srv/secret/models/tiny", "fp32", "as asked")
    monkeypatch.setattr("loratory.serving.engine.precision_selection.select_precisions", lambda *_: [secret])
    heard: list[str] = []
    server = launcher.build_server(ServerSpec(audit=tmp_path / "audit.jsonl"), ApiKeys({}), heard.append)
    assert server.info["backbones"] == [{"backbone": "tiny", "precision": "fp32", "reason": "as asked"}]
    assert "/srv/secret/models/tiny" in heard[0]  # who runs it is told
    server.engine.close()


def test_the_document_changes_with_what_is_served(tmp_path: Path) -> None:
    server = make_server(tmp_path, make_service("a", FakePredictor(INTENTS)))
    app = create_app(server)
    before = send_request(app, "GET", "/openapi.json")
    assert send_request(app, "GET", "/openapi.json").body == before.body
    server.registry.register(make_service("b", FakePredictor(THREATS)))
    assert "JAILBREAK" in send_request(app, "GET", "/openapi.json").body.decode()
    assert "JAILBREAK" not in before.body.decode()
    server.registry.unregister("b")
    assert send_request(app, "GET", "/openapi.json").body == before.body
