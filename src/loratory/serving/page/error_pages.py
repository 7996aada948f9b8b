"""What a person sees in a browser where a program would be answered with an error in JSON."""

from __future__ import annotations

from loratory.protocols.routes import ApiError, RenderedError, RequestContext
from loratory.serving.http.api_errors import render_openai_error
from loratory.serving.page.rendering import render_response


def render_page_error(error: ApiError, context: RequestContext) -> RenderedError:
    """A page where a browser asks, else JSON.

    Without a key a browser is sent to sign in. That says no more than the 401 that everybody else gets.
    """
    if "text/html" not in context.headers.get("accept", ""):
        return render_openai_error(error, context)
    if error.status == 401:
        return RenderedError(b"", "text/html", 303, {"location": "/login", "cache-control": "no-store"})
    made = render_response("refused", {"refusal": error, "request_id": context.request_id}, error.status)
    return RenderedError(bytes(made.body), "text/html", headers=dict(made.headers))
