"""Threads and cores: what OpenMP is told, and what limits the cores of a process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from loratory import threads
from loratory.threads import CoreLimits, find_oversubscription, read_core_limits, set_thread_environment

ENVIRONMENT = {k: v for k, v in os.environ.items() if k not in (*threads.WAIT_SETTINGS, threads.THREAD_VARIABLE)}


def run_python(code: str, **more: str) -> list[str]:
    made = subprocess.run([sys.executable, "-c", code], env={**ENVIRONMENT, **more}, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    return made.stdout.split()


PRINT_SPIN = "print(os.environ.get('GOMP_SPINCOUNT'), os.environ.get('OMP_WAIT_POLICY'), 'torch' in sys.modules)"


def test_importing_the_package_lets_idle_threads_sleep_before_torch_is_loaded() -> None:
    assert run_python(f"import os, sys, loratory; {PRINT_SPIN}") == ["5000", "None", "False"]


@pytest.mark.parametrize("name", threads.WAIT_SETTINGS)
def test_what_the_user_set_stands(name: str) -> None:
    set_by_user = {name: "active" if name == "OMP_WAIT_POLICY" else "7"}
    found = run_python(
        f"import os, loratory; print({{n: os.environ.get(n) for n in {threads.WAIT_SETTINGS}}})", **set_by_user
    )
    assert "".join(found) == str({n: set_by_user.get(n) for n in threads.WAIT_SETTINGS}).replace(" ", "")


def test_nothing_is_set_where_torch_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", object())
    environment: dict[str, str] = {}
    set_thread_environment(environment)
    assert environment == {}


def write_quota(folder: Path, version: int, text: str) -> None:
    if version == 2:
        (folder / "cpu.max").write_text(text)
        return
    (folder / "cpu").mkdir()
    quota, period = text.split()
    (folder / "cpu" / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (folder / "cpu" / "cpu.cfs_period_us").write_text(f"{period}\n")


@pytest.mark.parametrize(
    ("version", "text", "quota"),
    [
        (2, "150000 100000\n", 1.5),
        (2, "max 100000\n", None),
        (2, "", None),
        (2, "100000 0\n", None),
        (1, "50000 100000", 0.5),
        (1, "-1 100000", None),
    ],
)
def test_the_quota_of_a_container(tmp_path: Path, version: int, text: str, quota: float | None) -> None:
    write_quota(tmp_path, version, text)
    assert read_core_limits(tmp_path).quota == quota


def test_no_quota_without_a_control_group(tmp_path: Path) -> None:
    assert read_core_limits(tmp_path).quota is None


@pytest.mark.parametrize(("quota", "usable"), [(None, 8), (0.5, 1), (1.5, 2), (3.0, 3), (64.0, 8)])
def test_usable_cores(quota: float | None, usable: int) -> None:
    assert CoreLimits(16, 8, quota).usable == usable


def test_a_quota_below_the_affinity_sets_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(threads, "read_core_limits", lambda: CoreLimits(8, 8, 2.0))
    environment: dict[str, str] = {}
    set_thread_environment(environment)
    assert environment[threads.THREAD_VARIABLE] == "2"
    chosen = {threads.THREAD_VARIABLE: "5"}
    set_thread_environment(chosen)
    assert chosen[threads.THREAD_VARIABLE] == "5"


def test_warnings_of_oversubscription() -> None:
    limits = CoreLimits(4, 4, 2.0)
    assert find_oversubscription(2, limits, load=0.4) == []
    (many,) = find_oversubscription(4, limits, load=0.4)
    assert "OMP_NUM_THREADS=2" in many
    (busy,) = find_oversubscription(2, limits, load=3.5)
    assert "3.5" in busy
