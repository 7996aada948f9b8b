"""Memory that the process keeps."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from loratory.backbones.forward.memory import MALLOC_OPTIONS

GLIBC = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's parameters")
ASK = "from loratory.backbones.forward.memory import keep_freed_memory as keep; print(keep())"

FREE = """
from loratory.backbones.forward.memory import {asked}
for ask in ({asked},):
    assert ask()
held = [bytes(bytearray(4 << 20)) for _ in range(32)]
last = bytes(bytearray(4 << 20))
del held
print(int(open("/proc/self/statm").read().split()[1]) * 4096 >> 20)
"""


def said(code: str = ASK, **environment: str) -> str:
    clean = {name: value for name, value in os.environ.items() if name not in MALLOC_OPTIONS}
    done = subprocess.run([sys.executable, "-c", code], env=clean | environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@GLIBC
def test_glibc_takes_all_three_parameters() -> None:
    assert said() == "True"


@pytest.mark.parametrize("name", sorted(MALLOC_OPTIONS))
def test_what_the_user_set_stands(name: str) -> None:
    assert said(**{name: "131072"}) == "False"


@GLIBC
def test_large_blocks_are_handed_back_where_memory_is_short() -> None:
    kept, returned = (
        int(said(FREE.format(asked=asked))) for asked in ("keep_freed_memory", "keep_freed_memory, return_freed_memory")
    )
    assert kept > 128
    assert returned < kept - 100
