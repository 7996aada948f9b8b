"""Memory that training frees and asks for again in every step, kept by the process instead of handed back.

glibc returns large blocks to the kernel, which clears every page of them when they are asked for again: on 2 cores a
seventh of a training step goes there.
"""

from __future__ import annotations

import ctypes
import os
import platform
from functools import cache

MIB = 1 << 20
# glibc's own numbers of its parameters, and bytes: blocks up to 32 MiB (the most that it takes) come from the heap,
# which grows by 64 MiB and shrinks only when more than 512 MiB at its end are free.
KEPT = {
    "MALLOC_MMAP_THRESHOLD_": (-3, 32 * MIB),
    "MALLOC_TOP_PAD_": (-2, 64 * MIB),
    "MALLOC_TRIM_THRESHOLD_": (-1, 512 * MIB),
}


@cache
def keep_freed_memory() -> bool:
    """Ask glibc to keep what is freed; whether it does. What the user set in the environment stands; else no-op."""
    if platform.libc_ver()[0] != "glibc" or any(name in os.environ for name in KEPT):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all([mallopt(parameter, value) == 1 for parameter, value in KEPT.values()])
