"""The page: try a task, fill a table, look at the evidence and the traffic."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from loratory.errors import DeadlineExceeded, LoratoryError
from loratory.protocols import Schema
from loratory.protocols.routes import (
    ANYBODY,
    BODY_ERRORS,
    ApiError,
    Handler,
    RenderedError,
    RequestContext,
    ResponseSpec,
    Route,
    RouteScope,
)
from loratory.serving.engine.fallback_chain import Overloaded, PredictorFailed
from loratory.serving.http.api_errors import OPENAI_ERROR_SCHEMA, to_api_error
from loratory.serving.http.routes.openapi_routes import cache_document
from loratory.serving.http.schemas import STRING, object_schema
from loratory.serving.http.server import Server
from loratory.serving.page import answer_table, form_parsing
from loratory.serving.page.answer_view import AnswerView, build_answer_view, format_curl
from loratory.serving.page.docs_view import list_documented_tags
from loratory.serving.page.error_pages import render_page_error
from loratory.serving.page.ladder_view import build_ladder_view, read_report
from loratory.serving.page.login_routes import list_login_routes
from loratory.serving.page.rendering import (
    ASSETS,
    FORM_MEDIA_TYPE,
    HTML_RESPONSE,
    PAGE_HEADERS,
    REDIRECT_RESPONSE,
    REPORT_SECURITY_POLICY,
    read_asset,
    render_response,
)
from loratory.serving.page.task_commands import build_task_commands
from loratory.serving.page.task_examples import find_example, list_examples
from loratory.serving.page.traffic import summarize_traffic

PAGE_ERRORS = (
    ApiError,
    LoratoryError,
    Overloaded,
    DeadlineExceeded,
    PredictorFailed,
)  # told in the page; anything else is ErrorMiddleware's
FORM_ERRORS = BODY_ERRORS | {404}
LOGIN_ASSETS = ("style.css", "theme.js", "icon.svg")
ASSET_HEADERS = {"cache-control": "max-age=86400"}  # the address of a file changes with what is in it


class PageRoutes:
    """/, /docs, /page/..., /runs/TASK/report, and signing in.

    No form carries a token against forged requests: a request whose Origin is not this server is refused, and browsers
    send it with every POST; the cookie is SameSite=Strict, and names that are not ours are refused as hosts.
    """

    name: ClassVar[str] = "page"
    description: ClassVar[str] = "The page for people, in a browser."
    prefixes: ClassVar[tuple[str, ...]] = ("/page/", "/runs/")
    error_schema: ClassVar[Schema] = OPENAI_ERROR_SCHEMA
    error_media_types: ClassVar[tuple[str, ...]] = ("application/json", "text/html")

    def render_error(self, error: ApiError, context: RequestContext) -> RenderedError:
        """A page for browsers; JSON for programs."""
        return render_page_error(error, context)

    def list_routes(self, server: Server) -> Sequence[Route]:
        """All that a browser asks for."""
        return [
            *list_login_routes(server),
            *_list_form_routes(server),
            *_list_read_routes(server),
            *map(_asset_route, ASSETS),
        ]


def _list_form_routes(server: Server) -> Sequence[Route]:
    """The page, and the two forms on it."""

    async def show_page(request: Request) -> Response:
        task, number = (request.query_params.get(name, "") for name in ("task", "example"))
        text = find_example(server.registry.get(task), number)
        form = dict.fromkeys(form_parsing.TRY_FIELDS, "") | {"task": task, "text": text}
        return render_response("page", _page_values(server, request) | {"form": form})

    async def try_task(request: Request, context: RequestContext) -> Response:
        form: Mapping[str, str] = dict.fromkeys(form_parsing.TRY_FIELDS, "")
        answer, refused = None, None
        try:
            form = form_parsing.parse_form(await request.body(), form_parsing.TRY_FIELDS)
            answer = await _answer_form(server, request, context, form)
        except PAGE_ERRORS as problem:
            refused = to_api_error(problem)
        return _render_part(server, request, "answer", {"form": form, "answer": answer, "answer_refused": refused})

    async def fill_table(request: Request, context: RequestContext) -> Response:
        form: Mapping[str, str] = dict.fromkeys(form_parsing.TABLE_FIELDS, "")
        table, refused = None, None
        try:
            form = form_parsing.parse_form(await request.body(), form_parsing.TABLE_FIELDS)
            table = await _answer_table(server, context, form)
        except PAGE_ERRORS as problem:
            refused = to_api_error(problem)
        return _render_part(server, request, "table", {"table_form": form, "table": table, "table_refused": refused})

    async def go_back() -> Response:
        return RedirectResponse("/", 303)

    def form_route(name: str, summary: str, handler: Handler, fields: Sequence[str], needed: Sequence[str]) -> Route:
        schema = object_schema(dict.fromkeys(fields, STRING), needed)
        return Route(
            "POST",
            f"/page/{name}",
            f"page_{name}",
            summary,
            handler,
            {200: HTML_RESPONSE},
            schema,
            FORM_MEDIA_TYPE,
            errors=FORM_ERRORS,
            select_services=server.list_services,
        )

    back = {303: REDIRECT_RESPONSE}
    return [
        Route("GET", "/", "show_page", "The page.", show_page, {200: HTML_RESPONSE}),
        form_route("try", "One input of a form, answered.", try_task, form_parsing.TRY_FIELDS, ["task", "text"]),
        form_route("table", "A CSV of a form, filled.", fill_table, form_parsing.TABLE_FIELDS, ["task", "table"]),
        Route("GET", "/page/try", "leave_try", "Back to the page.", go_back, back),
        Route("GET", "/page/table", "leave_table", "Back to the page.", go_back, back),
    ]


def _list_read_routes(server: Server) -> Sequence[Route]:
    """What is only looked at: the traffic, reports, the interface."""
    get_document = cache_document(server)

    async def show_traffic() -> Response:
        return render_response("traffic", {"traffic": summarize_traffic(server)})

    async def show_report(task: str) -> Response:
        text = await asyncio.to_thread(read_report, server.get_service(task))
        if text is None:
            raise ApiError("not_found", f"there is no report of {task}: it is no run, or its report was not kept")
        return Response(text, 200, {**PAGE_HEADERS, "content-security-policy": REPORT_SECURITY_POLICY}, "text/html")

    async def show_docs() -> Response:
        return render_response("docs", {"tags": list_documented_tags(get_document())})

    html = {200: HTML_RESPONSE}
    return [
        Route("GET", "/page/traffic", "show_traffic", "The last minute of the server.", show_traffic, html),
        Route(
            "GET",
            "/runs/{task}/report",
            "show_report",
            "The report of its run.",
            show_report,
            html,
            errors=frozenset({404}),
            task_parameter="task",
        ),
        Route("GET", "/docs", "show_docs", "The OpenAPI document, for people.", show_docs, html),
    ]


def _asset_route(name: str) -> Route:
    """A file of the page. What the form to sign in looks like needs no key."""

    async def send_asset() -> Response:
        return Response(read_asset(name), 200, ASSET_HEADERS, ASSETS[name])

    response = ResponseSpec(STRING, ASSETS[name], "a file of the page")
    scope: RouteScope = ANYBODY if name in LOGIN_ASSETS else "infer"
    operation = f"get_asset_{name.replace('.', '_')}"
    return Route("GET", f"/page/{name}", operation, "A file of the page.", send_asset, {200: response}, scope=scope)


def _page_values(server: Server, request: Request) -> dict[str, Any]:
    """What every rendering of the page shows."""
    key, services = request.scope.get("key"), list(server.registry)
    ladders = [build_ladder_view(service) for service in services]
    return {
        "services": [form_parsing.describe_task(service) for service in services],
        "examples": list_examples(services),
        "ladders": ladders,
        "warned": [ladder for ladder in ladders if ladder.warnings],
        "commands": [build_task_commands(_base_url(request), service, bool(server.keys)) for service in services],
        "traffic": summarize_traffic(server),
        "limits": server.spec.limits,
        "facts": server.info,
        "up": time.monotonic() - server.started_at,
        "signed_in": key.name if key else "",
        "form": dict.fromkeys(form_parsing.TRY_FIELDS, ""),
        "table_form": dict.fromkeys(form_parsing.TABLE_FIELDS, ""),
        "answer": None,
        "answer_refused": None,
        "table": None,
        "table_refused": None,
    }


def _base_url(request: Request) -> str:
    """The address under which the browser knows this server."""
    return str(request.base_url).rstrip("/")


def _render_part(server: Server, request: Request, part: str, values: dict[str, Any]) -> Response:
    """The part that a script asked for, or the whole page where there is no script."""
    refused = values[f"{part}_refused"]
    status = refused.status if refused else 200
    asked = part if "x-part" in request.headers else "page"
    made = render_response(asked, values if asked == part else _page_values(server, request) | values, status)
    made.headers.update(refused.headers if refused else {})
    return made


async def _answer_form(
    server: Server, request: Request, context: RequestContext, form: Mapping[str, str]
) -> AnswerView:
    service = server.get_service(form.get("task", ""))
    (input,) = server.validate_inputs(service, [form_parsing.input_from_form(service, form)], "text")
    started = time.perf_counter()
    (one,) = await server.answer(service, [input], context)
    spent = (time.perf_counter() - started) * 1000
    curl = format_curl(_base_url(request), service, input, bool(server.keys))
    return build_answer_view(service, input, one, spent, curl)


async def _answer_table(server: Server, context: RequestContext, form: Mapping[str, str]) -> answer_table.AnsweredTable:
    service = server.get_service(form.get("task", ""))
    asked = answer_table.parse_table(service, form.get("table", ""), form.get("column", ""), server.spec.limits.texts)
    try:
        inputs = server.validate_inputs(service, asked.values, "rows")
    except ApiError as problem:
        raise ApiError(problem.code, problem.message, where=answer_table.describe_row(problem.where)) from None
    started = time.perf_counter()
    found = await server.answer(service, inputs, context)
    return answer_table.fill_table(service, asked, found, (time.perf_counter() - started) * 1000)
