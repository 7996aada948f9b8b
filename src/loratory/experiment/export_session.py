"""One fit while it is exported: its predictor, goldens and evidence, computed once for all forms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from loratory.artifacts.manifests import Artifact
from loratory.discovery import load_named
from loratory.errors import ArtifactError, LoratoryError, UnsupportedTask
from loratory.experiment.export_evidence import (
    check_fit_unchanged,
    load_evidence,
    read_measured_outcome,
    record_evidence_read,
)
from loratory.experiment.golden_sources import (
    GoldenSource,
    describe_fit,
    find_run_folder,
    leave_out_test_texts,
    load_golden_texts,
)
from loratory.exporting.certificates.certificate import Certificate, read_certificate
from loratory.exporting.certificates.certification import Reference, certify_folder
from loratory.exporting.certificates.goldens import are_same_goldens
from loratory.exporting.certificates.verification import open_certified, verify_folder
from loratory.exporting.export_cards import write_card
from loratory.exporting.export_target import StagedTarget, describe_export
from loratory.protocols import Predictor
from loratory.protocols.exporters import Exporter, get_tolerance_class

EXPORTS_FOLDER = "exports"  # of a run: a folder for each format
UNCERTIFIED = "{}: this fit is no neural network, so its export has no certificate"
PRIVATE_TEXTS = (
    "goldens.jsonl in each folder holds {} texts of the test split: give a folder to nobody who may not read them"
)


class ExportSession:
    """Loads what certificates need when the first form asks for it."""

    def __init__(
        self, source: Path, fit: Path, artifact: Artifact, margin: float | None, test_texts: bool = True
    ) -> None:
        self.source, self.fit, self.artifact, self.margin = source, fit, artifact, margin
        self.test_texts = test_texts  # whether goldens may be texts of the test split
        self.notes: list[str] = []
        self._certificates: dict[str, Certificate] = {}  # by digest of what was certified
        self._certified: set[str] = set()  # formats of which a folder has its certificate

    @cached_property
    def predictor(self) -> Predictor:
        """The fit, at its operating point."""
        from loratory.backbones.pool import TorchBackbonePool
        from loratory.experiment.artifact_lookup import read_predictor

        return read_predictor(self.artifact, TorchBackbonePool())

    @cached_property
    def golden_source(self) -> GoldenSource:
        """The golden texts."""
        found = load_golden_texts(self.source, self.fit)
        if not self.test_texts and found.run is not None:
            found = leave_out_test_texts(found)
        self.notes.extend(found.notes)
        tests = sum(one.kind == "test" for one in found.texts)
        if tests:
            self.notes.append(PRIVATE_TEXTS.format(tests))
        return found

    @cached_property
    def reference(self) -> Reference | None:
        """What forms are compared with; None for a fit that is no neural network."""
        from loratory.exporting.certificates.golden_stages import compute_goldens
        from loratory.exporting.certificates.model_facts import describe_model

        try:
            facts = describe_model(self.predictor)
        except UnsupportedTask:
            return None
        goldens = compute_goldens(self.predictor, self.golden_source.texts)
        if (outcome := read_measured_outcome(self.artifact)) is not None:
            check_fit_unchanged(goldens, outcome, facts.labels, self.fit)
        return Reference(facts, describe_fit(self.artifact), goldens)

    def certify(self, part: Path, name: str, exporter: Exporter[Any], exact: Path | None) -> None:
        """Certify a staged folder; raises ParityError, and ArtifactError where nothing of the export answers."""
        if exporter.tolerance_class is None:
            return
        if self.reference is None:
            self.notes.append(UNCERTIFIED.format(name))
            return
        reference = self._add_evidence(self.reference, name, exporter)
        write_card(part, name, exporter.summary, reference.model, reference.fit)
        digest = None if exact is None else read_certificate(exact).digest
        try:
            made = certify_folder(part, name, exporter, reference, digest)
        except ArtifactError:
            if name in self._certified:  # a part beside a folder of the same export, which answers
                return
            raise
        if made is not None:
            self._certificates[made.digest] = made
            self._certified.add(name)

    def _add_evidence(self, reference: Reference, name: str, exporter: Exporter[Any]) -> Reference:
        """With the test rows, where the form's class is decided by them; the reading is noted first."""
        run, model = self.golden_source.run, reference.model
        kind = get_tolerance_class(exporter, model.head, model.quantised_base)
        if kind == "exact" or run is None:
            return reference
        evidence = load_evidence(run, self.artifact, reference.model, self.margin)
        if evidence is not None:
            record_evidence_read(run, str(self.artifact.manifest.get("contender")), (name,))
        return Reference(reference.model, reference.fit, reference.goldens, evidence)

    def find_exact_member(self, exporter: Exporter[Any], outputs: Mapping[str, Path], work: Path) -> Path | None:
        """The certified folder of the form that this exporter rounds: one that was exported before, or one made now.

        Raises LoratoryError where that cannot be exported, ParityError where it is not the fit.
        """
        name = exporter.exact_form
        if name is None:
            return None
        exact: Exporter[Any] = load_named("exporters", name, "--to")()
        for folder in self._list_exact_candidates(name, outputs):
            if self._is_certified(folder) or self._verify_again(folder, exact):
                return folder
        target = StagedTarget(
            work / name,
            describe_export(self.artifact, self.source, name),
            certify=lambda part: self.certify(part, name, exact, None),
        )
        if problem := exact.check_support(self.artifact):
            raise problem
        exact.export(self.artifact, target, exact.Options())
        return next(folder for folder in target.folders if self._is_certified(folder))

    def _list_exact_candidates(self, name: str, outputs: Mapping[str, Path]) -> list[Path]:
        """Where that form of this fit may lie already."""
        run = find_run_folder(self.source, self.fit)
        beside = [] if run is None else [run / EXPORTS_FOLDER / name]
        return [folder for folder in (outputs.get(name), *beside) if folder is not None and folder.is_dir()]

    def _verify_again(self, folder: Path, exact: Exporter[Any]) -> bool:
        """Whether an earlier export is of this fit and still what it was; it is then as good as one made now."""
        try:
            certificate, goldens = open_certified(folder)
            if self.reference is None or certificate.values["fit"] != describe_fit(self.artifact):
                return False
            if not are_same_goldens(goldens, self.reference.goldens):
                return False
            verify_folder(folder, exact)
        except LoratoryError:
            return False
        self._certificates[certificate.digest] = certificate
        return True

    def _is_certified(self, folder: Path) -> bool:
        """Whether it is a form of this very fit that was certified by this session, and is unchanged since."""
        try:
            return read_certificate(folder).digest in self._certificates
        except LoratoryError:
            return False

    def pick_certificates(self, folders: Iterable[Path]) -> dict[Path, Certificate]:
        """Those that lie in these folders."""
        found = {}
        for folder in folders:
            try:
                found[folder] = read_certificate(folder)
            except LoratoryError:
                continue
        return found
