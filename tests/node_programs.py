"""Programs of Node that open what is exported; tests skip where Node or a package of npm is not there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parent
PROGRAMS = TESTS / "node"


def find_node_modules(package: str) -> Path:
    """The folder node_modules with that package, from NODE_MODULES or tests/node; skips the test without one."""
    if shutil.which("node") is None:
        pytest.skip("Node is not installed")
    for folder in (Path(os.environ.get("NODE_MODULES") or PROGRAMS / "node_modules"), PROGRAMS / "node_modules"):
        if (folder / package).is_dir():
            return folder
    pytest.skip(f"{package} is not installed: make test-node installs it, or set NODE_MODULES")


def run_node(program: str, *arguments: str | Path, modules: Path | None = None) -> Any:
    """What a program of tests/node prints, read as JSON."""
    if shutil.which("node") is None:
        pytest.skip("Node is not installed")
    done = subprocess.run(
        ["node", str(PROGRAMS / program), *map(str, arguments)],
        env={**os.environ, **({"NODE_MODULES": str(modules)} if modules else {})},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])
