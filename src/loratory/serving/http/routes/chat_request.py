"""What OpenAI's clients ask of a completion: what is done, what changes nothing, and what is refused by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from loratory.protocols import JSON
from loratory.protocols.routes import ApiError
from loratory.schemas import to_compact_json
from loratory.serving.engine.capabilities import max_new_tokens_of
from loratory.serving.engine.service_registry import Service
from loratory.serving.http.routes.json_bodies import parse_json_object
from loratory.serving.http.server import Server
from loratory.serving.http.stream_session import SamplingParams, parse_sampling_params

KNOWN_FIELDS: Mapping[str, Any] = {
    "model": str,
    "messages": list,
    "max_tokens": int,
    "max_completion_tokens": int,
    "temperature": (int, float),
    "top_p": (int, float),
    "repetition_penalty": (int, float),
    "seed": int,
    "stop": (str, list),
    "stream": bool,
    "stream_options": dict,
    "response_format": dict,
    "logprobs": bool,
    "top_logprobs": int,
}
IGNORED_FIELDS = frozenset(  # they change nothing here
    "user metadata store service_tier safety_identifier prompt_cache_key prompt_cache_retention prediction "
    "parallel_tool_calls".split()
)
NEUTRAL_VALUES: Mapping[str, tuple[Any, ...]] = {  # taken where they ask for what is done anyway
    "n": (1,),
    "best_of": (1,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "tools": ([],),
    "functions": ([],),
    "tool_choice": ("none", "auto"),
    "function_call": ("none", "auto"),
    "modalities": (["text"],),
}
BUDGET_FIELDS = ("max_completion_tokens", "max_tokens")  # the first that is given counts
SAMPLING_FIELDS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "repetition_penalty": "repetition_penalty",
    "stop": "stop",
}


@dataclass(frozen=True)
class CompletionRequest:
    """A request for a completion, understood."""

    params: SamplingParams
    stream: bool
    include_usage: bool  # whether a stream ends with its usage
    logprobs: bool
    budget_field: str  # as the client calls it


def parse_completion_body(raw: bytes) -> dict[str, Any]:
    """Members that mean something here; null is as if it were not there. Raises ApiError."""
    given = parse_json_object(raw)
    body: dict[str, Any] = {}
    for name, value in given.items():
        if value is None or name in IGNORED_FIELDS or _is_neutral(name, value):
            continue
        if name not in KNOWN_FIELDS:
            allowed = (
                f"; allowed: {' or '.join(map(to_compact_json, NEUTRAL_VALUES[name]))}"
                if name in NEUTRAL_VALUES
                else ""
            )
            raise _unsupported_error(name[:80], f"{name[:80]} is not done here{allowed}")
        number = isinstance(value, bool) and KNOWN_FIELDS[name] is not bool
        if not isinstance(value, KNOWN_FIELDS[name]) or number:
            raise ApiError("invalid_type", f"{name} is of another type", status=400, where=name)
        body[name] = value
    return body


def _is_neutral(name: str, value: JSON) -> bool:
    return any(value == one and type(value) is not bool for one in NEUTRAL_VALUES.get(name, ()))


def find_model(server: Server, body: Mapping[str, Any]) -> Service:
    """The task that a client calls its model. Raises ApiError."""
    found = server.registry.get(str(body.get("model", "")))
    if found is None:
        names = ", ".join(service.name for service in server.registry)
        raise ApiError("model_not_found", f"no such model; a model is a task: {names}", status=404, where="model")
    return found


def parse_completion_request(server: Server, service: Service, body: Mapping[str, Any]) -> CompletionRequest:
    """Raises ApiError."""
    given = {ours: body[theirs] for theirs, ours in SAMPLING_FIELDS.items() if theirs in body}
    budget = next((name for name in BUDGET_FIELDS if name in body), BUDGET_FIELDS[-1])
    if budget in body:
        given["max_new_tokens"] = body[budget]
    if "seed" in body:
        given["seed"] = body["seed"] % (1 << 63)
    writes = bool(max_new_tokens_of(service.stages[0].predictor))
    schema = _parse_response_format(service, body.get("response_format"), writes)
    try:
        sampling_params = parse_sampling_params(given, server.spec.limits.new_tokens, schema, "")
    except ApiError as problem:
        problem.where = budget if problem.where == "max_new_tokens" else problem.where
        raise
    streams, logprobs = body.get("stream", False), body.get("logprobs", False)
    if body.get("top_logprobs"):
        raise _unsupported_error("top_logprobs", "other tokens than the chosen ones are not told; allowed: 0")
    if logprobs and (streams or not writes):
        raise _unsupported_error("logprobs", "they are told of whole answers of tasks that write, and not of others")
    options = body.get("stream_options", {})
    if options and (not streams or set(options) - {"include_usage", "include_obfuscation"}):
        raise _unsupported_error("stream_options", "allowed: include_usage, and only of a stream")
    return CompletionRequest(sampling_params, streams, options.get("include_usage") is True, logprobs, budget)


def _unsupported_error(where: str, message: str) -> ApiError:
    return ApiError("unsupported_parameter", message, status=400, where=where)


def _parse_response_format(service: Service, given: Mapping[str, Any] | None, writes: bool) -> Mapping[str, Any] | None:
    """The client's own schema, where its task does not have one. Raises ApiError."""
    if given is None or given.get("type") == "text":
        return None
    contract, where = service.task.contract(), "response_format"
    free = writes and contract.get("type") == "string"
    if given.get("type") == "json_object":
        if free:
            raise _unsupported_error(
                where, "of any JSON there is no end that could be promised; allowed: text, json_schema"
            )
        return None
    if given.get("type") != "json_schema":
        raise _unsupported_error(where, "allowed: {type: text}, json_object, or json_schema with {name, schema}")
    named = given.get("json_schema")
    schema = named.get("schema") if isinstance(named, dict) else None
    if not isinstance(schema, dict):
        raise ApiError("invalid_input", "there is no schema in it", where=f"{where}.json_schema.schema")
    if free:
        return schema
    if schema != contract:
        raise _unsupported_error(
            where, f"{service.name} has a schema of its own: GET /v1/tasks/{service.name} tells it"
        )
    return None
