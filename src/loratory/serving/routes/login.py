"""The door: a key in, a cookie out."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from loratory.serving.page import forms
from loratory.serving.page.rendering import HEADERS, shown
from loratory.serving.refusals import Refusal
from loratory.serving.routing import Routes
from loratory.serving.server import Server
from loratory.serving.sessions import COOKIE, SECONDS, Sessions

NEEDED = "infer"  # without it the page would refuse whoever has just come in


def routes(server: Server, sessions: Sessions) -> Routes:
    """/login, which the gate leaves open, and /logout."""
    router = Routes()

    @router.get("/login")
    async def door() -> Response:
        return shown("login", {"problem": ""}) if server.keys else RedirectResponse("/", 303)

    @router.post("/login")
    async def enter(request: Request) -> Response:
        try:
            key = server.key_of(forms.read(await request.body(), ("key",)).get("key", "").strip())
        except Refusal:
            key = None
        if key is None:
            return shown("login", {"problem": "This is no key of this server."}, 403)
        if NEEDED not in key.scopes:
            return shown("login", {"problem": f"This key may not ask: it has no scope {NEEDED}."}, 403)
        made = RedirectResponse("/", 303, HEADERS)
        secure = request.url.scheme == "https"
        token = sessions.begin(key)
        made.set_cookie(COOKIE, token, max_age=SECONDS, path="/", secure=secure, httponly=True, samesite="strict")
        return made

    @router.post("/logout")
    async def leave(request: Request) -> Response:
        sessions.end(request.headers.get("cookie", ""))
        made = RedirectResponse("/login", 303, HEADERS)
        made.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
        return made

    return router
