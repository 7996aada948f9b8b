"""The page: try a task, fill a table, look at the evidence and the traffic."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from loratory.errors import Late, LoratoryError
from loratory.serving.cascade import Broken, Busy
from loratory.serving.page import forms, tables
from loratory.serving.page.ladders import ladder_of, report_bytes
from loratory.serving.page.rendering import ASSETS, HEADERS, REPORT_POLICY, asset, shown
from loratory.serving.page.traffic import traffic
from loratory.serving.page.views import Shown, curl_of, shown_of
from loratory.serving.refusals import Refusal, of_problem
from loratory.serving.routes import login
from loratory.serving.routing import Routes
from loratory.serving.server import Server
from loratory.serving.sessions import Sessions

EXPECTED = (Refusal, LoratoryError, Busy, Late, Broken)  # told in the page; anything else is the gate's
A_DAY = {"cache-control": "max-age=86400"}  # the address of a file changes with what is in it


def routes(server: Server, sessions: Sessions) -> Routes:
    """/, /page/..., /runs/TASK/report, and the door.

    No form carries a token against forged requests: the gate refuses a request whose Origin is not this server, which
    browsers send with every POST, the cookie is SameSite=Strict, and names that are not ours are refused as hosts.
    """
    router = Routes()
    router.include(login.routes(server, sessions))

    @router.get("/")
    async def page(request: Request) -> Response:
        form = dict.fromkeys(forms.TRY, "") | {"task": request.query_params.get("task", "")}
        return shown("page", _whole(server, request) | {"form": form})

    @router.post("/page/try", server.every)
    async def try_a_task(request: Request) -> Response:
        form: Mapping[str, str] = dict.fromkeys(forms.TRY, "")
        answer, refused = None, None
        try:
            form = forms.read(await request.body(), forms.TRY)
            answer = await _tried(server, request, form)
        except EXPECTED as problem:
            refused = of_problem(problem)
        return _reply(server, request, "answer", {"form": form, "answer": answer, "answer_refused": refused})

    @router.post("/page/table", server.every)
    async def fill_a_table(request: Request) -> Response:
        form: Mapping[str, str] = dict.fromkeys(forms.TABLE, "")
        table, refused = None, None
        try:
            form = forms.read(await request.body(), forms.TABLE)
            table = await _filled(server, request, form)
        except EXPECTED as problem:
            refused = of_problem(problem)
        return _reply(server, request, "table", {"table_form": form, "table": table, "table_refused": refused})

    @router.get("/page/try")
    @router.get("/page/table")
    async def back() -> Response:
        return RedirectResponse("/", 303)

    router.include(_looks(server))  # last: /page/{name} would take what stands above
    return router


def _looks(server: Server) -> Routes:
    """What is only looked at: the traffic, files of the page, reports."""
    router = Routes()

    @router.get("/page/traffic")
    async def now() -> Response:
        return shown("traffic", {"traffic": traffic(server)})

    @router.get("/page/{name}")
    async def file(name: str) -> Response:
        if name not in ASSETS:
            raise Refusal("not_found", "there is no such file")
        return Response(asset(name), 200, A_DAY, ASSETS[name])

    @router.get("/runs/{task}/report")
    async def report(task: str) -> Response:
        text = await asyncio.to_thread(report_bytes, server.service(task))
        if text is None:
            raise Refusal("not_found", f"there is no report of {task}: it is no run, or its report was not kept")
        return Response(text, 200, {**HEADERS, "content-security-policy": REPORT_POLICY}, "text/html")

    return router


def _whole(server: Server, request: Request) -> dict[str, Any]:
    """What every rendering of the page shows."""
    key = request.scope.get("key")
    return {
        "services": [forms.choice_of(service) for service in server.board],
        "ladders": [ladder_of(service) for service in server.board],
        "traffic": traffic(server),
        "limits": server.spec.limits,
        "facts": server.facts,
        "up": time.monotonic() - server.started,
        "signed_in": key.name if key else "",
        "form": dict.fromkeys(forms.TRY, ""),
        "table_form": dict.fromkeys(forms.TABLE, ""),
        "answer": None,
        "answer_refused": None,
        "table": None,
        "table_refused": None,
    }


def _reply(server: Server, request: Request, part: str, values: dict[str, Any]) -> Response:
    """The part that a script asked for, or the whole page where there is no script."""
    refused = values[f"{part}_refused"]
    status = refused.status if refused else 200
    asked = part if "x-part" in request.headers else "page"
    made = shown(asked, values if asked == part else _whole(server, request) | values, status)
    made.headers.update(refused.headers if refused else {})
    return made


async def _tried(server: Server, request: Request, form: Mapping[str, str]) -> Shown:
    service = server.service(form.get("task", ""))
    (input,) = server.inputs(service, [forms.asked(service, form)], "text")
    started = time.perf_counter()
    (one,) = await server.answer(service, [input], request.scope["served"])
    spent = (time.perf_counter() - started) * 1000
    curl = curl_of(str(request.base_url).rstrip("/"), service, input, bool(server.keys))
    return shown_of(service, input, one, spent, curl)


async def _filled(server: Server, request: Request, form: Mapping[str, str]) -> tables.Filled:
    service = server.service(form.get("task", ""))
    asked = tables.read(service, form.get("table", ""), form.get("column", ""), server.spec.limits.texts)
    try:
        inputs = server.inputs(service, asked.values, "rows")
    except Refusal as problem:
        raise Refusal(problem.code, problem.message, where=tables.row_of(problem.where)) from None
    started = time.perf_counter()
    found = await server.answer(service, inputs, request.scope["served"])
    return tables.filled(service, asked, found, (time.perf_counter() - started) * 1000)
