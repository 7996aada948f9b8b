"""How often each kind of fault was tried: a fixture that counts, and `--record-faults FILE`, which writes it down.

A row of the file: {"name", "tried", "failures", "test"}, and what a test notes beside: the longest time, the most
memory. Rows of other tests stay as they are.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from loratory.backbones.forward.hardware_benchmark import processor_name

FAULT_ROWS: pytest.StashKey[dict[str, dict[str, Any]]] = pytest.StashKey()
TEST_ROW_NAMES: pytest.StashKey[list[str]] = pytest.StashKey()  # the names of the rows that a test counts in


@dataclass
class FaultTries:
    """Of one kind of fault; a test that fails without a counted failure is one."""

    name: str
    row: dict[str, Any] = field(default_factory=dict)

    def add(self, tried: int = 1, failures: int = 0, **largest: float) -> None:
        """Count tries, and those that did not end as promised; of the other figures the largest is kept."""
        self.row["tried"] += tried
        self.row["failures"] += failures
        for name, value in largest.items():
            self.row[name] = max(value, self.row.get(name, value))


@dataclass(frozen=True)
class FaultCounts:
    """The counts of a test."""

    request: pytest.FixtureRequest

    def tries_of(self, name: str) -> FaultTries:
        """The row of this name, counted on where several cases of a test share it."""
        node = self.request.node
        test = node.nodeid.partition("[")[0]
        rows = node.config.stash.setdefault(FAULT_ROWS, {})
        row = rows.setdefault(name, {"name": name, "tried": 0, "failures": 0, "test": test})
        node.stash.setdefault(TEST_ROW_NAMES, []).append(name)
        return FaultTries(name, row)


@pytest.fixture
def faults(request: pytest.FixtureRequest) -> FaultCounts:
    """Counts of the faults that a test tries."""
    return FaultCounts(request)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record-faults", metavar="FILE", help="write how often each kind of fault was tried")


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "faults" in getattr(item, "fixturenames", ()):
            item.add_marker("faults")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for name in item.stash.get(TEST_ROW_NAMES, []):
            row = item.config.stash[FAULT_ROWS][name]
            row["failures"] = max(1, row["failures"])
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    file = session.config.getoption("--record-faults")
    rows = session.config.stash.get(FAULT_ROWS, {})
    if not file or not rows:
        return
    known = json.loads(Path(file).read_text(encoding="utf-8")) if Path(file).is_file() else {"faults": []}
    machine = {"processor": processor_name(), "cores": os.cpu_count(), "python": platform.python_version()}
    others = [row for row in known["faults"] if row["name"] not in rows]
    found = sorted([*others, *rows.values()], key=lambda row: row["name"])
    Path(file).write_text(json.dumps({"machine": machine, "faults": found}, indent=1) + "\n", encoding="utf-8")
