"""A client that openapi-python-client makes of a server's own document does what ours does."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import httpx
import pytest
from openapi_python_client import generate
from openapi_python_client.config import Config, ConfigFile, MetaType
from starlette.testclient import TestClient

from loratory.client import Client
from loratory.serving.app import create_app
from serving_fixtures import ADMIN, INFER, make_keys, make_router_server, send_request

PACKAGE = "generated_client"
# The page's icon is the only answer of a kind that the generator does not know; it is text all the same.
CONTENT_TYPES = {"image/svg+xml": "text/plain"}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return create_app(make_router_server(tmp_path_factory.mktemp("server"), known=make_keys()))


@pytest.fixture(scope="module")
def package(app: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    folder = tmp_path_factory.mktemp("generated")
    document = send_request(app, "GET", "/openapi.json", headers={"authorization": f"Bearer {ADMIN}"}).body
    (folder / "openapi.json").write_bytes(document)
    config = Config.from_sources(
        ConfigFile(post_hooks=[], content_type_overrides=CONTENT_TYPES),
        MetaType.NONE,
        document_source=folder / "openapi.json",
        file_encoding="utf-8",
        overwrite=False,
        output_path=folder / PACKAGE,
    )
    assert [str(problem) for problem in generate(config=config)] == []
    sys.path.insert(0, str(folder))
    yield importlib.import_module(PACKAGE)
    sys.path.remove(str(folder))
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]


def call(package: ModuleType, app: Any, operation: str, key: str = INFER, **given: Any) -> Any:
    """The whole response of an operation: `loratory.predict_intent`."""
    module = importlib.import_module(f"{PACKAGE}.api.{operation}")
    client = package.AuthenticatedClient("http://localhost", key)
    client.set_httpx_client(TestClient(app, "http://localhost", headers={"authorization": f"Bearer {key}"}))
    return module.sync_detailed(client=client, **given)


def body_of(operation: str, facts: Any) -> Any:
    """The request of an operation from plain data."""
    name = "".join(part.capitalize() for part in operation.split("_")) + "Body"
    return getattr(importlib.import_module(f"{PACKAGE}.models"), name).from_dict(facts)


def test_it_predicts_what_our_client_predicts(package: ModuleType, app: Any) -> None:
    found = call(package, app, "loratory.predict_intent", body=body_of("predict_intent", {"inputs": ["cash", "login"]}))
    assert found.status_code == 200
    made = [one.answer.label.value for one in found.parsed.predictions]
    ours = Client("http://localhost", INFER, transport=_transport(app)).predict("intent", ["cash", "login"])
    assert made == [one.answer["label"] for one in ours] == ["cash", "login"]
    assert [one.confidence for one in found.parsed.predictions] == [one.confidence for one in ours]
    assert [one.served_by for one in found.parsed.predictions] == [one.served_by for one in ours]


def test_it_knows_the_labels_of_each_task(package: ModuleType) -> None:
    models = importlib.import_module(f"{PACKAGE}.models")
    assert [one.value for one in models.IntentAnswerLabel] == ["card", "cash", "login"]
    assert [one.value for one in models.SecurityAnswerLabel] == ["BENIGN", "INJECTION", "JAILBREAK"]


def test_it_asks_for_health(package: ModuleType, app: Any) -> None:
    assert call(package, app, "health.check_ready").parsed.status == "ready"
    info = call(package, app, "health.show_info").parsed
    assert set(info.tasks.additional_properties) == {"intent", "pii", "security", "reply"}


@pytest.mark.parametrize(
    ("operation", "facts", "key", "status", "code"),
    [
        ("predict_intent", {"inputs": [""]}, INFER, 422, "invalid_input"),
        ("predict_intent", {"inputs": ["cash"]}, "lk_wrong", 401, "unauthorized"),
        ("load_adapter", {"lora_name": "a", "lora_path": "x"}, INFER, 403, "forbidden"),
        ("unload_adapter", {"lora_name": "nobody"}, ADMIN, 404, "not_found"),
    ],
)
def test_errors_have_a_type(
    package: ModuleType, app: Any, operation: str, facts: Any, key: str, status: int, code: str
) -> None:
    found = call(package, app, f"loratory.{operation}", key, body=body_of(operation, facts))
    assert (found.status_code, type(found.parsed).__name__, found.parsed.error.code) == (status, "LoratoryError", code)


def test_errors_of_another_dialect_have_another(package: ModuleType, app: Any) -> None:
    found = call(package, app, "router.classify_batch", body=body_of("classify_batch", {"texts": []}))
    assert (found.status_code, type(found.parsed).__name__) == (400, "RouterError")
    assert found.parsed.error.code == "INVALID_INPUT"


def _transport(app: Any) -> httpx.BaseTransport:
    def answer(request: httpx.Request) -> httpx.Response:
        headers = {name: value for name, value in request.headers.items() if name != "content-length"}
        body = json.loads(request.content) if request.content else None
        reply = send_request(app, request.method, request.url.path, body, headers=headers)
        return httpx.Response(reply.status, headers=dict(reply.headers), content=reply.body)

    return httpx.MockTransport(answer)
