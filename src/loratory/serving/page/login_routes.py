"""Signing in: a key in, a cookie out."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from loratory.protocols.routes import ANYBODY, ApiError, ResponseSpec, Route
from loratory.serving.http.auth.login_sessions import SESSION_COOKIE, SESSION_SECONDS
from loratory.serving.http.schemas import STRING, object_schema
from loratory.serving.http.server import Server
from loratory.serving.page import form_parsing
from loratory.serving.page.rendering import (
    FORM_MEDIA_TYPE,
    HTML_RESPONSE,
    PAGE_HEADERS,
    REDIRECT_RESPONSE,
    render_response,
)

REQUIRED_SCOPE = "infer"  # without it the page would refuse whoever has just come in


def list_login_routes(server: Server) -> Sequence[Route]:
    """/login, which needs no key, and /logout."""

    async def show_login() -> Response:
        return render_response("login", {"problem": ""}) if server.keys else RedirectResponse("/", 303)

    async def log_in(request: Request) -> Response:
        try:
            key = server.find_key(form_parsing.parse_form(await request.body(), ("key",)).get("key", "").strip())
        except ApiError:
            key = None
        if key is None:
            return render_response("login", {"problem": "This is no key of this server."}, 403)
        if REQUIRED_SCOPE not in key.scopes:
            problem = f"This key may not ask: it has no scope {REQUIRED_SCOPE}."
            return render_response("login", {"problem": problem}, 403)
        made = RedirectResponse("/", 303, PAGE_HEADERS)
        secure = request.url.scheme == "https"
        token = server.sessions.begin(key)
        made.set_cookie(
            SESSION_COOKIE, token, max_age=SESSION_SECONDS, path="/", secure=secure, httponly=True, samesite="strict"
        )
        return made

    async def log_out(request: Request) -> Response:
        server.sessions.end(request.headers.get("cookie", ""))
        made = RedirectResponse("/login", 303, PAGE_HEADERS)
        made.delete_cookie(SESSION_COOKIE, path="/", httponly=True, samesite="strict")
        return made

    form = object_schema({"key": STRING})
    return [
        Route(
            "GET",
            "/login",
            "show_login",
            "The form to sign in.",
            show_login,
            {200: HTML_RESPONSE, 303: REDIRECT_RESPONSE},
            scope=ANYBODY,
        ),
        Route(
            "POST",
            "/login",
            "log_in",
            "Sign in with a key.",
            log_in,
            {303: REDIRECT_RESPONSE, 403: ResponseSpec(STRING, "text/html", "this key lets nobody in")},
            form,
            FORM_MEDIA_TYPE,
            scope=ANYBODY,
        ),
        Route("POST", "/logout", "log_out", "Sign out.", log_out, {303: REDIRECT_RESPONSE}),
    ]
