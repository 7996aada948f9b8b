"""A real browser for the tests of pages; skipped where there is none."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def chromium() -> str | None:
    """CHROMIUM, then where systems put it."""
    named = (os.environ.get("CHROMIUM"), "/usr/bin/chromium", "chromium", "google-chrome")
    return next((found for name in named if name and (found := shutil.which(name))), None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
    where = chromium()
    if where is None:
        pytest.skip("no Chromium here: install one, or name it with CHROMIUM=/path/to/chromium")
    with api.sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=where, args=list(FLAGS))
        yield made
        made.close()
