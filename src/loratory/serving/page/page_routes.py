"""The page: try a task, fill a table, look at the evidence and the traffic."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from loratory.errors import DeadlineExceeded, LoratoryError
from loratory.serving.engine.fallback_chain import Overloaded, PredictorFailed
from loratory.serving.http.api_errors import ApiError, to_api_error
from loratory.serving.http.auth.login_sessions import LoginSessions
from loratory.serving.http.routing import HttpRouter
from loratory.serving.http.server import Server
from loratory.serving.page import answer_table, form_parsing, login_routes
from loratory.serving.page.answer_view import AnswerView, build_answer_view, format_curl
from loratory.serving.page.ladder_view import build_ladder_view, read_report
from loratory.serving.page.rendering import ASSETS, PAGE_HEADERS, REPORT_SECURITY_POLICY, read_asset, render_response
from loratory.serving.page.traffic import summarize_traffic

PAGE_ERRORS = (
    ApiError,
    LoratoryError,
    Overloaded,
    DeadlineExceeded,
    PredictorFailed,
)  # told in the page; anything else is the gate's
ASSET_HEADERS = {"cache-control": "max-age=86400"}  # the address of a file changes with what is in it


def make_routes(server: Server, sessions: LoginSessions) -> HttpRouter:
    """/, /page/..., /runs/TASK/report, and the door.

    No form carries a token against forged requests: the gate refuses a request whose Origin is not this server, which
    browsers send with every POST, the cookie is SameSite=Strict, and names that are not ours are refused as hosts.
    """
    router = HttpRouter()
    router.include(login_routes.make_routes(server, sessions))

    @router.get("/")
    async def page(request: Request) -> Response:
        form = dict.fromkeys(form_parsing.TRY_FIELDS, "") | {"task": request.query_params.get("task", "")}
        return render_response("page", _page_values(server, request) | {"form": form})

    @router.post("/page/try", server.list_services)
    async def try_a_task(request: Request) -> Response:
        form: Mapping[str, str] = dict.fromkeys(form_parsing.TRY_FIELDS, "")
        answer, refused = None, None
        try:
            form = form_parsing.parse_form(await request.body(), form_parsing.TRY_FIELDS)
            answer = await _answer_form(server, request, form)
        except PAGE_ERRORS as problem:
            refused = to_api_error(problem)
        return _render_part(server, request, "answer", {"form": form, "answer": answer, "answer_refused": refused})

    @router.post("/page/table", server.list_services)
    async def fill_a_table(request: Request) -> Response:
        form: Mapping[str, str] = dict.fromkeys(form_parsing.TABLE_FIELDS, "")
        table, refused = None, None
        try:
            form = form_parsing.parse_form(await request.body(), form_parsing.TABLE_FIELDS)
            table = await _answer_table(server, request, form)
        except PAGE_ERRORS as problem:
            refused = to_api_error(problem)
        return _render_part(server, request, "table", {"table_form": form, "table": table, "table_refused": refused})

    @router.get("/page/try")
    @router.get("/page/table")
    async def back() -> Response:
        return RedirectResponse("/", 303)

    router.include(_make_read_routes(server))  # last: /page/{name} would take what stands above
    return router


def _make_read_routes(server: Server) -> HttpRouter:
    """What is only looked at: the traffic, files of the page, reports."""
    router = HttpRouter()

    @router.get("/page/traffic")
    async def now() -> Response:
        return render_response("traffic", {"traffic": summarize_traffic(server)})

    @router.get("/page/{name}")
    async def file(name: str) -> Response:
        if name not in ASSETS:
            raise ApiError("not_found", "there is no such file")
        return Response(read_asset(name), 200, ASSET_HEADERS, ASSETS[name])

    @router.get("/runs/{task}/report")
    async def report(task: str) -> Response:
        text = await asyncio.to_thread(read_report, server.get_service(task))
        if text is None:
            raise ApiError("not_found", f"there is no report of {task}: it is no run, or its report was not kept")
        return Response(text, 200, {**PAGE_HEADERS, "content-security-policy": REPORT_SECURITY_POLICY}, "text/html")

    return router


def _page_values(server: Server, request: Request) -> dict[str, Any]:
    """What every rendering of the page shows."""
    key = request.scope.get("key")
    return {
        "services": [form_parsing.describe_task(service) for service in server.registry],
        "ladders": [build_ladder_view(service) for service in server.registry],
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


def _render_part(server: Server, request: Request, part: str, values: dict[str, Any]) -> Response:
    """The part that a script asked for, or the whole page where there is no script."""
    refused = values[f"{part}_refused"]
    status = refused.status if refused else 200
    asked = part if "x-part" in request.headers else "page"
    made = render_response(asked, values if asked == part else _page_values(server, request) | values, status)
    made.headers.update(refused.headers if refused else {})
    return made


async def _answer_form(server: Server, request: Request, form: Mapping[str, str]) -> AnswerView:
    service = server.get_service(form.get("task", ""))
    (input,) = server.validate_inputs(service, [form_parsing.input_from_form(service, form)], "text")
    started = time.perf_counter()
    (one,) = await server.answer(service, [input], request.scope["served"])
    spent = (time.perf_counter() - started) * 1000
    curl = format_curl(str(request.base_url).rstrip("/"), service, input, bool(server.keys))
    return build_answer_view(service, input, one, spent, curl)


async def _answer_table(server: Server, request: Request, form: Mapping[str, str]) -> answer_table.AnsweredTable:
    service = server.get_service(form.get("task", ""))
    asked = answer_table.parse_table(service, form.get("table", ""), form.get("column", ""), server.spec.limits.texts)
    try:
        inputs = server.validate_inputs(service, asked.values, "rows")
    except ApiError as problem:
        raise ApiError(problem.code, problem.message, where=answer_table.describe_row(problem.where)) from None
    started = time.perf_counter()
    found = await server.answer(service, inputs, request.scope["served"])
    return answer_table.fill_table(service, asked, found, (time.perf_counter() - started) * 1000)
