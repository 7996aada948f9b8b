"""`loratory verify`: a certificate made again, from an exported folder or by asking a server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from loratory.errors import ArtifactError, SpecError
from loratory.experiment.export_fit import load_exporter
from loratory.experiment.inference.verify_server import ServerRequest, verify_server
from loratory.exporting.certificates.certificate import read_certificate
from loratory.exporting.certificates.verification import open_certified, verify_folder


def verify_export(folder: Path, server: ServerRequest | None = None) -> tuple[str, dict[str, Any], tuple[str, ...]]:
    """The format, what was measured here, and notes; raises ArtifactError, ParityError, ServerError."""
    if not folder.is_dir():
        raise ArtifactError("there is no such folder", where=str(folder), allowed="a folder that loratory export wrote")
    if server is not None:
        certificate, goldens = open_certified(folder)
        return certificate.format, verify_server(server, certificate, goldens), ()
    name = read_certificate(folder).format
    try:
        exporter = load_exporter(name)
    except SpecError as problem:
        raise ArtifactError(
            f"the certificate is of the format {name!r}, which no installed exporter writes",
            where=str(folder),
            allowed=problem.allowed,
            remedy="install the package that wrote it",
        ) from problem
    made = verify_folder(folder, exporter)
    return name, made.to_dict(), made.notes
