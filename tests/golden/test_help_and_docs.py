"""The generated pages of docs/ are what their generator makes of the code as it is."""

from __future__ import annotations

import ast
import re
from types import ModuleType

from doc_modules import DOCS, load_doc_module
from loratory.discovery import list_names, load_named

PAGES = ("spec.md", "spec.schema.json", "cli.md", "server.md", "evidence.md", "data.md", "reliability.md")


def generator() -> ModuleType:
    return load_doc_module("generate")


OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]+")


def test_the_committed_pages_are_what_the_generator_makes() -> None:
    made = generator().pages()
    assert set(made) == set(PAGES)
    stale = [page for page, text in made.items() if (DOCS / page).read_text(encoding="utf-8") != text]
    assert stale == [], "run: python docs/generate.py"


def test_every_option_of_every_model_stands_in_the_page() -> None:
    text = (DOCS / "spec.md").read_text(encoding="utf-8")
    for group in ("tasks", "regimes"):
        for name in list_names(group):
            for key in load_named(group, name).model_fields:
                assert f"`{key}`" in text or key == "kind", f"{name}: {key}"


def test_every_option_has_its_help() -> None:
    rows = re.findall(r"^\| `(\w+)` \|.*\|([^|]*)\|$", (DOCS / "spec.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(rows) > 60
    silent = {key for key, meaning in rows if not meaning.strip()}
    assert silent <= {"split", "loss"}, silent  # those have tables of their own


def test_help_lines_are_whole_and_no_wider_than_the_page() -> None:
    lines = (DOCS / "cli.md").read_text(encoding="utf-8").split("\n")
    for line in lines:
        assert not line.endswith("...") or line.startswith("Usage:"), line
    inside = "\n".join(lines).split("```")[1::2]
    assert len(inside) == 1 + len(generator().VERBS)
    assert max(len(line) for block in inside for line in block.split("\n")) <= generator().WIDTH


OPTIONS_OF_OTHER_PROGRAMS = {  # that exports name: npm, llama.cpp, vLLM
    *("--prefix", "--ignore-scripts", "--grammar-file", "--enable-lora", "--max-lora-rank", "--lora-modules"),
    *("--dtype", "--served-model-name", "--chat-template", "--max-model-len"),
}


def test_every_option_that_the_source_speaks_of_is_one_of_the_commands() -> None:
    """Remedies and notes name options; what is named has to be there. `pip` and CSS have options of their own."""
    known = {
        *OPTION.findall((DOCS / "cli.md").read_text(encoding="utf-8")),
        "--upgrade",
        "--force-reinstall",
        "--font",
        *OPTIONS_OF_OTHER_PROGRAMS,
    }
    named = {
        (option, file.name)
        for file in (DOCS.parent / "src/loratory").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for option in OPTION.findall(node.value)
    }
    assert len({option for option, _ in named}) > 20
    assert sorted(one for one in named if one[0] not in known) == []
