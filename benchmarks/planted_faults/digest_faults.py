"""Faults that digests show, and claims of a certificate that its reader must not believe."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from planted_faults.faults import GRAPH, UNREADABLE, WEIGHTS, WRITER, PlantedFault
from planted_faults.folders import CERTIFICATE, ExportedFolder

EVERY = (WEIGHTS, GRAPH, WRITER)


def change_byte(role: str) -> Callable[[ExportedFolder], None]:
    """One bit of a file, at its end."""

    def plant(folder: ExportedFolder) -> None:
        name = folder.files[role]
        data = bytearray((folder.path / name).read_bytes())
        data[-8] ^= 1
        folder.replace(name, bytes(data))

    return plant


def remove_tokenizer(folder: ExportedFolder) -> None:
    """A file is missing."""
    (folder.path / folder.files["tokenizer"]).unlink()


def add_file(folder: ExportedFolder) -> None:
    """A file that nobody listed, which another reader might prefer."""
    folder.replace(folder.beside("model", "pytorch_model.bin"), b"\x80\x04N.")


def change_certificate(change: Callable[[dict[str, Any]], None]) -> Callable[[ExportedFolder], None]:
    """Another certificate, its own digest left as it was."""

    def plant(folder: ExportedFolder) -> None:
        with folder.edit_json(CERTIFICATE) as certificate:
            change(certificate)

    return plant


def widen_tolerances(certificate: dict[str, Any]) -> None:
    """Whatever it says of tolerances is a million times larger."""
    tolerances = certificate.get("tolerances") or {}
    certificate["tolerances"] = {name: 1e6 for name in tolerances} | {"max_dp": 1e6, "q99_dp": 1e6, "batch_dp": 1e6}


def drop_goldens(folder: ExportedFolder) -> None:
    """Every other golden is gone."""
    lines = _read_lines(folder)
    kept = [line for at, line in enumerate(lines) if json.loads(line)["kind"] == "batch" or at % 2]
    folder.replace(folder.certificate["goldens"]["file"], ("\n".join(kept) + "\n").encode("utf-8"))


def _read_lines(folder: ExportedFolder) -> list[str]:
    text = (folder.path / folder.certificate["goldens"]["file"]).read_text(encoding="utf-8")
    return [line for line in text.split("\n") if line]


def borrow_goldens(folder: ExportedFolder) -> None:
    """The expected numbers of every golden are those of the next one: the certificate of another run."""
    rows = [json.loads(line) for line in _read_lines(folder)]
    goldens = [row for row in rows if row["kind"] != "batch"]
    moved = [{**next_one, "id": one["id"]} for one, next_one in zip(goldens, [*goldens[1:], goldens[0]], strict=True)]
    text = "".join(
        json.dumps(row, ensure_ascii=True) + "\n" for row in [*moved, *(r for r in rows if r["kind"] == "batch")]
    )
    folder.replace(folder.certificate["goldens"]["file"], text.encode("utf-8"))


def claim_failure(folder: ExportedFolder) -> None:
    """The certificate of a form that did not pass."""
    with folder.edit_json(CERTIFICATE) as certificate:
        certificate["passed"], certificate["stage"] = False, "logits"


def borrow_texts(folder: ExportedFolder) -> None:
    """Texts of the goldens change places, and nothing else: what is expected is of another text."""
    rows = [json.loads(line) for line in _read_lines(folder)]
    goldens = [row for row in rows if row["kind"] != "batch"]
    texts = [row["text"] for row in goldens]
    for row, text in zip(goldens, [*texts[1:], texts[0]], strict=True):
        row["text"] = text
        if "prompt" in row:
            row["prompt"] = text
    folder.replace(
        folder.certificate["goldens"]["file"],
        "".join(json.dumps(row, ensure_ascii=True) + "\n" for row in rows).encode("utf-8"),
    )


def has_role(role: str) -> Callable[[ExportedFolder], bool]:
    """Whether the folder names such a file."""
    return lambda folder: role in folder.files


DIGEST = ("digest",)
DIGEST_FAULTS = (
    PlantedFault("one bit of the weights", EVERY, DIGEST, change_byte("model"), signed=False),
    PlantedFault("a stale tokenizer", EVERY, DIGEST, change_byte("tokenizer"), signed=False),
    PlantedFault("a stale head", EVERY, DIGEST, change_byte("head"), signed=False, suits=has_role("head")),
    PlantedFault("a file is missing", EVERY, DIGEST, remove_tokenizer, signed=False),
    PlantedFault("a file too many", EVERY, DIGEST, add_file, signed=False),
    PlantedFault("tolerances are widened", EVERY, DIGEST, change_certificate(widen_tolerances), signed=False),
    PlantedFault("goldens are dropped", EVERY, DIGEST, drop_goldens, signed=False),
    PlantedFault("another run's goldens", EVERY, DIGEST, borrow_goldens, signed=False),
    PlantedFault("goldens are dropped, digests made to fit", EVERY, (*DIGEST, UNREADABLE), drop_goldens),
    PlantedFault("a certificate that did not pass", EVERY, DIGEST, claim_failure),
    PlantedFault("texts of goldens are swapped, digests made to fit", EVERY, ("tokens",), borrow_texts),
)
