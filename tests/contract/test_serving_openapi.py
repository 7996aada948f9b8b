"""The server does what its OpenAPI document says: no 500, no undocumented status, and answers of the told form."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS
from schemathesis.config import SchemathesisConfig

from loratory.serving.app import create_app
from loratory.tasks.generate import Generate
from serving_fixtures import (
    ADMIN,
    FakePredictor,
    bearer_header,
    make_keys,
    make_router_server,
    make_server,
    make_service,
    send_request,
)

RIGHTS = bearer_header(ADMIN)
REFUSED = [400, 401, 403, 404, 405, 413, 422]  # what a wrong body may be answered with; 403: signing in
LIMITS = {"characters": 300, "texts": 20}  # so that what is too long is soon made
TALKED = ("/reply/predict", "/json/predict", "/generate", "/chat/completions", "/v1/predict")
FORMS = ("/page/try", "/page/table", "/login", "/logout")  # of the page: a form may name what is not there
LOADING = ("/v1/load_lora_adapter", "/v1/unload_lora_adapter")
NAMED = {
    "type": "object",
    "properties": {"name": {"$ref": "#/$defs/word"}, "also": {"type": "array", "items": {"$ref": "#"}}},
    "required": ["name"],
    "$defs": {"word": {"type": "string"}},
    "$schema": "https://json-schema.org/draft/2020-12/schema",
}


def whole(folder: Path, **more: Any) -> Any:
    """An application with every kind of task."""
    server = make_router_server(folder, limits=LIMITS, **more)
    server.registry.register(make_service("json", FakePredictor(Generate(answer_schema=NAMED))))
    return create_app(server)


def every(app: Any, mode: GenerationMode, examples: int, trying: Callable[[Any], None]) -> int:
    """Try cases of every operation of an application; how many."""
    config = SchemathesisConfig.from_dict({"checks": {"negative_data_rejection": {"expected-statuses": REFUSED}}})
    found = schemathesis.openapi.from_asgi("/openapi.json", app, headers=RIGHTS, config=config)
    tried = 0
    for result in found.get_all_operations():
        made: Any = result
        operation = made.ok()
        if mode is GenerationMode.NEGATIVE and not operation.body.items:
            continue  # there is nothing that could be wrong

        @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        @given(case=operation.as_strategy(generation_mode=mode))
        def each(case: Any) -> None:
            nonlocal tried
            tried += 1
            trying(case)

        each()
    return tried


def does_as_it_says(case: Any) -> None:
    """All checks, but that every valid body is accepted where a folder has to be there, or speakers to take turns.

    Who has no key is looked at by `refuses`: the check for that sends the key again.
    """
    unforetold = case.operation.path in (*LOADING, *FORMS) or case.operation.path.endswith(TALKED)
    left = CHECKS.get_by_names(["ignored_auth", *["positive_data_acceptance"] * unforetold])
    case.call_and_validate(excluded_checks=left, headers=RIGHTS)


def refuses(case: Any) -> None:
    reply = case.call(headers={"authorization": ""})
    assert (reply.status_code == 401) == (case.operation.definition.raw.get("security") != []), case.operation.path
    case.validate_response(reply)


BOTH = pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])


@BOTH
def test_it_does_as_it_says(tmp_path: Path, mode: GenerationMode) -> None:
    assert every(whole(tmp_path), mode, 5, does_as_it_says) > 30


@BOTH
def test_it_does_as_it_says_to_those_with_a_key(tmp_path: Path, mode: GenerationMode) -> None:
    assert every(whole(tmp_path, known=make_keys()), mode, 3, does_as_it_says) > 15


@BOTH
def test_it_refuses_those_without(tmp_path: Path, mode: GenerationMode) -> None:
    assert every(whole(tmp_path, known=make_keys()), mode, 2, refuses) > 10


@pytest.mark.slow
@pytest.mark.timeout(3600)
@BOTH
@pytest.mark.parametrize("known", [None, make_keys()])
def test_it_does_as_it_says_a_thousand_times(tmp_path: Path, mode: GenerationMode, known: Any) -> None:
    assert every(whole(tmp_path, known=known), mode, 1000, does_as_it_says) > 8000


def document(app: Any) -> Any:
    return send_request(app, "GET", "/openapi.json").json


def test_a_client_sees_the_labels(tmp_path: Path) -> None:
    told = document(whole(tmp_path))
    for name, labels in (("intent", ["card", "cash", "login"]), ("security", ["BENIGN", "INJECTION", "JAILBREAK"])):
        assert told["components"]["schemas"][f"{name}.answer"]["properties"]["label"]["enum"] == labels
        operation = json.dumps(told["paths"][f"/v1/tasks/{name}/predict"]["post"]["responses"]["200"])
        assert f"#/components/schemas/{name}.answer" in operation
    spans = told["components"]["schemas"]["pii.answer"]["properties"]["spans"]["items"]
    assert spans["properties"]["label"]["enum"] == ["EMAIL", "PHONE"]


def test_references_of_a_tasks_own_schema_lead_where_they_led(tmp_path: Path) -> None:
    told = document(whole(tmp_path))
    check = jsonschema.Draft202012Validator({**told, "$ref": "#/components/schemas/json.answer"})
    assert check.is_valid({"name": "ann", "also": [{"name": "bob"}]})
    assert not check.is_valid({"name": 3})
    assert not check.is_valid({"name": "ann", "also": [{"name": 3}]})


def test_it_speaks_of_keys_where_there_are_any(tmp_path: Path) -> None:
    told = send_request(
        whole(tmp_path, known=make_keys()), "GET", "/openapi.json", headers={"authorization": f"Bearer {ADMIN}"}
    ).json
    assert told["security"] == [{"key": []}, {"session": []}]
    open_to_all = [path for path, ways in told["paths"].items() if ways.get("get", {}).get("security") == []]
    assert open_to_all[:2] == ["/health/live", "/health/ready"]
    assert all(path.startswith(("/login", "/page/")) for path in open_to_all[2:])
    assert told["paths"]["/v1/predict"]["post"]["security"][0] == {"key": ["infer"]}
    assert [told["paths"][path]["post"]["security"][0] for path in LOADING] == [{"key": ["admin"]}] * 2
    assert "security" not in document(whole(tmp_path))


def test_it_is_the_document_of_the_server_as_it_is_now(tmp_path: Path) -> None:
    server = make_server(tmp_path, make_service("a", FakePredictor(Generate())))
    app = create_app(server)
    assert "/v1/tasks/a/predict" in document(app)["paths"]
    server.registry.register(make_service("b", FakePredictor(Generate())))
    server.registry.unregister("a")
    assert [path for path in document(app)["paths"] if path.startswith("/v1/tasks/")] == [
        "/v1/tasks/b",
        "/v1/tasks/b/predict",
        "/v1/tasks/b/generate",
    ]
