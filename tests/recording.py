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

from loratory.models.probe import processor

ROWS: pytest.StashKey[dict[str, dict[str, Any]]] = pytest.StashKey()
OWN: pytest.StashKey[list[str]] = pytest.StashKey()  # the names of the rows that a test counts in


@dataclass
class Tries:
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
class Faults:
    """The counts of a test."""

    request: pytest.FixtureRequest

    def of(self, name: str) -> Tries:
        """The row of this name, counted on where several cases of a test share it."""
        node = self.request.node
        test = node.nodeid.partition("[")[0]
        rows = node.config.stash.setdefault(ROWS, {})
        row = rows.setdefault(name, {"name": name, "tried": 0, "failures": 0, "test": test})
        node.stash.setdefault(OWN, []).append(name)
        return Tries(name, row)


@pytest.fixture
def faults(request: pytest.FixtureRequest) -> Faults:
    """Counts of the faults that a test tries."""
    return Faults(request)


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
        for name in item.stash.get(OWN, []):
            row = item.config.stash[ROWS][name]
            row["failures"] = max(1, row["failures"])
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    file = session.config.getoption("--record-faults")
    rows = session.config.stash.get(ROWS, {})
    if not file or not rows:
        return
    known = json.loads(Path(file).read_text(encoding="utf-8")) if Path(file).is_file() else {"faults": []}
    machine = {"processor": processor(), "cores": os.cpu_count(), "python": platform.python_version()}
    others = [row for row in known["faults"] if row["name"] not in rows]
    found = sorted([*others, *rows.values()], key=lambda row: row["name"])
    Path(file).write_text(json.dumps({"machine": machine, "faults": found}, indent=1) + "\n", encoding="utf-8")
