"""Threads of matrix products: as many as this process may use cores, and none that waits by spinning.

OpenMP reads its environment when torch is loaded. By default an idle thread of libgomp spins for milliseconds, which
takes the core from whoever has the work: beside one busy process for each core a training step took ten times as long
(design/021). `import loratory` therefore sets the variables below, unless the user has set one of them, or torch is
there already.
"""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path

TORCH = "torch"
# libgomp spins so many rounds (microseconds) before a thread sleeps: long enough for the gap between two products of a
# step. libomp and Intel's library (macOS, conda) count milliseconds.
WAIT_VARIABLES = {"GOMP_SPINCOUNT": "5000", "KMP_BLOCKTIME": "0"}
THREAD_VARIABLE = "OMP_NUM_THREADS"
WAIT_SETTINGS = ("OMP_WAIT_POLICY", *WAIT_VARIABLES)  # whoever sets one of them has decided
CGROUP_FOLDER = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class CoreLimits:
    """What limits the cores of this process: those of the machine, of its affinity, and the container's quota."""

    machine: int
    affinity: int
    quota: float | None  # cores, of the cgroup; None: no limit

    @property
    def usable(self) -> int:
        """Threads that can run at the same time: a part of a core counts as one."""
        limited = self.affinity if self.quota is None else min(self.affinity, ceil(self.quota))
        return max(1, limited)


def read_core_limits(cgroup_folder: Path = CGROUP_FOLDER) -> CoreLimits:
    """The limits as they are now."""
    machine = os.cpu_count() or 1
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else machine
    return CoreLimits(machine, affinity, _read_quota(cgroup_folder))


def _read_quota(folder: Path) -> float | None:
    """Cores by the bandwidth limit of cgroup v2 (cpu.max) or v1 (cfs_quota_us / cfs_period_us); None without one."""
    try:
        quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        try:
            quota, period = (
                (folder / "cpu" / f"cpu.cfs_{name}_us").read_text(encoding="ascii").strip()
                for name in ("quota", "period")
            )
        except (OSError, ValueError):
            return None
    try:
        cores = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):  # "max"
        return None
    return cores if cores > 0 else None


def set_thread_environment(environment: MutableMapping[str, str] | None = None) -> None:
    """Set what OpenMP reads when torch is loaded; nothing where torch is loaded, or where the user has decided.

    The number of threads is set only where the container's quota allows fewer than libgomp would take.
    """
    if TORCH in sys.modules:
        return
    found = os.environ if environment is None else environment
    if not any(name in found for name in WAIT_SETTINGS):
        found.update(WAIT_VARIABLES)
    limits = read_core_limits()
    if THREAD_VARIABLE not in found and limits.usable < limits.affinity:
        found[THREAD_VARIABLE] = str(limits.usable)


def set_torch_threads(wanted: int | None) -> int:
    """Compute with this many threads, or (0 or None) with at most as many as there are usable cores; returns how many.

    What the user set as OMP_NUM_THREADS stands.
    """
    import torch

    if wanted:
        torch.set_num_threads(wanted)
    elif THREAD_VARIABLE not in os.environ:
        usable = read_core_limits().usable
        if torch.get_num_threads() > usable:
            torch.set_num_threads(usable)
    return int(torch.get_num_threads())


def describe_waiting() -> str:
    """What idle threads do, in words."""
    policy = os.environ.get("OMP_WAIT_POLICY", "").lower()
    spins = os.environ.get("GOMP_SPINCOUNT", "").strip().lower()
    if spins:
        sleep = spins.isdigit() and int(spins) <= int(WAIT_VARIABLES["GOMP_SPINCOUNT"])
        return f"idle threads {'sleep' if sleep else 'spin'} (GOMP_SPINCOUNT={spins})"
    if policy:
        return f"idle threads {'sleep' if policy == 'passive' else 'spin'} (OMP_WAIT_POLICY={policy})"
    return "idle threads spin: torch was loaded before loratory (import loratory first, or set OMP_WAIT_POLICY=passive)"


def find_oversubscription(threads: int, limits: CoreLimits, load: float) -> list[str]:
    """Warnings: more threads than cores, or a machine on which others already work (load: tasks that want a core)."""
    found = []
    if threads > limits.usable:
        found.append(
            f"{threads} threads share {limits.usable} cores and wait for each other: "
            f"set OMP_NUM_THREADS={limits.usable}, or threads: {limits.usable}"
        )
    if load > limits.machine / 2:
        found.append(
            f"others are busy: load average {load:.1f} on {limits.machine} cores; times measured now are too long"
        )
    return found
