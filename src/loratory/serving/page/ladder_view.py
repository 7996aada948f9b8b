"""The ladder of each run that is served: its contenders, and the sentence of its verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loratory.artifacts.manifests import open_artifact
from loratory.errors import ArtifactError
from loratory.evaluation.table_cells import TableColumn, build_cells, select_columns
from loratory.serving.engine.service_registry import Service


@dataclass(frozen=True)
class LadderRow:
    """A contender: its cells by column, and whether it answers here."""

    cells: Mapping[str, str]
    recommended: bool
    serving_role: str  # "serves", "fallback", or nothing


@dataclass(frozen=True)
class LadderView:
    """The evidence of a service; without any where an artifact is served alone."""

    service: Service
    verdict: str = ""
    reasons: Sequence[str] = ()
    warnings: Sequence[str] = ()
    heads: Sequence[TableColumn] = ()
    rows: Sequence[LadderRow] = ()
    caption: str = ""
    has_report: bool = False


def build_ladder_view(service: Service) -> LadderView:
    """As its ladder.json says; one that was changed by hand must not take the page with it."""
    report = find_report(service) is not None
    try:
        return (
            _build_from_evidence(service, service.evidence, report)
            if service.evidence
            else LadderView(service, has_report=report)
        )
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        return LadderView(service, caption=f"ladder.json cannot be shown: {problem!r}", has_report=report)


def _build_from_evidence(service: Service, evidence: Mapping[str, Any], report: bool) -> LadderView:
    verdict, test = evidence["verdict"], evidence.get("test") or {"examples": 0}
    stages = [stage.name for stage in service.stages]
    rungs = [
        LadderRow(build_cells(evidence, row), row["name"] == verdict["recommended"], _serving_role(row["name"], stages))
        for row in evidence["contenders"]
    ]
    said = (
        "One row for each method, the simplest first; * is recommended. Scores are percentages on "
        f"{test['examples']:,} test examples, with the confidence interval in brackets. The report explains every "
        "column."
    )
    return LadderView(
        service,
        verdict["headline"],
        verdict["reason"],
        verdict["warnings"],
        select_columns(evidence),
        rungs,
        said,
        report,
    )


def _serving_role(name: str, stages: Sequence[str]) -> str:
    if name not in stages:
        return ""
    return "serves" if name == stages[0] else "fallback"


def find_report(service: Service) -> Path | None:
    """The run's own report.html, where there is one; a link that leads out of the run is none."""
    if service.folder is None:
        return None
    file = service.folder / "report.html"
    return file if file.is_file() and file.resolve().parent == service.folder.resolve() else None


def read_report(service: Service) -> bytes | None:
    """The page of `find_report`, with the digest that the run's manifest says; None where it is another, or none."""
    if find_report(service) is None or service.folder is None:
        return None
    try:
        return open_artifact(service.folder).read("report.html")
    except ArtifactError:
        return None
