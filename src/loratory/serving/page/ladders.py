"""The ladder of each run that is served: its contenders, and the sentence of its verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loratory.artifacts.manifests import open_artifact
from loratory.errors import ArtifactError
from loratory.evaluation.cells import Head, cells, heads
from loratory.serving.services import Service


@dataclass(frozen=True)
class Rung:
    """A contender: its cells by column, and whether it answers here."""

    cells: Mapping[str, str]
    recommended: bool
    serves: str  # "serves", "fallback", or nothing


@dataclass(frozen=True)
class Ladder:
    """The evidence of a service; without any where an artifact is served alone."""

    service: Service
    verdict: str = ""
    reasons: Sequence[str] = ()
    warnings: Sequence[str] = ()
    heads: Sequence[Head] = ()
    rungs: Sequence[Rung] = ()
    said: str = ""
    report: bool = False


def ladder_of(service: Service) -> Ladder:
    """As its ladder.json says; one that was changed by hand must not take the page with it."""
    report = report_of(service) is not None
    try:
        return _read(service, service.evidence, report) if service.evidence else Ladder(service, report=report)
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        return Ladder(service, said=f"ladder.json cannot be shown: {problem!r}", report=report)


def _read(service: Service, evidence: Mapping[str, Any], report: bool) -> Ladder:
    verdict, test = evidence["verdict"], evidence.get("test") or {"examples": 0}
    stages = [stage.name for stage in service.stages]
    rungs = [
        Rung(cells(evidence, row), row["name"] == verdict["recommended"], _serves(row["name"], stages))
        for row in evidence["contenders"]
    ]
    said = (
        f"Simplest first; * is recommended. Scores in percent on {test['examples']:,} test examples, means over seeds; "
        "“vs best simpler” in points, ? is undecided."
    )
    return Ladder(
        service, verdict["headline"], verdict["reason"], verdict["warnings"], heads(evidence), rungs, said, report
    )


def _serves(name: str, stages: Sequence[str]) -> str:
    if name not in stages:
        return ""
    return "serves" if name == stages[0] else "fallback"


def report_of(service: Service) -> Path | None:
    """The run's own report.html, where there is one; a link that leads out of the run is none."""
    if service.folder is None:
        return None
    file = service.folder / "report.html"
    return file if file.is_file() and file.resolve().parent == service.folder.resolve() else None


def report_bytes(service: Service) -> bytes | None:
    """The page of `report_of`, with the digest that the run's manifest says; None where it is another, or none."""
    if report_of(service) is None or service.folder is None:
        return None
    try:
        return open_artifact(service.folder).read("report.html")
    except ArtifactError:
        return None
