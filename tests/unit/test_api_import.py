"""`import loratory` is lazy, and every public name is there."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import loratory

HEAVY = ("torch", "transformers", "sklearn", "numpy", "pydantic", "typer", "rich", "typing", "asyncio")


def test_the_import_loads_nothing_heavy() -> None:
    code = "import sys, loratory; print(*sorted(sys.modules))"
    told = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=False)
    if told.returncode:  # an editable install is found by `site`
        bare = subprocess.run([sys.executable, "-c", "import sys; print(*sys.modules)"], capture_output=True, text=True)
        told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        before = set(bare.stdout.split())
    else:
        before = set()
    assert "loratory" in told.stdout.split()
    assert [name for name in HEAVY if name in set(told.stdout.split()) - before] == []


@pytest.mark.parametrize("name", loratory.__all__)
def test_every_public_name_is_there_with_words_about_it(name: str) -> None:
    value = getattr(loratory, name)
    assert name == "__version__" or (value.__doc__ and value.__name__ == name)


def test_type_checkers_see_the_names_that_the_module_gives() -> None:
    tree = ast.parse(Path(str(loratory.__file__)).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    typed = {
        alias.name: str(node.module) for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert typed == loratory._MODULE_BY_NAME
    assert set(typed) | {"__version__"} == set(loratory.__all__) == set(dir(loratory))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'lod'"):
        loratory.lod  # type: ignore[attr-defined]  # noqa: B018


def test_modules_of_the_same_package_do_not_hide_the_functions() -> None:
    for module in ("loratory.bundled_recipes.risk_triage", "loratory.exporting", "loratory.serving"):
        importlib.import_module(module)
    assert all(callable(getattr(loratory, name)) for name in ("run", "recipes", "export", "serve", "check", "stress"))
