"""`loratory import`: a foreign folder becomes an artifact; nothing without a manifest is loaded elsewhere.

The headers of the files are checked first, in this process and without any library of models. What remains (what a
library of models makes of a configuration or a tokenizer) runs in a process of its own with limits.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from loratory import __version__
from loratory.artifacts.locks import held
from loratory.artifacts.manifests import staging
from loratory.errors import ArtifactError
from loratory.export.sources import Found, inspect, labels_in, locate, outputs_of
from loratory.flows.sandbox import Limits, call_limited

MEMORY = 2**30  # bytes beside those of the libraries and of the weights
COPIES = 6  # of the weights in memory: as read, in float32, merged, as written
SECONDS = 5.0  # of a processor, beside the libraries and the weights
SPEED = 10_000_000  # numbers that are read, checked and written in a second at least


def import_folder(
    folder: Path, output: Path, base: str | None = None, labels: Sequence[str] = (), scheme: str | None = None
) -> str:
    """Write `output` as an artifact of the foreign `folder`; returns which weights were taken. Raises ArtifactError.

    `base` is that of an adapter, `labels` name the outputs in their order, `scheme` says how tags of tokens are meant.
    """
    _check_there(folder)
    with held(output, 0):
        return _import(folder, output, base, labels, scheme)


def _import(folder: Path, output: Path, base: str | None, labels: Sequence[str], scheme: str | None) -> str:
    found, names, _ = _inspected(folder, output, base, labels)
    from loratory.export.foreign import take_in
    from loratory.predictors import store

    predictor = take_in(names, found, scheme)
    about = {"kind": "import", "source": folder.resolve().name, "order": found.order, "loratory": __version__}
    with staging(output, about) as part:
        store.write(part, predictor)
    return found.order


def import_apart(
    folder: Path, output: Path, base: str | None = None, labels: Sequence[str] = (), scheme: str | None = None
) -> str:
    """As `import_folder`, in a process of its own whose memory and time end. Raises ArtifactError.

    The output is held here: the other process may be killed.
    """
    _check_there(folder)
    with held(output, 0):
        return _import_apart(folder, output, base, labels, scheme)


def _import_apart(folder: Path, output: Path, base: str | None, labels: Sequence[str], scheme: str | None) -> str:
    found, _, elements = _inspected(folder, output, base, labels)
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
    return _import(Path(folder), Path(output), base, labels, scheme)


def _check_there(folder: Path) -> None:
    if not folder.is_dir():
        raise ArtifactError("there is no such folder", where=str(folder), allowed="a Hugging Face or PEFT folder")


def _inspected(
    folder: Path, output: Path, base: str | None, labels: Sequence[str]
) -> tuple[Found, tuple[str, ...], int]:
    """Where the weights are, the names of the outputs, and how many numbers there are; raises ArtifactError."""
    if output.exists():
        raise ArtifactError("the output folder exists", where=str(output), remedy="choose another --output")
    found = locate(folder, base)
    elements = inspect(found)
    return found, labels_in(folder, found.model, named=labels, count=outputs_of(found.adapter)), elements
