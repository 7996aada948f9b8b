"""From what a person types (a file, a folder, a recipe's name) to a parsed spec."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from loratory.discovery import find, names
from loratory.errors import SpecError, nearest
from loratory.specs.frame import Parser, Spec, load_yaml, parse
from loratory.specs.overrides import overridden

SPEC = "spec.yaml"


def recipe_folder(name: str) -> Path:
    """The folder of a shipped recipe; raises SpecError with the nearest name."""
    return Path(str(find("recipes", name).__path__[0]))


def spec_file(target: str) -> Path:
    """The YAML that a file name, a folder with spec.yaml, or a recipe's name means."""
    path = Path(target).expanduser()
    if path.is_dir() and (path / SPEC).is_file():
        return path / SPEC
    if path.is_file() or path.suffix in (".yaml", ".yml"):
        return path
    if target in names("recipes"):
        return recipe_folder(target) / SPEC
    raise SpecError(
        f"{target!r} is no spec{nearest(target, names('recipes'))}",
        allowed=f"a YAML file, a folder with {SPEC}, or a recipe: {', '.join(names('recipes'))}",
        remedy="loratory init DATA writes a spec for your examples",
    )


def load_spec(target: str, data: str | None = None, changes: Sequence[str] = ()) -> Spec:
    """Parse a spec; `data` replaces its data path (relative to where the person is), `changes` are KEY=VALUE."""
    file = spec_file(target)
    values, lines = load_yaml(file)
    if changes:
        values = overridden(values, changes)
    if data is not None:
        values = {**values, "data": _moved(values.get("data"), data)}
    parser = Parser(str(file), lines, partial(find, "tasks"), partial(find, "regimes"), names("regimes"))
    spec = parse(values, parser, file.parent)
    _check_gate(spec)
    return spec


def _moved(data: Any, path: str) -> dict[str, Any]:
    """The same options on other files: the spec's own test and validation files do not go with them."""
    kept = (
        {key: value for key, value in data.items() if key not in ("test", "validation")}
        if isinstance(data, dict)
        else {}
    )
    local = Path(path).expanduser()
    return {**kept, "path": str(local.resolve()) if local.exists() else path}


def _check_gate(spec: Spec) -> None:
    if spec.gate is not None:
        evaluation = importlib.import_module("loratory.evaluation.gate")
        evaluation.check_gate(spec.gate, getattr(spec.task, "labels", None), [c.name for c in spec.ladder])


def lock(spec: Spec) -> str:
    """The text of spec.lock.yaml: every value, given or derived."""
    return str(yaml.safe_dump(spec.facts(), sort_keys=False, allow_unicode=True, width=110))
