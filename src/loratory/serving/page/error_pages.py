"""What a person sees in a browser where a program would be answered with an error in JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from loratory.serving.http.api_errors import ApiError, render_error
from loratory.serving.page.rendering import render_response

PAGE_PREFIXES = ("/page/", "/runs/")


def render_page_error(error: ApiError, scope: Mapping[str, Any]) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body: a page where a browser asks for one of ours, else JSON.

    Without a key a browser is sent to sign in. That says no more than the 401 that everybody else gets.
    """
    if not is_page_path(scope["path"]) or "text/html" not in _accept_header(scope):
        return render_error(error, scope)
    if error.status == 401:
        return 303, {"location": "/login", "cache-control": "no-store"}, b""
    made = render_response("refused", {"refusal": error, "request_id": scope["request_id"]}, error.status)
    return error.status, {**dict(made.headers), **error.headers}, bytes(made.body)


def is_page_path(path: str) -> bool:
    """Whether a path is the page's and not an interface's."""
    return path in ("/", "/login", "/logout") or path.startswith(PAGE_PREFIXES)


def _accept_header(scope: Mapping[str, Any]) -> str:
    return ", ".join(value.decode("latin-1") for name, value in scope["headers"] if name == b"accept")
