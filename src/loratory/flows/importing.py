"""`loratory import`: a foreign folder becomes an artifact; nothing without a manifest is loaded elsewhere.

The headers of the files are checked first, in this process and without any library of models. What remains (what a
library of models makes of a configuration or a tokenizer) runs in a process of its own with limits. An artifact of our
own is copied: each of its files has the digest that its manifest says.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from loratory import __version__
from loratory.artifacts.contents import Files, files_of
from loratory.artifacts.locks import held
from loratory.artifacts.manifests import open_artifact, read_manifest, staging
from loratory.errors import ArtifactError
from loratory.export.sources import Found, inspect, labels_in, locate, outputs_of
from loratory.flows.opening import PREDICTOR
from loratory.flows.sandbox import Limits, call_limited
from loratory.protocols import Predictor

MEMORY = 2**30  # bytes beside those of the libraries and of the weights
COPIES = 6  # of the weights in memory: as read, in float32, merged, as written
SECONDS = 5.0  # of a processor, beside the libraries and the weights
SPEED = 10_000_000  # numbers that are read, checked and written in a second at least
WHOLE = "whole"


def import_folder(
    folder: Path, output: Path, base: str | None = None, labels: Sequence[str] = (), scheme: str | None = None
) -> str:
    """Write `output` from a Hugging Face or PEFT folder; returns which of its weights were taken.

    `base` names the base of an adapter that does not bring its own, `labels` the outputs in their order, `scheme` the
    tag scheme of a classifier of tokens. Raises ArtifactError.
    """
    _check_there(folder)
    with held(output, 0):
        _check_free(output)
        return _copied(folder, output, base, labels, scheme) or _import(folder, output, base, labels, scheme)


def _import(folder: Path, output: Path, base: str | None, labels: Sequence[str], scheme: str | None) -> str:
    predictor, order = build_predictor(folder, base, labels, scheme)
    from loratory.predictors import store

    with staging(output, _about(folder, order)) as part:
        store.write(part, predictor)
    return order


def import_apart(
    folder: Path, output: Path, base: str | None = None, labels: Sequence[str] = (), scheme: str | None = None
) -> str:
    """As `import_folder`, in a process of its own whose memory and time end. Raises ArtifactError.

    The output is held here: the other process may be killed.
    """
    _check_there(folder)
    with held(output, 0):
        _check_free(output)
        return _copied(folder, output, base, labels, scheme) or _import_apart(folder, output, base, labels, scheme)


def _import_apart(folder: Path, output: Path, base: str | None, labels: Sequence[str], scheme: str | None) -> str:
    found, _, elements = _inspect(files_of(folder), base, labels)
    own = None if found.adapter is None else str(found.model)  # found once: the other process fetches nothing
    limits = Limits(SECONDS + elements / SPEED, MEMORY + COPIES * 4 * elements)
    arguments = [str(folder), str(output), own, list(labels), scheme]
    try:
        return str(call_limited("loratory.flows.importing:import_named", arguments, limits))
    except ChildProcessError as problem:
        raise ArtifactError(
            f"it cannot be taken in: {problem}",
            where=str(folder),
            allowed="a classifier that transformers opens",
            remedy="download it again; LORATORY_DEBUG=1 shows what the library said",
        ) from problem


def import_named(folder: str, output: str, base: str | None, labels: Sequence[str], scheme: str | None) -> str:
    """`import_folder` by names alone, of an output that the caller holds."""
    _check_free(Path(output))
    return _import(Path(folder), Path(output), base, labels, scheme)


def build_predictor(
    source: Path | Files, base: str | None = None, labels: Sequence[str] = (), scheme: str | None = None
) -> tuple[Predictor, str]:
    """A predictor of a foreign folder's weights, and which of them were taken; raises ArtifactError.

    Headers are checked before any library of models is loaded. Of an artifact no file is read that its manifest does
    not list.
    """
    found, names, _ = _inspect(files_of(source), base, labels)
    from loratory.export.backbones import read_head, take_in_own
    from loratory.export.foreign import take_in

    head = read_head(found)
    return (take_in_own(names, found, head, scheme) if head else take_in(names, found, scheme)), found.order


def _inspect(files: Files, base: str | None, labels: Sequence[str]) -> tuple[Found, tuple[str, ...], int]:
    """Where the weights are, the names of the outputs, and how many numbers there are; raises ArtifactError."""
    found = locate(files, base)
    elements = inspect(found)
    count = outputs_of(found.files(found.adapter) if found.adapter else None)
    return found, labels_in(files, found.files(found.model), named=labels, count=count), elements


def _check_there(folder: Path) -> None:
    if not folder.is_dir():
        raise ArtifactError("there is no such folder", where=str(folder), allowed="a Hugging Face or PEFT folder")


def _check_free(output: Path) -> None:
    if output.exists():
        raise ArtifactError("the output folder exists", where=str(output), remedy="choose another --output")


def _about(folder: Path, order: str) -> dict[str, str]:
    return {"kind": "import", "source": folder.resolve().name, "order": order, "loratory": __version__}


def _copied(folder: Path, output: Path, base: str | None, labels: Sequence[str], scheme: str | None) -> str | None:
    """Copy an artifact of our own as it is; None where the folder is none, or is asked to be read as a foreign one.

    Each file is checked as it is read; what the manifest does not list stays.
    """
    if PREDICTOR not in (read_manifest(folder) or {"files": ()})["files"] or base or labels or scheme:
        return None
    artifact = open_artifact(folder)
    with staging(output, _about(folder, WHOLE)) as part:
        for name in artifact.names():
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            (part / name).write_bytes(artifact.read(name))
    return WHOLE
