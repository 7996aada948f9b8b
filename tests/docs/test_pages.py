"""Pages without running them: navigation is whole, links lead somewhere, quoted messages and figures are real."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from doc_blocks import DOCS, HOME, list_pages
from ruamel.yaml import YAML

from doc_modules import load_doc_module

PAGES = list_pages()
ROOT_PAGES = [HOME / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
LINK = re.compile(r"(?:\]\(|(?:src|href)=\")([^)\s\"]+)")
NAMES = r"torch|regime|utf|prompted|tfidf|generate|causal|encoder|messages\.csv"  # values that stand in messages
VALUES = re.compile(rf"0\.0\.0\.0|'[^']*'|\d+|[…()]|\b(?:{NAMES})\b")
NOT_OURS = {"loratory: command not found", "answer"}  # the shell's, and a key of an answer
FOREIGN = re.compile(r"<(?:script|img|link rel=\"stylesheet\")[^>]+(?:src|href)=\"https?:")
WORD = re.compile(r"[^\W\d_]+")


def load_config() -> Any:
    return YAML(typ="safe").load((HOME / "mkdocs.yml").read_text(encoding="utf-8"))


def hooks() -> ModuleType:
    return load_doc_module("hooks")


def strip_code(text: str) -> str:
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE))


def find_anchors(file: Path) -> set[str]:
    """Anchors of the headings, as GitHub and mkdocs make them."""
    text = re.sub(r"^ *```.*?^ *```", "", file.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return set(re.findall(r'<a id="([^"]+)">', text)) | {
        re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", title.strip().lower())) for title in titles
    }


def list_nav(entry: Any) -> list[str]:
    if isinstance(entry, str):
        return [entry]
    if isinstance(entry, dict):
        return [path for part in entry.values() for path in list_nav(part)]
    return [path for part in entry for path in list_nav(part)]


def test_every_page_stands_in_the_navigation_once() -> None:
    named = [path for path in list_nav(load_config()["nav"]) if not path.startswith("http")]
    assert sorted(named) == sorted(str(page.relative_to(DOCS)) for page in PAGES)


@pytest.mark.parametrize("page", [*PAGES, *ROOT_PAGES], ids=lambda page: str(page.relative_to(HOME)))
def test_links_of_a_page_lead_to_a_file_and_a_heading(page: Path) -> None:
    lost = []
    for link in LINK.findall(strip_code(page.read_text(encoding="utf-8"))):
        if re.match(r"\w+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in find_anchors(target)):
            lost.append(link)
    assert lost == []


def test_the_site_asks_no_other_server_for_fonts_or_scripts() -> None:
    config = load_config()
    assert config["theme"]["font"] is False
    assert not {"extra_javascript", "extra_css", "copyright"} & set(config)
    assert {entry["media"] for entry in config["theme"]["palette"]} == {
        f"(prefers-color-scheme: {one})" for one in ("light", "dark")
    }


def test_links_out_of_the_docs_go_to_the_repository_and_others_stay() -> None:
    rewrite = hooks().rewrite_page
    start = "https://github.com/loratory/loratory"
    assert rewrite("[a](../CHANGELOG.md)", "index.md") == f"[a]({start}/blob/main/CHANGELOG.md)"
    assert rewrite("[a](../../src/loratory/)", "extending/tasks.md") == f"[a]({start}/tree/main/src/loratory)"
    assert rewrite("[a](../design/013-intervals.md#x)", "a.md") == f"[a]({start}/blob/main/design/013-intervals.md#x)"
    for kept in ("[a](spec.md#ladder)", "[a](https://x.org/../src)", "[a](#there)", "![a](images/scaling.svg)"):
        assert rewrite(kept, "index.md") == kept
    assert rewrite("<!-- test: skip a reason -->\n```bash\n", "index.md") == "```bash\n"


def test_quoted_messages_of_troubleshooting_stand_in_the_source() -> None:
    source = "\n".join(
        node.value
        for file in (HOME / "src/loratory").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
    text = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    titles = re.findall(r"^\*\*(.+?)\*\*", text, re.MULTILINE)
    quoted = {part for title in titles for part in re.findall(r"`(.+?)`", title)} - NOT_OURS
    assert len(quoted) > 20
    assert [one for one in quoted if find_constant_part(one) not in source] == []


def find_constant_part(message: str) -> str:
    """The longest part of a message that has no values in it."""
    return max(re.split(VALUES, message), key=len).strip(" .,:;")


def test_the_ladder_of_the_readme_is_the_committed_run() -> None:
    text = (HOME / "README.md").read_text(encoding="utf-8")
    found = json.loads((HOME / "benchmarks/results/ladder-risk-triage.json").read_text(encoding="utf-8"))
    rows = re.findall(r"^ ([\w-]+)(?: \*)? +(\d+\.\d) \[(\d+\.\d), (\d+\.\d)\]", text, re.MULTILINE)
    pruned = re.findall(r"^ ([\w-]+) +pruned ", text, re.MULTILINE)
    assert len(rows) + len(pruned) == 10
    assert [row["name"] for row in found["contenders"] if row["status"] == "pruned"] == pruned
    assert list_committed_rows(found) == [(name, *map(float, numbers)) for name, *numbers in rows]
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    assert len(WORD.findall(re.sub(r"\]\([^)]*\)", "]", prose))) <= 950


def list_committed_rows(found: Any) -> list[tuple[str, float, float, float]]:
    """Name, and accuracy with its interval, in percent as the table prints them."""
    return [
        (row["name"], *(round(100 * row["metrics"]["accuracy"][key], 1) for key in ("mean", "low", "high")))
        for row in found["contenders"]
        if row["status"] == "fitted"
    ]


@pytest.mark.slow
def test_the_site_is_built_strictly(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    pytest.importorskip("mkdocstrings")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")],
        cwd=HOME,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for page in (tmp_path / "site").rglob("*.html"):
        loaded = re.findall(
            r"<(?:script|link rel=\"stylesheet\"|img)[^>]+(?:src|href)=\"(https?:[^\"]+)", page.read_text("utf-8")
        )
        assert loaded == [], page
