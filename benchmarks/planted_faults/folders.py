"""Exported folders that are changed: a copy of an honest one, its files by what they are for, and its digests anew."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import load_file, save_file

from loratory.artifacts.manifests import MANIFEST, seal_manifest

if TYPE_CHECKING:
    from torch import Tensor

CERTIFICATE = "certificate.json"
WRITER_FILES = {
    "model": "merged/model.safetensors",
    "tokenizer": "merged/tokenizer.json",
    "config": "merged/config.json",
}
GRAPH_FACTS = "loratory"  # the key of a graph's metadata


@dataclass(frozen=True)
class ExportedFolder:
    """A folder with a certificate. Whatever is changed is replaced and never written in place: copies share files."""

    path: Path

    def copy_to(self, target: Path) -> ExportedFolder:
        """The same folder at another place, its files shared as hard links where the disk can."""
        shutil.copytree(self.path, target, copy_function=_link_or_copy)
        return ExportedFolder(target)

    @property
    def certificate(self) -> dict[str, Any]:
        """certificate.json as it stands."""
        return self.read_json(CERTIFICATE)

    @property
    def files(self) -> Mapping[str, str]:
        """What the certificate says that model, tokenizer, head and config are called; the last two may lack.

        That of a model that writes may name none: they lie in merged/.
        """
        named: Mapping[str, str | None] | None = self.certificate["model"].get("files")
        return {role: name for role, name in (named or WRITER_FILES).items() if name is not None}

    @property
    def model(self) -> str:
        """Name of the weights or of the graph."""
        return self.files["model"]

    def beside(self, role: str, name: str) -> str:
        """The name of a file in the folder of another one, such as tokenizer_config.json beside the tokenizer."""
        return (Path(self.files[role]).parent / name).as_posix()

    def has(self, name: str) -> bool:
        """Whether there is a file of that name."""
        return (self.path / name).is_file()

    def read_json(self, name: str) -> dict[str, Any]:
        """A file as JSON."""
        read: dict[str, Any] = json.loads((self.path / name).read_text(encoding="utf-8"))
        return read

    def replace(self, name: str, data: bytes) -> None:
        """Put other bytes in the place of a file."""
        target = self.path / name
        target.unlink(missing_ok=True)
        target.write_bytes(data)

    @contextmanager
    def edit_json(self, name: str) -> Iterator[dict[str, Any]]:
        """Change a file of JSON; one that is not there is not made."""
        if not self.has(name):
            yield {}
            return
        value = self.read_json(name)
        yield value
        self.replace(name, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode("utf-8"))

    @contextmanager
    def edit_facts(self) -> Iterator[dict[str, Any]]:
        """Change the certificate's `model`, and what a graph says of itself."""
        with self.edit_json(CERTIFICATE) as certificate:
            yield certificate["model"]
        if self.model.endswith(".onnx"):
            self._describe_graph(certificate["model"])

    def _describe_graph(self, facts: Mapping[str, Any]) -> None:
        import onnx

        graph = onnx.load(str(self.path / self.model))
        for entry in graph.metadata_props:
            if entry.key == GRAPH_FACTS:
                entry.value = json.dumps({**json.loads(entry.value), **facts}, ensure_ascii=False, sort_keys=True)
        self.replace(self.model, graph.SerializeToString())

    def read_tensors(self, name: str) -> dict[str, Tensor]:
        """Tensors of a safetensors file."""
        return load_file(self.path / name)

    @contextmanager
    def edit_tensors(self, name: str) -> Iterator[dict[str, Tensor]]:
        """Change a safetensors file."""
        tensors = {key: tensor.clone() for key, tensor in self.read_tensors(name).items()}
        yield tensors
        (self.path / name).unlink()
        save_file({key: t.contiguous() for key, t in tensors.items()}, self.path / name, metadata={"format": "pt"})

    def sign(self) -> None:
        """Digests of the certificate and of the manifest for what lies in the folder now."""
        digests = {name: self._hash(name) for name in self._list_files() if name not in (CERTIFICATE, MANIFEST)}
        with self.edit_json(CERTIFICATE) as certificate:
            certificate["files"] = dict(digests)
            certificate["goldens"]["sha256"] = digests[certificate["goldens"]["file"]]
            certificate.pop("digest", None)
            certificate["digest"] = hash_canonical(certificate)
        if self.has(MANIFEST):
            manifest = self.read_json(MANIFEST)
            manifest["files"] = {**digests, CERTIFICATE: self._hash(CERTIFICATE)}
            self.replace(MANIFEST, seal_manifest(manifest).encode("utf-8"))

    def _list_files(self) -> list[str]:
        return sorted(f.relative_to(self.path).as_posix() for f in self.path.rglob("*") if f.is_file())

    def _hash(self, name: str) -> str:
        return hashlib.sha256((self.path / name).read_bytes()).hexdigest()


def hash_canonical(value: object) -> str:
    """SHA-256 of canonical JSON, hexadecimal."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _link_or_copy(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target
