"""The wheel, built once, and the same unpacked."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from filelock import FileLock

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree; workers of one session share it."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if base.name.startswith("popen-") else base
    folder = shared / "wheel"
    with FileLock(shared / "wheel.lock"):
        if not list(folder.glob("*.whl")):
            build_wheel(folder)
    return next(folder.glob("*.whl"))


def build_wheel(folder: Path) -> None:
    """Build with the hatchling of this environment; without one, pip fetches it."""
    alone = [] if importlib.util.find_spec("hatchling") is None else ["--no-build-isolation"]
    words = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", *alone, "-w", str(folder), str(ROOT)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PYTHONPATH: the wheel's own files run, and its .dist-info names the plugins."""
    folder = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder
