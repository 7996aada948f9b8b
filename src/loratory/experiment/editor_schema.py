"""The JSON Schemas that an editor reads, with every plugin that is installed, and the comment that names the file."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from loratory.artifacts.durable_files import write_text
from loratory.discovery import list_names, load_named
from loratory.errors import ExtensionError
from loratory.specs.serve import ServerSpec
from loratory.specs.spec_schema import SCHEMA_DIALECT, KnownClasses, build_spec_schema

SCHEMA_FILE = "loratory.schema.json"
MODELINE_START = "# yaml-language-server:"
MODELINE = f"{MODELINE_START} $schema={SCHEMA_FILE}\n"
"""The first line of a spec that `loratory init` writes: which schema the YAML language server uses.

The target is a file beside the spec, which `loratory init` writes too. It works without a network, and a colleague
who clones the repository has it. The other targets do not: a path into site-packages exists on one computer only, a
URL needs a network and does not know the installed plugins, and a hidden folder is often ignored by git.

The rules of the language server: the comment may stand on any line, the target ends at the first space, `#` begins a
fragment, and a relative path starts in the folder of the YAML file. So the name of the file has neither a space nor
a `#`, whatever the folder is called, and is the same on Windows.
"""


def collect_known_classes() -> tuple[KnownClasses, list[str]]:
    """Every installed task, regime and tracker, and what kept a plugin of another package from loading."""
    problems: list[str] = []
    groups = [_load_group(group, problems) for group in ("tasks", "regimes", "trackers")]
    return KnownClasses(*groups), problems


def _load_group(group: str, problems: list[str]) -> dict[str, Any]:
    found = {}
    for name in list_names(group):
        try:
            found[name] = load_named(group, name)
        except ExtensionError as problem:
            problems.append(str(problem.problem))
    return found


def build_server_schema() -> dict[str, Any]:
    """The schema of the file of `loratory serve --config`, draft 2020-12."""
    return {"$schema": SCHEMA_DIALECT, **ServerSpec.model_json_schema(), "title": "loratory server"}


def format_schema(schema: dict[str, Any]) -> str:
    """A schema as the text of a file."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def write_schema_beside(spec_file: Path) -> list[str]:
    """Write the file that MODELINE names into the folder of the spec; returns which plugins are left out of it."""
    text, problems = _format_installed_schema()
    file = spec_file.parent / SCHEMA_FILE
    if not (file.is_file() and file.read_bytes() == text.encode()):
        write_text(file, text)
    return [f"left out of {SCHEMA_FILE}: {problem}" for problem in problems]


@cache
def _format_installed_schema() -> tuple[str, tuple[str, ...]]:
    """The schema of the spec as text, once in a process, and the problems of plugins."""
    known, problems = collect_known_classes()
    return format_schema(build_spec_schema(known)), tuple(problems)
