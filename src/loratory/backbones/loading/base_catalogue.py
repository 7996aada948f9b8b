"""The catalogue of bases: the embedded ones and well-known ones of the hub, and which of them are on this machine.

The facts of a base (licence, languages, window, ...) are in base_catalogue.json, as its model card or its files state
them; a fact that could not be confirmed is null there. Any other hub id or folder works as a base, too.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from loratory.backbones.loading.bases import DOWNLOAD_PATTERNS, EMBEDDED_BASES, describe_base, locate_base
from loratory.errors import BaseModelError, MissingExtra

CATALOGUE_FILE = Path(__file__).parent / "base_catalogue.json"
MANY_LANGUAGES = "many"  # in place of their names


@dataclass(frozen=True)
class CatalogueBase:
    """A base that is known by name. `None` stands for a fact that is not confirmed."""

    name: str  # what `base:` takes
    kind: str  # encoder | causal (it can write)
    parameters: int  # rounded, as its card counts them
    bytes: int | None  # of the weights file
    licence: str
    languages: tuple[str, ...]  # their English names, or ("many",)
    language_count: int
    cased: bool | None  # whether its tokenizer tells capital letters from small ones
    window: int | None  # tokens that it reads at most
    origin: str  # where it comes from: a hub id, or a description
    note: str
    demonstration: bool = False  # never suggested

    def knows_language(self, language: str) -> bool:
        """Whether it was written for the language; a base of many languages is taken to know each."""
        return MANY_LANGUAGES in self.languages or language in self.languages


@dataclass(frozen=True)
class LocalBase:
    """What of a base is on this machine."""

    folder: Path | None  # None: not here
    digest: str | None = None  # of weights, tokenizer and configuration
    bytes: int | None = None  # of the weights
    revision: str | None = None  # the commit on the hub
    problem: str | None = None  # why what is here cannot be used


@cache
def read_catalogue() -> tuple[CatalogueBase, ...]:
    """All bases of the catalogue, the embedded ones first."""
    rows = json.loads(CATALOGUE_FILE.read_text(encoding="utf-8"))
    return tuple(CatalogueBase(**{**row, "languages": tuple(row["languages"])}) for row in rows)


def find_local_base(name: str) -> LocalBase:
    """What is on this machine of the base called `name`: an embedded one, or a hub id in the hub's cache.

    No network is asked. The digest is computed from the files, which takes a second for each gigabyte or so.
    """
    folder = _find_folder(name)
    if folder is None:
        return LocalBase(None)
    try:
        return _describe_local(name, folder)
    except BaseModelError as problem:
        return LocalBase(folder, problem=problem.problem)


def fetch_base(name: str) -> LocalBase:
    """Make the base called `name` ready on this machine: a hub id is fetched into the hub's cache, and checked.

    Raises BaseModelError where it is unknown, cannot be fetched or is unsafe, and MissingExtra where the package of an
    embedded base is not installed.
    """
    return _describe_local(name, locate_base(name))


def _describe_local(name: str, folder: Path) -> LocalBase:
    base = describe_base(name, folder)
    size = sum((folder / file).stat().st_size for file in base.files.list_top_level() if file.endswith(".safetensors"))
    revision = folder.name if folder.parent.name == "snapshots" else None
    return LocalBase(folder, base.digest, size, revision)


def describe_catalogue_base(base: CatalogueBase) -> dict[str, Any]:
    """The facts of a base as JSON, with what is on this machine of it."""
    local = find_local_base(base.name)
    facts = {name: value for name, value in asdict(base).items() if name != "demonstration"}
    return {
        **facts,
        "languages": list(base.languages),
        "bytes": local.bytes or base.bytes,
        "embedded": base.name in EMBEDDED_BASES,
        "here": local.digest is not None,
        "digest": local.digest,
        "revision": local.revision,
        "folder": str(local.folder) if local.folder else None,
        "problem": local.problem,
    }


def choose_catalogue_base(
    kind: str, languages: Iterable[str] = (), cased: bool = False, window: int | None = None
) -> CatalogueBase | None:
    """The smallest base that has all of this; None where the catalogue has none.

    Args:
        kind: encoder or causal.
        languages: English names of languages that it has to know.
        cased: whether it has to tell capital letters from small ones.
        window: tokens that it has to read.
    """
    asked = tuple(languages)
    fit = [
        base
        for base in read_catalogue()
        if base.kind == kind
        and not base.demonstration
        and all(map(base.knows_language, asked))
        and (base.cased is True or not cased)
        and (window is None or (base.window or 0) >= window)
    ]
    # of a language its own base before one of many; of equals the first in the file
    return min(fit, key=lambda base: (MANY_LANGUAGES in base.languages, base.parameters), default=None)


def _find_folder(name: str) -> Path | None:
    if name in EMBEDDED_BASES:
        if importlib.util.find_spec(EMBEDDED_BASES[name][0]) is None:
            return None
        try:
            return locate_base(name)
        except MissingExtra:
            return None
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError
    except ImportError:
        return None
    hub, _, revision = name.partition("@")
    try:
        found = snapshot_download(
            hub, revision=revision or None, allow_patterns=DOWNLOAD_PATTERNS, local_files_only=True
        )
    except LocalEntryNotFoundError:
        return None
    return Path(found)
