"""The batch interface of a semantic router, and the one-text interface of a classifier."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from starlette.requests import Request
from starlette.responses import Response

from loratory.protocols import Labelled, Schema, Spanned
from loratory.protocols.routes import BODY_ERRORS, ApiError, RenderedError, RequestContext, ResponseSpec, Route
from loratory.serving.engine.fallback_chain import StagedAnswer
from loratory.serving.engine.service_registry import Service
from loratory.serving.http.api_errors import (
    OPENAI_ERROR_SCHEMA,
    ROUTER_ERROR_SCHEMA,
    render_openai_error,
    render_router_error,
)
from loratory.serving.http.routes.json_bodies import json_response, parse_body
from loratory.serving.http.schemas import (
    ANSWER_FIELDS,
    BOOLEAN,
    INTEGER,
    NULLABLE_STRING,
    NUMBER,
    PROBABILITIES,
    STRING,
    array_schema,
    object_schema,
    text_schema,
)
from loratory.serving.http.server import Server

ROLES = ("intent", "pii", "security")
LOW_CONFIDENCE = 0.7  # a confidence below this counts as low
NOTHING_FOUND = {"pii": "no_pii", "security": "safe"}  # what it is called where nothing was found
BENIGN_LABELS = frozenset(
    {"benign", "safe", "harmless", "none", "no", "0", "ok", "normal"}
)  # names of labels that are no threat
UNKNOWN_CATEGORY = "unknown"  # nobody's category: abstained, or below the client's threshold


@dataclass(frozen=True)
class BatchOptions:
    """What a client asks beside the answer."""

    return_probabilities: bool = False
    confidence_threshold: float = 0.0
    include_explanation: bool = False


class SemanticRouterRoutes:
    """POST /api/v1/classify/batch, as vLLM's semantic router calls it."""

    name: ClassVar[str] = "router"
    description: ClassVar[str] = "The classification interface of a semantic router."
    prefixes: ClassVar[tuple[str, ...]] = ("/api/v1/",)
    error_schema: ClassVar[Schema] = ROUTER_ERROR_SCHEMA
    error_media_types: ClassVar[tuple[str, ...]] = ("application/json",)

    def render_error(self, error: ApiError, context: RequestContext) -> RenderedError:
        """The router's own codes, and the time."""
        return render_router_error(error, context)

    def list_routes(self, server: Server) -> Sequence[Route]:
        """The batch interface."""

        def list_role_services() -> list[Service]:
            return [found for role in ROLES if (found := server.registry.service_for_role(role))]

        async def classify_batch(request: Request, context: RequestContext) -> Response:
            return json_response(await _classify_batch(server, await request.body(), context))

        return [
            Route(
                "POST",
                "/api/v1/classify/batch",
                "classify_batch",
                "Texts to intents, personal data, threats.",
                classify_batch,
                {200: ResponseSpec(RESULT_SCHEMA)},
                _request_schema,
                errors=frozenset({400, 504}),
                select_services=list_role_services,
            )
        ]


class OneTextRoutes:
    """POST /predict/: one text to a label, by the server's default task."""

    name: ClassVar[str] = "one_text"
    description: ClassVar[str] = "One text to one label."
    prefixes: ClassVar[tuple[str, ...]] = ("/predict/",)
    error_schema: ClassVar[Schema] = OPENAI_ERROR_SCHEMA
    error_media_types: ClassVar[tuple[str, ...]] = ("application/json",)

    def render_error(self, error: ApiError, context: RequestContext) -> RenderedError:
        """As our own interface."""
        return render_openai_error(error, context)

    def list_routes(self, server: Server) -> Sequence[Route]:
        """The one path."""

        def list_default_service() -> list[Service]:
            return [server.registry.default] if server.registry.default else []

        async def predict(request: Request, context: RequestContext) -> Response:
            body = parse_body(await request.body(), {"text": str})
            service = server.registry.default
            task = None if service is None else service.task
            if service is None or not isinstance(task, Labelled):
                raise ApiError("not_found", "no task of this server gives one label to a text")
            (input,) = server.validate_inputs(service, [{"text": body.get("text")}], "body")
            (one,) = await server.answer(service, [input], context)
            label = None if one.prediction.answer is None else task.label_of(one.prediction.answer)
            facts = one.to_json(probabilities=False)
            return json_response({"label": label, **{name: value for name, value in facts.items() if name != "answer"}})

        return [
            Route(
                "POST",
                "/predict/",
                "predict_label",
                "One text to a label.",
                predict,
                {200: ResponseSpec(object_schema({"label": NULLABLE_STRING, **ANSWER_FIELDS}))},
                lambda server, service: object_schema({"text": text_schema(server)}, closed=True),
                errors=BODY_ERRORS | {404},
                select_services=list_default_service,
            )
        ]


async def _classify_batch(server: Server, raw: bytes, context: RequestContext) -> dict[str, Any]:
    started = time.perf_counter()
    texts, roles, options = _parse_batch_request(raw, server)
    services = {role: _service_for_role(server, role) for role in roles}
    results, statistics = {}, {}
    for role, found in (await _answer_roles(server, services, texts, context)).items():
        spent = (time.perf_counter() - started) * 1000
        results[role] = [_format_result(role, services[role], one, options, spent / len(texts)) for one in found]
        statistics[role] = _summarize_results(results[role])
    whole = round((time.perf_counter() - started) * 1000, 3)
    if len(roles) == 1:
        body = {"results": results[roles[0]], "statistics": statistics[roles[0]]}
    else:
        rows = [{role: results[role][number] for role in roles} for number in range(len(texts))]
        body = {"results": rows, "statistics": statistics}
    return {**body, "total_count": len(texts), "processing_time_ms": whole}


def _request_schema(server: Server, service: Service | None) -> dict[str, Any]:
    options = {
        "return_probabilities": BOOLEAN,
        "confidence_threshold": {"type": "number", "minimum": 0, "maximum": 1},
        "include_explanation": BOOLEAN,
    }
    asked = {
        "texts": array_schema(text_schema(server), minItems=1, maxItems=server.spec.limits.texts),
        "task_type": {"type": "string", "enum": ["", *ROLES, "all"]},
        "options": object_schema(options, [], closed=True),
    }
    return object_schema(asked, ["texts"], closed=True)


def _build_result_schema() -> dict[str, Any]:
    """Of one role, or with task_type all: of each."""
    one = {"category": STRING, "confidence": NUMBER, "processing_time_ms": NUMBER, "status": STRING}
    one = {**one, "served_by": STRING}
    row = object_schema({**one, "probabilities": PROBABILITIES, "explanation": STRING}, list(one), closed=True)
    counts = {
        "category_distribution": {"type": "object", "additionalProperties": INTEGER},
        "avg_confidence": NUMBER,
        "low_confidence_count": INTEGER,
    }
    each_row = object_schema(dict.fromkeys(ROLES, row), closed=True)
    each_count = object_schema(dict.fromkeys(ROLES, object_schema(counts)), closed=True)
    whole = {
        "results": array_schema({"anyOf": [row, each_row]}),
        "statistics": {"anyOf": [object_schema(counts, closed=True), each_count]},
        "total_count": INTEGER,
        "processing_time_ms": NUMBER,
    }
    return object_schema(whole, closed=True)


RESULT_SCHEMA = _build_result_schema()


def _parse_batch_request(body: bytes, server: Server) -> tuple[list[str], tuple[str, ...], BatchOptions]:
    try:
        found = parse_body(body, {"texts": list, "task_type": str, "options": dict})
    except ApiError as problem:
        raise ApiError("INVALID_INPUT", problem.message, status=400) from None
    texts = found.get("texts") or []
    if not texts or not all(isinstance(text, str) and text for text in texts):
        raise ApiError("INVALID_INPUT", "texts is missing, empty, or no list of strings that say something", status=400)
    kind = found.get("task_type") or "intent"
    if kind not in (*ROLES, "all"):
        allowed = ", ".join((*ROLES, "all"))
        raise ApiError("INVALID_TASK_TYPE", f"task_type is {kind[:80]!r}; allowed: {allowed}", status=400)
    return texts, ROLES if kind == "all" else (kind,), _parse_options(found.get("options") or {})


def _parse_options(given: Mapping[str, Any]) -> BatchOptions:
    for name, value in given.items():
        wanted = BatchOptions.__dataclass_fields__.get(name)
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if wanted is None or not (number if wanted.type == "float" else isinstance(value, bool)):
            raise ApiError("INVALID_INPUT", f"options: {name[:80]} is unknown or of another type", status=400)
    if not 0 <= given.get("confidence_threshold", 0.0) <= 1:
        raise ApiError("INVALID_INPUT", "options: confidence_threshold is no probability; allowed: 0 to 1", status=400)
    return BatchOptions(**given)


def _service_for_role(server: Server, role: str) -> Service:
    found = server.registry.service_for_role(role)
    if found is None:
        message = f"no task of this server plays {role}; name one under roles"
        raise ApiError("UNIFIED_CLASSIFIER_UNAVAILABLE", message, status=503)
    return found


async def _answer_roles(
    server: Server, services: Mapping[str, Service], texts: Sequence[str], served: RequestContext
) -> dict[str, list[StagedAnswer]]:
    """All roles at once, so that what they share of a text is computed once."""
    try:
        inputs = {
            role: server.validate_inputs(one, [{"text": text} for text in texts], "texts")
            for role, one in services.items()
        }
    except ApiError as problem:
        raise ApiError("INVALID_INPUT", problem.message, status=400) from None
    found = await server.answer_all([(one, inputs[role]) for role, one in services.items()], served)
    return dict(zip(services, found, strict=True))


def _format_result(
    role: str, service: Service, one: StagedAnswer, options: BatchOptions, spent: float
) -> dict[str, Any]:
    category, confidence, shown = _categorize(role, service, one)
    low = confidence < options.confidence_threshold
    made: dict[str, Any] = {
        "category": UNKNOWN_CATEGORY if low else category,
        "confidence": confidence,
        "processing_time_ms": round(spent, 3),
        "status": "below_threshold" if low and one.status == "answered" else one.status,
        "served_by": one.stage.name,
    }
    if options.return_probabilities:
        made["probabilities"] = shown
    if options.include_explanation:
        made["explanation"] = _explain_result(one, category, confidence, low, options)
    return made


def _categorize(role: str, service: Service, one: StagedAnswer) -> tuple[str, float, dict[str, float]]:
    """What it is called, how sure that is, and the odds of all that it could have been."""
    task, made = service.task, one.prediction
    if made.answer is None:
        return UNKNOWN_CATEGORY, 0.0, dict(made.probabilities.get("/label", {}))
    if isinstance(task, Labelled):
        label = task.label_of(made.answer)
        odds: dict[str, float] = {}
        for name, share in made.probabilities.get("/label", {}).items():
            odds[_category_name(role, name)] = odds.get(_category_name(role, name), 0.0) + share
        return _category_name(role, label), odds.get(_category_name(role, label), made.confidence), odds
    if isinstance(task, Spanned):
        spans = task.spans_of(made.answer)
        odds = dict.fromkeys(task.span_labels, 0.0)  # of each label: how sure it is of some span
        for number, (_, _, label) in enumerate(spans):
            shares = made.probabilities.get(f"/spans/{number}/label", {label: 1.0})
            odds |= {name: max(odds.get(name, 0.0), share) for name, share in shares.items()}
        first = spans[0][2] if spans else NOTHING_FOUND.get(role, "none")
        return first, odds.get(first, made.confidence), odds
    return str(made.answer), made.confidence, {}


def _category_name(role: str, label: str) -> str:
    """A label as the interface calls it: what is no threat is safe."""
    return NOTHING_FOUND[role] if role in NOTHING_FOUND and label.lower() in BENIGN_LABELS else label


def _explain_result(one: StagedAnswer, category: str, confidence: float, low: bool, options: BatchOptions) -> str:
    said = f"{one.stage.name} answered {category} with probability {confidence:.3f}"
    if one.status != "answered":
        said = f"{one.stage.name} gave no answer: {one.status}"
    elif low:
        said += f", below the threshold of {options.confidence_threshold:g}"
    if one.fallback:
        said += f"; {one.fallback.contender} should have answered, but was {one.fallback.reason}"
    return said


def _summarize_results(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    sure = [one["confidence"] for one in results]
    return {
        "category_distribution": dict(Counter(one["category"] for one in results)),
        "avg_confidence": sum(sure) / len(sure),
        "low_confidence_count": sum(one < LOW_CONFIDENCE for one in sure),
    }
