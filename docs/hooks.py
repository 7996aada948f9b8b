"""Hooks of mkdocs: links that leave docs/ go to the repository, and comments for the tests stay out of the site."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

HOME = Path(__file__).parents[1]
REPOSITORY = "https://github.com/loratory/loratory"
LINK = re.compile(r"(?P<before>\]\(|(?:src|href)=\")(?P<target>[^)\s\"#:]+)(?P<anchor>#[^)\s\"]*)?(?P<after>[)\"])")
COMMENT = re.compile(r"^ *<!-- test: .*? -->\n", re.MULTILINE)


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The hook's entry: mkdocs calls it for each page."""
    return rewrite_page(markdown, page.file.src_uri)


def rewrite_page(markdown: str, source: str) -> str:
    """A page as the site shows it. `source`: the page's path in docs/, with slashes."""
    folder = posixpath.join("docs", posixpath.dirname(source))
    return LINK.sub(lambda found: rewrite_link(found, folder), COMMENT.sub("", markdown))


def rewrite_link(link: re.Match[str], folder: str) -> str:
    """A link to a file of the repository outside docs/, or to a folder, points to GitHub; others stay."""
    path = posixpath.normpath(posixpath.join(folder, link["target"]))
    file = HOME / path
    page = path.startswith("docs/") and file.is_file() and file.suffix != ".py"
    if page or path.startswith("../") or not file.exists():
        return link[0]
    kind = "tree" if file.is_dir() else "blob"
    return f"{link['before']}{REPOSITORY}/{kind}/main/{path}{link['anchor'] or ''}{link['after']}"
