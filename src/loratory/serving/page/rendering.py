"""Templates and files of the page, and the headers that keep it to itself."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import Response

from loratory import __version__
from loratory.evaluation import table_cells
from loratory.protocols.routes import ResponseSpec
from loratory.serving.page.answer_view import format_probability

ASSETS: Mapping[str, str] = {
    "style.css": "text/css",
    "theme.js": "text/javascript",
    "page.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# A report carries its style and its drawings in itself, and asks for nothing.
REPORT_SECURITY_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"
# same-origin, not no-referrer: under that a browser sends `Origin: null` with our own forms, and that is refused.
PAGE_HEADERS = {"referrer-policy": "same-origin", "cache-control": "no-store"}

HTML_RESPONSE = ResponseSpec({"type": "string"}, "text/html", "a page, or a part of one")
REDIRECT_RESPONSE = ResponseSpec(None, "", "elsewhere: see Location")
FORM_MEDIA_TYPE = "application/x-www-form-urlencoded"


@cache
def read_asset(name: str) -> bytes:
    """A file of the page, from the package."""
    return files(__package__).joinpath(name).read_bytes()


@cache
def asset_version(name: str) -> str:
    """What the address of a file ends with, so that browsers may keep it and still see the next one."""
    return hashlib.sha256(read_asset(name)).hexdigest()[:8]


@cache
def _make_environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(str(files(__package__))),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "chance": format_probability,
        "breakable": add_word_breaks,
        "milliseconds": table_cells.format_milliseconds,
        "seconds": table_cells.format_seconds,
    }
    made.globals |= {"version": __version__, "version_of": asset_version}
    return made


def add_word_breaks(name: str) -> Markup:
    """A name that may go on in the next line after an underscore."""
    return Markup("_<wbr>").join(name.split("_"))


def render_html(template: str, values: Mapping[str, Any]) -> str:
    """A template of ours, every value escaped."""
    return _make_environment().get_template(f"{template}.html.jinja").render(**values)


def render_response(template: str, values: Mapping[str, Any], status: int = 200) -> Response:
    """A page, or a part of one."""
    headers = {**PAGE_HEADERS, "content-security-policy": CONTENT_SECURITY_POLICY}
    return Response(render_html(template, values), status, headers, "text/html")
