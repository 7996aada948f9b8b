"""What a person sees in a browser where a program would be answered with an error in JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from loratory.serving.page.rendering import shown
from loratory.serving.refusals import Refusal, as_json

OWN = ("/page/", "/runs/")


def told(refusal: Refusal, scope: Mapping[str, Any]) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body: a page where a browser asks for one of ours, else JSON.

    Without a key a browser is sent to sign in. That says no more than the 401 that everybody else gets.
    """
    if not is_page(scope["path"]) or "text/html" not in _accepted(scope):
        return as_json(refusal, scope)
    if refusal.status == 401:
        return 303, {"location": "/login", "cache-control": "no-store"}, b""
    made = shown("refused", {"refusal": refusal, "request_id": scope["request_id"]}, refusal.status)
    return refusal.status, {**dict(made.headers), **refusal.headers}, bytes(made.body)


def is_page(path: str) -> bool:
    """Whether a path is the page's and not an interface's."""
    return path in ("/", "/login", "/logout") or path.startswith(OWN)


def _accepted(scope: Mapping[str, Any]) -> str:
    return ", ".join(value.decode("latin-1") for name, value in scope["headers"] if name == b"accept")
