"""certificate.json: what was measured of a form, bound to its files and goldens by digests."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from loratory.artifacts.durable_files import to_json
from loratory.artifacts.manifests import MANIFEST, digest_of, hash_file
from loratory.errors import ArtifactError, ParityError
from loratory.protocols.exporters import DescribedModel, ExportedModel

CERTIFICATE_FILE = "certificate.json"
CERTIFICATE_KIND, CERTIFICATE_VERSION = "loratory-certificate", 1
UNLISTED_FILES = (CERTIFICATE_FILE, MANIFEST)  # they hold the digests of all others
DIGEST_KEY = "digest"
REQUIRED_KEYS = ("format", "tolerance_class", "model", "fit", "files", "goldens", "measured", "chain", "passed")


@dataclass(frozen=True, eq=False)
class Certificate:
    """What certificate.json says."""

    values: Mapping[str, Any]

    @property
    def format(self) -> str:
        """The exporter's name."""
        return str(self.values["format"])

    @property
    def model(self) -> Mapping[str, Any]:
        """Labels, window, pooling, operating point: what a reader needs."""
        found: Mapping[str, Any] = self.values["model"]
        return found

    @property
    def digest(self) -> str:
        """SHA-256 of all that it says."""
        return str(self.values[DIGEST_KEY])

    def to_text(self) -> str:
        """The text of the file."""
        return to_json(dict(self.values))


def seal_certificate(values: Mapping[str, Any]) -> Certificate:
    """With the digest of all other keys, and when and on what it was made."""
    rest = {
        "kind": CERTIFICATE_KIND,
        "version": CERTIFICATE_VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        **{key: value for key, value in values.items() if key != DIGEST_KEY},
    }
    return Certificate({**rest, DIGEST_KEY: digest_of(rest)})


def describe_runtime(model: ExportedModel) -> dict[str, str]:
    """What opened the form, and on what."""
    name, version = model.runtime if isinstance(model, DescribedModel) else ("python", platform.python_version())
    return {"name": name, "version": version, "python": platform.python_version(), "machine": platform.machine()}


def list_files(folder: Path) -> dict[str, str]:
    """The digest of every file of an exported folder that a certificate lists, by name."""
    files = sorted(file for file in folder.rglob("*") if not file.is_dir())
    names = [(file, file.relative_to(folder).as_posix()) for file in files]
    return {name: hash_file(file) for file, name in names if name not in UNLISTED_FILES}


def read_certificate(folder: Path) -> Certificate:
    """The certificate of an exported folder; raises ArtifactError where there is none, ParityError where it is not
    as it was written.
    """
    file = folder / CERTIFICATE_FILE
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(
            f"this folder has no {CERTIFICATE_FILE}",
            where=str(folder),
            allowed="a folder that loratory export wrote",
            remedy="loratory export RUN --to NAME writes one with its certificate",
        ) from None
    except (OSError, ValueError, RecursionError) as problem:
        raise ArtifactError(f"{CERTIFICATE_FILE} cannot be read: {problem}", where=str(file)) from problem
    if not isinstance(values, dict) or values.get("kind") != CERTIFICATE_KIND:
        raise ArtifactError("this is no certificate of loratory", where=str(file))
    if values.get("version") != CERTIFICATE_VERSION:
        raise ArtifactError(
            f"the certificate is of version {values.get('version')!r}",
            where=str(file),
            allowed=str(CERTIFICATE_VERSION),
            remedy="verify it with the version of loratory that wrote it",
        )
    missing = [key for key in REQUIRED_KEYS if key not in values]
    if missing:
        raise ArtifactError(f"the certificate lacks {', '.join(missing)}", where=str(file))
    if digest_of({key: value for key, value in values.items() if key != DIGEST_KEY}) != values.get(DIGEST_KEY):
        raise make_parity_error("digest", "the certificate was changed after it was made", folder)
    return Certificate(values)


def check_files(folder: Path, certificate: Certificate) -> None:
    """Raise ParityError where a file is changed, missing or not listed."""
    found, listed = list_files(folder), certificate.values["files"]
    for name in sorted({*found, *listed}):
        if name not in listed:
            raise make_parity_error("digest", f"{name} is no file of this certificate", folder)
        if name not in found:
            raise make_parity_error("digest", f"{name} is missing", folder)
        if found[name] != listed[name]:
            raise make_parity_error("digest", f"{name} was changed after the certificate was made", folder)


def make_parity_error(stage: str, problem: str, where: Path | str, remedy: str = "") -> ParityError:
    """The refusal of a form, with the first stage at which it is not the fit."""
    made = ParityError(
        f"refused at stage {stage}: {problem}",
        where=str(where),
        remedy=remedy or "do not use this folder; export the fit again",
    )
    made.stage = stage
    return made
