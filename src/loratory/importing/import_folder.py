"""`loratory import`: a foreign folder becomes an artifact; nothing without a manifest is loaded elsewhere.

The headers of the files are checked first, in this process and without any library of models. What remains (what a
library of models makes of a configuration or a tokenizer) runs in a process of its own with limits. An artifact of our
own is copied: each of its files has the digest that its manifest says.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from loratory import __version__
from loratory.artifacts.locks import hold_lock
from loratory.artifacts.manifests import PREDICTOR_FILE, open_artifact, read_manifest, stage_artifact
from loratory.artifacts.verified_files import VerifiedFiles, open_files
from loratory.errors import ArtifactError
from loratory.importing.sandbox import SandboxLimits, call_limited
from loratory.importing.weight_sources import (
    ModelSources,
    count_head_outputs,
    inspect_headers,
    locate_weights,
    read_labels,
)
from loratory.protocols import Predictor

SPARE_MEMORY_BYTES = 2**30  # bytes beside those of the libraries and of the weights
WEIGHT_COPIES = 6  # of the weights in memory: as read, in float32, merged, as written
BASE_CPU_SECONDS = 5.0  # of a processor, beside the libraries and the weights
MIN_ELEMENTS_PER_SECOND = 10_000_000  # numbers that are read, checked and written in a second at least
OWN_ARTIFACT = "whole"


def import_folder(
    folder: Path, output: Path, base: str | None = None, labels: Sequence[str] = (), scheme: str | None = None
) -> str:
    """Write `output` from a Hugging Face or PEFT folder; returns which of its weights were taken.

    `base` names the base of an adapter that does not bring its own, `labels` the outputs in their order, `scheme` the
    tag scheme of a classifier of tokens. Raises ArtifactError.
    """
    _check_folder_exists(folder)
    with hold_lock(output, 0):
        _check_output_free(output)
        return _copy_own_artifact(folder, output, base, labels, scheme) or _build_and_write(
            folder, output, base, labels, scheme
        )


def _build_and_write(folder: Path, output: Path, base: str | None, labels: Sequence[str], scheme: str | None) -> str:
    predictor, order = build_predictor(folder, base, labels, scheme)
    from loratory.predictors import predictor_files

    with stage_artifact(output, _manifest_facts(folder, order)) as part:
        predictor_files.save_predictor(part, predictor)
    return order


def import_in_sandbox(
    folder: Path, output: Path, base: str | None = None, labels: Sequence[str] = (), scheme: str | None = None
) -> str:
    """As `import_folder`, in a process of its own whose memory and time end. Raises ArtifactError.

    The output is held here: the other process may be killed.
    """
    _check_folder_exists(folder)
    with hold_lock(output, 0):
        _check_output_free(output)
        return _copy_own_artifact(folder, output, base, labels, scheme) or _call_sandboxed_import(
            folder, output, base, labels, scheme
        )


def _call_sandboxed_import(
    folder: Path, output: Path, base: str | None, labels: Sequence[str], scheme: str | None
) -> str:
    found, _, elements = _inspect_sources(open_files(folder), base, labels)
    own = None if found.adapter is None else str(found.model)  # found once: the other process fetches nothing
    limits = SandboxLimits(
        BASE_CPU_SECONDS + elements / MIN_ELEMENTS_PER_SECOND, SPARE_MEMORY_BYTES + WEIGHT_COPIES * 4 * elements
    )
    arguments = [str(folder), str(output), own, list(labels), scheme]
    try:
        return str(call_limited("loratory.importing.import_folder:import_with_plain_arguments", arguments, limits))
    except ChildProcessError as problem:
        raise ArtifactError(
            f"it cannot be taken in: {problem}",
            where=str(folder),
            allowed="a classifier that transformers opens",
            remedy="download it again; LORATORY_DEBUG=1 shows what the library said",
        ) from problem


def import_with_plain_arguments(
    folder: str, output: str, base: str | None, labels: Sequence[str], scheme: str | None
) -> str:
    """`import_folder` by names alone, of an output that the caller holds."""
    _check_output_free(Path(output))
    return _build_and_write(Path(folder), Path(output), base, labels, scheme)


def build_predictor(
    source: Path | VerifiedFiles, base: str | None = None, labels: Sequence[str] = (), scheme: str | None = None
) -> tuple[Predictor, str]:
    """A predictor of a foreign folder's weights, and which of them were taken; raises ArtifactError.

    Headers are checked before any library of models is loaded. Of an artifact no file is read that its manifest does
    not list.
    """
    found, names, _ = _inspect_sources(open_files(source), base, labels)
    from loratory.importing.described_backbone import import_with_head_description, read_head_description
    from loratory.importing.foreign_classifier import import_classifier

    head = read_head_description(found)
    return (
        import_with_head_description(names, found, head, scheme) if head else import_classifier(names, found, scheme)
    ), found.order


def _inspect_sources(
    files: VerifiedFiles, base: str | None, labels: Sequence[str]
) -> tuple[ModelSources, tuple[str, ...], int]:
    """Where the weights are, the names of the outputs, and how many numbers there are; raises ArtifactError."""
    found = locate_weights(files, base)
    elements = inspect_headers(found)
    count = count_head_outputs(found.files(found.adapter) if found.adapter else None)
    return found, read_labels(files, found.files(found.model), named=labels, count=count), elements


def _check_folder_exists(folder: Path) -> None:
    if not folder.is_dir():
        raise ArtifactError("there is no such folder", where=str(folder), allowed="a Hugging Face or PEFT folder")


def _check_output_free(output: Path) -> None:
    if output.exists():
        raise ArtifactError("the output folder exists", where=str(output), remedy="choose another --output")


def _manifest_facts(folder: Path, order: str) -> dict[str, str]:
    return {"kind": "import", "source": folder.resolve().name, "order": order, "loratory": __version__}


def _copy_own_artifact(
    folder: Path, output: Path, base: str | None, labels: Sequence[str], scheme: str | None
) -> str | None:
    """Copy an artifact of our own as it is; None where the folder is none, or is asked to be read as a foreign one.

    Each file is checked as it is read; what the manifest does not list stays.
    """
    if PREDICTOR_FILE not in (read_manifest(folder) or {"files": ()})["files"] or base or labels or scheme:
        return None
    artifact = open_artifact(folder)
    with stage_artifact(output, _manifest_facts(folder, OWN_ARTIFACT)) as part:
        for name in artifact.list_names():
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            (part / name).write_bytes(artifact.read(name))
    return OWN_ARTIFACT
