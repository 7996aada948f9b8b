"""Whether an exported folder, or a running server, answers as the fit did."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class VerifiedExport:
    """What was verified, and what was measured here."""

    format: str
    facts: dict[str, Any]
    notes: tuple[str, ...]


def verify(
    folder: str | Path, *, url: str | None = None, task: str | None = None, precision: str = "fp32"
) -> VerifiedExport:
    """Make the certificate of an exported folder again; with a url ask a running server for the goldens' answers.

    Args:
        folder: an exported folder with certificate.json.
        url: of a server that serves this fit; the folder's files are then checked by digest and not opened.
        task: the task's name on the server, where it has several.
        precision: in which the server computes: fp32, or bf16, whose answers may be a little off.

    Raises:
        ArtifactError: the folder has no certificate, or cannot be opened.
        ParityError: it does not answer as the fit, or anything in it was changed; `stage` says where it differs first.
        ServerError: the server did not answer.
    """
    from loratory.experiment.inference.verify_server import ServerRequest
    from loratory.experiment.verify_export import verify_export

    server = None if url is None else ServerRequest(url, task, precision)
    return VerifiedExport(*verify_export(Path(folder).expanduser(), server))
