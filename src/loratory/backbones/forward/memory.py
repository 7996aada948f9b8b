"""Memory that training frees and asks for again in every step, kept by the process instead of handed back.

glibc returns large blocks to the kernel, which clears every page of them when they are asked for again: on 2 cores a
seventh of a training step goes there.
"""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Iterable
from functools import cache

MIB = 1 << 20
MMAP_THRESHOLD = -3  # the number of the parameter that says from which size on a block is mapped on its own
# glibc's own numbers of its parameters, and bytes: blocks up to 32 MiB (the most that it takes) come from the heap,
# which grows by 64 MiB and shrinks only when more than 512 MiB at its end are free.
MALLOC_OPTIONS = {
    "MALLOC_MMAP_THRESHOLD_": (MMAP_THRESHOLD, 32 * MIB),
    "MALLOC_TOP_PAD_": (-2, 64 * MIB),
    "MALLOC_TRIM_THRESHOLD_": (-1, 512 * MIB),
}
LARGE_BLOCK_BYTES = MIB  # bytes of a block that is handed back at once where memory is what is short


@cache
def keep_freed_memory() -> bool:
    """Ask glibc to keep what is freed; whether it does. What the user set in the environment stands; else no-op."""
    return _set_malloc_options(MALLOC_OPTIONS.values())


def return_freed_memory() -> bool:
    """Ask glibc to hand large blocks back from now on, or pieces too small for the next one pile up; as above."""
    return _set_malloc_options([(MMAP_THRESHOLD, LARGE_BLOCK_BYTES)])


def _set_malloc_options(options: Iterable[tuple[int, int]]) -> bool:
    if platform.libc_ver()[0] != "glibc" or any(name in os.environ for name in MALLOC_OPTIONS):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all([mallopt(parameter, value) == 1 for parameter, value in options])
