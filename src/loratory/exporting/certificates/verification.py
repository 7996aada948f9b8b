"""A certificate is made again from an exported folder: its files, its goldens, and our own tolerances."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loratory.artifacts.manifests import MANIFEST, read_manifest
from loratory.errors import ArtifactError
from loratory.exporting.certificates.certificate import (
    Certificate,
    check_files,
    make_parity_error,
    read_certificate,
)
from loratory.exporting.certificates.form_facts import check_form_facts
from loratory.exporting.certificates.goldens import GoldenSet, read_goldens
from loratory.exporting.certificates.measurement import Measurement, find_divergence, measure_form
from loratory.exporting.certificates.tokenizer_files import check_tokenizer_files
from loratory.exporting.certificates.tolerances import MAX_MARGIN, get_tolerances
from loratory.protocols.exporters import WRITER, Exporter, ToleranceClass, get_form_facts, get_tolerance_class

MIN_GOLDENS = 8  # fewer prove nothing, whoever wrote the certificate
MIN_BATCHES = 2


@dataclass(frozen=True, eq=False)
class Verification:
    """An exported folder that was found to be what its certificate says."""

    certificate: Certificate
    measured: Measurement
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON: what was measured here."""
        return {
            "passed": True,
            "format": self.certificate.format,
            "certificate": self.certificate.digest,
            "measured": self.measured.to_dict(),
            "notes": list(self.notes),
        }


def open_certified(folder: Path) -> tuple[Certificate, GoldenSet]:
    """The certificate and goldens of a folder whose files are those that it lists.

    Raises ArtifactError where there is none, ParityError where anything was changed.
    """
    certificate = read_certificate(folder)
    check_files(folder, certificate)
    _check_manifest(folder, certificate)
    if certificate.values["passed"] is not True:
        raise make_parity_error("digest", "the certificate says itself that this form did not pass", folder)
    described = certificate.values["goldens"]
    file = folder / str(described["file"])
    goldens = read_goldens(file.read_bytes(), file)
    if certificate.values["files"].get(str(described["file"])) != described["sha256"]:
        raise make_parity_error("digest", "the goldens are not those of the certificate", folder)
    if (len(goldens.goldens), len(goldens.batches)) != (described["count"], described["batches"]):
        raise make_parity_error("digest", "there are not as many goldens or batches as the certificate says", folder)
    if len(goldens.goldens) < MIN_GOLDENS or len(goldens.batches) < MIN_BATCHES:
        raise make_parity_error(
            "digest", f"{len(goldens.goldens)} goldens in {len(goldens.batches)} batches prove nothing", folder
        )
    return certificate, goldens


def _check_manifest(folder: Path, certificate: Certificate) -> None:
    """The manifest beside it is of the same fit, where there is one; a folder that was copied may have none."""
    if not (folder / MANIFEST).exists():
        return
    manifest = read_manifest(folder)
    if manifest is None:
        raise make_parity_error("digest", f"{MANIFEST} was changed", folder)
    if manifest.get("layout") != certificate.format or manifest.get("fit") != certificate.values["fit"]:
        raise make_parity_error("digest", "the certificate is another fit's or another format's", folder)


def verify_folder(folder: Path, exporter: Exporter[Any]) -> Verification:
    """Open a folder by the exporter of its format and measure it; raises ArtifactError, ParityError."""
    certificate, goldens = open_certified(folder)
    head, over_nf4 = str(certificate.model.get("head")), certificate.model.get("quantised_base") is True
    kind = get_tolerance_class(exporter, head, over_nf4)
    if kind is None:
        raise ArtifactError(f"{certificate.format} is no model that could be verified", where=str(folder))
    model = exporter.open(folder)
    check_form_facts(model, certificate.model, str(folder))
    check_tokenizer_files(folder, certificate.model, goldens.goldens, str(folder))
    measured = measure_form(model, goldens, get_form_facts(model).get("max_batch"))
    if (found := find_divergence(measured, get_tolerances(kind, head))) is not None:
        raise make_parity_error(found.stage, found.problem, folder)
    _check_evidence(kind, certificate, folder)
    if exporter.exact_form is not None and certificate.values["chain"].get("exact_member") is None:
        raise make_parity_error("digest", "it names no exact form that it was made of", folder)
    return Verification(certificate, measured, tuple(_list_notes(kind, certificate)))


def _check_evidence(kind: ToleranceClass, certificate: Certificate, folder: Path) -> None:
    """What was measured on test rows, which are not here: it has to lie within the margin that it names, and ours."""
    accuracy = certificate.values["measured"].get("accuracy")
    if kind == "exact" or certificate.model.get("head") == WRITER:
        return
    if kind == "quantised":
        if accuracy is None:
            raise make_parity_error("labels", "there is no measured accuracy of this quantised form", folder)
        if accuracy["low"] < -min(accuracy["margin"], MAX_MARGIN):
            raise make_parity_error("labels", "its measured accuracy is not within its margin", folder)


def _list_notes(kind: ToleranceClass, certificate: Certificate) -> list[str]:
    notes = ["digests prove that the files are unchanged, not where they come from"]
    if certificate.model.get("quantised_base") is True:
        notes.append("the fit was measured over a base in four bits, and this form has the base in full precision")
    accuracy: Mapping[str, Any] | None = certificate.values["measured"].get("accuracy")
    if accuracy is not None:
        notes.append(
            f"{accuracy['score']} {accuracy['difference']:+.4f} within a margin of {accuracy['margin']:g} was measured "
            "where it was exported; the test rows are not here"
        )
    return notes
