"""`loratory export`: a fit in forms that other programs open, each certified before it takes its name."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from loratory.artifacts.locks import hold_lock
from loratory.artifacts.manifests import open_artifact
from loratory.discovery import list_names, load_named
from loratory.errors import ArtifactError, LoratoryError, SpecError
from loratory.experiment.artifact_lookup import find_fit_folder
from loratory.experiment.export_session import EXPORTS_FOLDER, ExportSession
from loratory.experiment.golden_sources import find_run_folder
from loratory.exporting.certificates.certificate import Certificate
from loratory.exporting.export_target import StagedTarget, describe_export
from loratory.protocols.exporters import Exporter
from loratory.specs.option_parsing import list_options, parse_options


@dataclass(frozen=True)
class ExportRequest:
    """What a person asked for. `output` is the folder of the only format, or holds one folder for each format."""

    source: Path
    contender: str | None
    formats: tuple[str, ...]  # names of exporters
    output: Path | None = None  # None: RUN/exports/<format>
    options: Mapping[str, Any] = field(default_factory=dict)  # of the exporters, by name
    margin: float | None = None  # of the headline score, that a quantised form may lose; None: the spec's
    test_texts: bool = True  # whether goldens.jsonl may hold texts of the test split


@dataclass(frozen=True)
class ExportResult:
    """What was written, its certificates by folder, and what to know about it."""

    folders: list[Path]
    notes: list[str] = field(default_factory=list)
    certificates: Mapping[Path, Certificate] = field(default_factory=dict)


@dataclass(frozen=True)
class ExporterFit:
    """One exporter, and whether it suits a fit."""

    name: str
    summary: str
    options: list[dict[str, Any]]  # name, allowed, default, help
    suits: bool
    problem: str = ""  # why it does not suit


def export_fit(request: ExportRequest) -> ExportResult:
    """Write what was asked for, one format after another.

    Raises LoratoryError before anything is written where a format cannot be, ParityError where a form is not the fit:
    that form leaves nothing under its name, and those before it stay.
    """
    exporters = {name: load_exporter(name) for name in request.formats}
    options = _parse_format_options(exporters, request.options)
    fit = find_fit_folder(request.source, request.contender)
    artifact = open_artifact(fit)
    outputs = _plan_outputs(request, fit)
    for name, exporter in exporters.items():
        if problem := exporter.check_support(artifact):
            raise _add_alternatives(problem, name, artifact)
    session = ExportSession(request.source, fit, artifact, request.margin, request.test_texts)
    done = ExportResult([], [], certificates := {})
    for name, exporter in exporters.items():
        output = outputs[name]
        with hold_lock(output, 0), tempfile.TemporaryDirectory() as work:
            exact = session.find_exact_member(exporter, outputs, Path(work))
            target = StagedTarget(
                output,
                describe_export(artifact, request.source, name),
                certify=partial(session.certify, name=name, exporter=exporter, exact=exact),
                exact_member=exact,
            )
            done.notes.extend(exporter.export(artifact, target, options[name]))
        done.folders.extend(sorted(target.folders))
        certificates.update(session.pick_certificates(target.folders))
    done.notes[:] = dict.fromkeys([*session.notes, *done.notes])
    return done


def _parse_format_options(exporters: Mapping[str, Exporter[Any]], given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of each format; one that several formats have goes to all of them. Raises SpecError."""
    names = {option for one in exporters.values() for option in one.Options.model_fields}
    made = {}
    for name, exporter in exporters.items():
        own = {key: value for key, value in given.items() if key in exporter.Options.model_fields or key not in names}
        made[name] = parse_options(exporter.Options, own, f"--to {name}")
    return made


def _plan_outputs(request: ExportRequest, fit: Path) -> dict[str, Path]:
    """The folder of each format; raises SpecError, ArtifactError."""
    if request.output is not None:
        outputs = (
            {request.formats[0]: request.output}
            if len(request.formats) == 1
            else {name: request.output / name for name in request.formats}
        )
    else:
        run = find_run_folder(request.source, fit)
        if run is None:
            raise SpecError(
                "this fit lies in no run, so there is no place for its exports",
                where=str(request.source),
                remedy="give --output FOLDER",
            )
        outputs = {name: run / EXPORTS_FOLDER / name for name in request.formats}
    for output in outputs.values():
        if output.exists() and not output.is_dir():
            raise ArtifactError("the output is a file", where=str(output), allowed="a folder")
    return outputs


def _add_alternatives(problem: LoratoryError, name: str, artifact: Any) -> LoratoryError:
    """The refusal, with the formats that this fit does have."""
    suited = [one for one in list_names("exporters") if load_exporter(one).check_support(artifact) is None]
    have = (
        f"this fit exports to {', '.join(suited)}" if suited else "this fit has no other form: serve it with loratory"
    )
    problem.where = problem.where or f"--to {name}"
    problem.allowed = f"{problem.allowed}; {have}" if problem.allowed else have
    return problem


def load_exporter(name: str) -> Exporter[Any]:
    """The exporter of that name; raises SpecError with the nearest known one."""
    exporter: Exporter[Any] = load_named("exporters", name, "--to")()
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
