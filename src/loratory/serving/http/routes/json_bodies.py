"""Bodies in and out: JSON objects, checked by hand where a contract is not known before the server runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic_core import from_json, to_json
from starlette.responses import Response

from loratory.errors import format_value, suggest_nearest
from loratory.protocols import JSON
from loratory.protocols.routes import ApiError

TYPE_NAMES: Mapping[type, str] = {
    list: "a list",
    bool: "true or false",
    str: "a string",
    dict: "an object",
    float: "a number",
}


def parse_json_object(body: bytes) -> dict[str, Any]:
    """A JSON object. Raises ApiError."""
    try:
        found = from_json(body, allow_inf_nan=False)
    except ValueError:
        raise ApiError("invalid_request", "the body is no JSON") from None
    if not isinstance(found, dict):
        raise ApiError("invalid_request", f"the body is {format_value(found)}; allowed: a JSON object")
    return found


def parse_body(body: bytes, known: Mapping[str, type]) -> dict[str, Any]:
    """A JSON object with these members only, each of its type where it is given. Raises ApiError."""
    found = parse_json_object(body)
    for name, value in found.items():
        if name not in known:
            raise ApiError(
                "invalid_input",
                f"unknown member {format_value(name)}{suggest_nearest(name, known)}; allowed: {', '.join(known)}",
                where=name[:80],
            )
        if not isinstance(value, known[name]):
            raise ApiError(
                "invalid_input", f"it is {format_value(value)}; allowed: {TYPE_NAMES[known[name]]}", where=name
            )
    return found


def json_response(value: JSON, status: int = 200) -> Response:
    """JSON; what is no number in JSON (infinity) becomes null."""
    return Response(to_json(value, inf_nan_mode="null"), status, media_type="application/json")
