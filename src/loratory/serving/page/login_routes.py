"""The door: a key in, a cookie out."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from loratory.serving.http.api_errors import ApiError
from loratory.serving.http.auth.login_sessions import SESSION_COOKIE, SESSION_SECONDS, LoginSessions
from loratory.serving.http.routing import HttpRouter
from loratory.serving.http.server import Server
from loratory.serving.page import form_parsing
from loratory.serving.page.rendering import PAGE_HEADERS, render_response

REQUIRED_SCOPE = "infer"  # without it the page would refuse whoever has just come in


def make_routes(server: Server, sessions: LoginSessions) -> HttpRouter:
    """/login, which the gate leaves open, and /logout."""
    router = HttpRouter()

    @router.get("/login")
    async def door() -> Response:
        return render_response("login", {"problem": ""}) if server.keys else RedirectResponse("/", 303)

    @router.post("/login")
    async def enter(request: Request) -> Response:
        try:
            key = server.find_key(form_parsing.parse_form(await request.body(), ("key",)).get("key", "").strip())
        except ApiError:
            key = None
        if key is None:
            return render_response("login", {"problem": "This is no key of this server."}, 403)
        if REQUIRED_SCOPE not in key.scopes:
            return render_response(
                "login", {"problem": f"This key may not ask: it has no scope {REQUIRED_SCOPE}."}, 403
            )
        made = RedirectResponse("/", 303, PAGE_HEADERS)
        secure = request.url.scheme == "https"
        token = sessions.begin(key)
        made.set_cookie(
            SESSION_COOKIE, token, max_age=SESSION_SECONDS, path="/", secure=secure, httponly=True, samesite="strict"
        )
        return made

    @router.post("/logout")
    async def leave(request: Request) -> Response:
        sessions.end(request.headers.get("cookie", ""))
        made = RedirectResponse("/login", 303, PAGE_HEADERS)
        made.delete_cookie(SESSION_COOKIE, path="/", httponly=True, samesite="strict")
        return made

    return router
