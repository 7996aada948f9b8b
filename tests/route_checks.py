"""What every HTTP dialect has to hold to, ours and those of others."""

from __future__ import annotations

import json
from typing import Any

import jsonschema

from loratory import discovery
from loratory.protocols.routes import ERROR_STATUSES, MIDDLEWARE_ERRORS, ApiError, Dialect, RequestContext
from loratory.serving.http.routing import HttpRouter


def check_dialect(dialect: Dialect[Any], server: Any) -> None:
    """What every dialect has to hold to: an extension's own tests may call it."""
    assert dialect.name in discovery.list_names("routes")
    assert dialect.description
    assert all(prefix == "" or prefix.startswith("/") for prefix in dialect.prefixes)
    routes = dialect.list_routes(server)
    assert routes
    HttpRouter({dialect: routes})  # no path twice, one scope for a path
    for route in routes:
        assert route.path.startswith("/")
        assert route.summary.endswith(".")
        assert route.operation_id.isidentifier()
        assert not route.errors & MIDDLEWARE_ERRORS, f"{route.path}: {route.errors & MIDDLEWARE_ERRORS} need no word"
        assert route.errors <= set(ERROR_STATUSES.values())
        assert not route.task_parameter or f"{{{route.task_parameter}}}" in route.path
        assert route.request is None or route.method != "GET"
    for code, status in ERROR_STATUSES.items():
        check_error(dialect, ApiError(code, "what is wrong", where="inputs.0", retry_after=1.0), status)


def check_error(dialect: Dialect[Any], error: ApiError, status: int) -> None:
    made = dialect.render_error(error, RequestContext(path="/x", request_id="1"))
    assert made.media_type in dialect.error_media_types
    assert made.status is None
    assert error.status == status
    jsonschema.validate(json.loads(made.body), dict(dialect.error_schema), jsonschema.Draft202012Validator)
