"""An environment of its own that holds the wheel with some extras, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from .conftest import ROOT
from .shells import clean_environment


def create_environment(folder: Path, wheel: Path, extras: str) -> Path:
    """Install the wheel with its extras; returns the folder of its programs."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    target = f"{wheel}[{extras}]" if extras else str(wheel)
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "--quiet"]
    constraints = ["--constraint", str(ROOT / "constraints.txt")]
    done = subprocess.run(
        [*pip, *constraints, target], capture_output=True, text=True, check=False, env=clean_environment({})
    )
    assert done.returncode == 0, done.stderr
    return folder / "bin"
