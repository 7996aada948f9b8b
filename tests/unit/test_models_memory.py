"""Memory that the process keeps."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from loratory.models.memory import KEPT

ASK = "from loratory.models.memory import keep_freed_memory as keep; print(keep())"


def said(**environment: str) -> str:
    clean = {name: value for name, value in os.environ.items() if name not in KEPT}
    done = subprocess.run([sys.executable, "-c", ASK], env=clean | environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's parameters")
def test_glibc_takes_all_three_parameters() -> None:
    assert said() == "True"


@pytest.mark.parametrize("name", sorted(KEPT))
def test_what_the_user_set_stands(name: str) -> None:
    assert said(**{name: "131072"}) == "False"
