"""Every dialect that is installed: what is declared is what is routed, documented and refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loratory import discovery
from loratory.errors import SpecError
from loratory.protocols.routes import (
    ANYBODY,
    ApiError,
    Dialect,
    RequestContext,
    Route,
)
from loratory.serving.app import create_app
from loratory.serving.http.openapi import build_openapi
from loratory.serving.http.routing import HttpRouter
from loratory.serving.http.server import Server
from route_checks import check_dialect
from serving_fixtures import ADMIN, bearer_header, make_keys, make_router_server, send_request

DIALECTS = discovery.list_names("routes")
# Statuses that no request alone can bring about, with the tests that do.
NOT_BY_A_REQUEST = {
    408: "tests/unit/test_serving_gate.py::test_a_body_that_does_not_come",
    421: "tests/unit/test_serving_gate.py::test_hosts",
    429: "tests/unit/test_serving_gate.py::test_so_many_at_a_time",
    500: "tests/unit/test_serving_gate.py::test_failures_are_opaque_and_logged",
    503: "tests/unit/test_serving_http.py, tests/faults/test_serving_memory.py: no memory, a full disk, no such role",
    504: "tests/unit/test_serving_fallback.py: a deadline",
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = make_router_server(tmp_path, known=make_keys())
    yield made
    made.engine.close()


@pytest.mark.parametrize("name", DIALECTS)
def test_a_dialect_holds_to_the_protocol(name: str, server: Server) -> None:
    dialect = discovery.load_named("routes", name)()
    assert dialect.name == name
    check_dialect(dialect, server)


def routes_of(server: Server) -> list[tuple[Dialect[Any], Route]]:
    create_app(server)
    return list(server.routes)


def test_what_is_declared_is_routed_and_documented(server: Server) -> None:
    app = create_app(server)
    told = build_openapi(server, "a", "1")
    operations = [(one, method, path) for path, ways in told["paths"].items() for method, one in ways.items()]
    ids = [one["operationId"] for one, _, _ in operations]
    assert len(ids) == len(set(ids))
    services = len(server.list_services())
    declared = [services if route.task_parameter else 1 for _, route in server.routes]
    assert len(operations) == sum(declared)
    for one, method, path in operations:
        found = app.http_router.resolve(path)
        assert found.endpoint is not None, path
        route = found.endpoint.routes[method.upper()]
        assert one["operationId"].startswith(route.operation_id)
        assert one["tags"] == [found.dialect.name]
        assert {int(status) for status in one["responses"]} == route.responses.keys() | route.error_statuses
        assert (one["security"] == []) == (route.scope is ANYBODY)
    assert {tag["name"] for tag in told["tags"]} == set(DIALECTS)


def test_every_list_says_what_is_in_it(server: Server) -> None:
    routes_of(server)

    def check(value: Any, where: str) -> None:
        if isinstance(value, dict):
            if value.get("type") == "array":
                assert "items" in value, where
            for key, part in value.items():
                check(part, f"{where}/{key}")
        elif isinstance(value, list):
            for number, part in enumerate(value):
                check(part, f"{where}/{number}")

    check(build_openapi(server, "a", "1"), "")


def test_references_of_the_document_lead_somewhere(server: Server) -> None:
    routes_of(server)
    told = build_openapi(server, "a", "1")
    found = {part for part in json.dumps(told).split('"') if part.startswith("#/components/schemas/")}
    assert found
    assert {one.split("/")[3] for one in found} <= told["components"]["schemas"].keys()


def reach(app: Any, path: str, route: Route, status: int) -> int:
    """Ask so that this status should come."""
    rights = bearer_header(ADMIN)
    tasked = path.replace("{id}", "x")
    if status == 401:
        return send_request(app, route.method, tasked, {}).status
    if status == 403:
        return send_request(app, route.method, tasked, {}, headers={**rights, "origin": "http://evil.example"}).status
    if status == 413:
        return send_request(app, route.method, tasked, headers={**rights, "content-length": "9" * 12}).status
    if status == 431:
        return send_request(app, route.method, tasked, headers={**rights, "x": "a" * 40_000}).status
    if status == 404:
        missing = path.replace("intent", "nobody").replace("{id}", "nobody")
        form = b"task=nobody&text=x&table=x"
        bodies: list[Any] = [{"lora_name": "nobody"}, {"model": "nobody"}, {"tasks": ["nobody"]}, form]
        return next(
            (404 for one in bodies if send_request(app, route.method, missing, one, headers=rights).status == 404), 0
        )
    body = b"{" if status == 400 else b'{"nothing": 1}'
    if status == 422 and route.path == "/v1/chat/completions":  # what it does not know is 400, as at OpenAI
        body = b'{"model": "reply", "messages": []}'
    if route.request_media_type != "application/json":
        body = b"\xff" if status == 400 else b"task=intent&text="
    return send_request(app, route.method, tasked, body, headers=rights).status


def test_every_declared_error_comes_or_is_shown_elsewhere(server: Server) -> None:
    """By a request where one can: /predict/ says 404 where no task gives labels, which is another server."""
    app = create_app(server)
    tried = 0
    for _, route in server.routes:
        path = route.path.replace(f"{{{route.task_parameter}}}", "intent").replace("{id:path}", "{id}")
        for status in sorted(route.error_statuses - NOT_BY_A_REQUEST.keys()):
            if (status, route.path) == (404, "/predict/") or (status == 401 and route.scope is ANYBODY):
                continue
            assert reach(app, path, route, status) == status, (route.method, path, status)
            tried += 1
    assert tried > 100


class Twice:
    """A dialect with a path of ours."""

    name = "twice"
    description = "Ours again."
    prefixes = ("/v3/",)
    error_schema: Any = None
    error_media_types = ("application/json",)

    def __init__(self, path: str, operation: str) -> None:
        self.route = Route("GET", path, operation, "Again.", lambda: None)  # type: ignore[arg-type, return-value]

    def list_routes(self, server: Any) -> list[Route]:
        return [self.route]

    def render_error(self, error: ApiError, context: RequestContext) -> Any:
        raise AssertionError


@pytest.mark.parametrize(("path", "operation"), [("/v1/tasks", "other"), ("/v3/tasks", "list_tasks")])
def test_two_dialects_that_contradict_each_other_are_refused(server: Server, path: str, operation: str) -> None:
    ours: Any = discovery.load_named("routes", "loratory")()
    twice: Any = Twice(path, operation)
    with pytest.raises(SpecError, match=r"both declare|same operation id"):
        HttpRouter({one: one.list_routes(server) for one in (ours, twice)})
