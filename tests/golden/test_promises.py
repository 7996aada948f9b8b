"""Every promise of the README and of docs/serving.md has its test, and every test that is named exists."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

HOME = Path(__file__).parents[2]


def table(page: str) -> list[tuple[str, str, list[str]]]:
    """Rows of a page's tables: where (or which fault), what (or how often it was tried), and the tests, last of all."""
    text = (HOME / "docs" / page).read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.+?) \| (.+?) \| (?:[\d,]+ \| )?(.+?) \|$", text, re.MULTILINE)
    return [
        (where, what, re.findall(r"`([^`]+)`", tests))
        for where, what, tests in rows
        if not tests.endswith(("tests", "| test")) and not where.startswith("-")
    ]


@cache
def cases_of(file: Path) -> set[str]:
    body = ast.parse(file.read_text(encoding="utf-8")).body
    return {one.name for one in body if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef))}


def exists(named: str) -> bool:
    file, _, test = named.partition("::")
    where = HOME / file
    return where.is_file() and (test in cases_of(where) if test else file.startswith("benchmarks/"))


def test_every_test_that_is_named_exists() -> None:
    assert not exists("tests/golden/test_promises.py::test_nobody")
    for page, least in (("promises.md", 60), ("reliability.md", 20)):
        named = [test for _, _, tests in table(page) for test in tests]
        assert len(named) > least
        assert [test for test in named if not exists(test)] == []
        assert [what for _, what, tests in table(page) if not tests] == []


def test_every_point_of_the_readme_has_its_row() -> None:
    text = (HOME / "README.md").read_text(encoding="utf-8")
    part = text.partition("## What you can rely on")[2].partition("\n## ")[0]
    points = [point.rstrip(".") for point in re.findall(r"^- \*\*(.+?)\*\*", part, re.MULTILINE)]
    assert len(points) == part.count("\n- ") > 5
    told = {where.partition(": ")[2] for where, _, _ in table("promises.md") if where.startswith("README: ")}
    assert told == set(points)


def test_every_section_of_serving_has_its_row() -> None:
    text = (HOME / "docs" / "serving.md").read_text(encoding="utf-8")
    sections = set(re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE))
    assert len(sections) > 6
    told = {where.partition(": ")[2] for where, _, _ in table("promises.md") if where.startswith("serving: ")}
    assert told == sections
