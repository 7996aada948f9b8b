"""`loratory export`: a fit in a form that other programs open, by one of the exporters that are installed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loratory.artifacts.locks import hold_lock
from loratory.artifacts.manifests import open_artifact
from loratory.discovery import list_names, load_named
from loratory.errors import ArtifactError
from loratory.experiment.artifact_lookup import find_fit_folder
from loratory.exporting.export_target import StagedTarget, describe_export
from loratory.protocols.exporters import Exporter
from loratory.specs.option_parsing import list_options, parse_options


@dataclass(frozen=True)
class ExportRequest:
    """What a person asked for."""

    source: Path
    contender: str | None
    layout: str  # the exporter's name
    output: Path
    options: Mapping[str, Any] = field(default_factory=dict)  # of the exporter, by name


@dataclass(frozen=True)
class ExportResult:
    """What was written, and what to know about it."""

    folders: list[Path]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ExporterFit:
    """One exporter, and whether it suits a fit."""

    name: str
    summary: str
    options: list[dict[str, Any]]  # name, allowed, default, help
    suits: bool
    problem: str = ""  # why it does not suit


def export_fit(request: ExportRequest) -> ExportResult:
    """Write what was asked for; raises LoratoryError before anything is written where it cannot be."""
    exporter = load_exporter(request.layout)
    options = parse_options(exporter.Options, request.options, f"--layout {request.layout}")
    if request.output.exists() and not request.output.is_dir():
        raise ArtifactError("the output is a file", where=str(request.output), allowed="a folder")
    artifact = open_artifact(find_fit_folder(request.source, request.contender))
    if problem := exporter.check_support(artifact):
        raise problem
    with hold_lock(request.output, 0):
        target = StagedTarget(request.output, describe_export(artifact, request.source, request.layout))
        notes = exporter.export(artifact, target, options)
    return ExportResult(sorted(target.folders), notes)


def load_exporter(name: str) -> Exporter[Any]:
    """The exporter of that name; raises SpecError with the nearest known one."""
    exporter: Exporter[Any] = load_named("exporters", name, "--layout")()
    return exporter


def list_exporters(source: Path, contender: str | None) -> list[ExporterFit]:
    """Every exporter that is installed, with why it does not suit this fit; raises LoratoryError for no fit."""
    artifact = open_artifact(find_fit_folder(source, contender))
    rows = []
    for name in list_names("exporters"):
        exporter = load_exporter(name)
        problem = exporter.check_support(artifact)
        options = list_options(exporter.Options)
        rows.append(ExporterFit(name, exporter.summary, options, problem is None, problem.problem if problem else ""))
    return rows
