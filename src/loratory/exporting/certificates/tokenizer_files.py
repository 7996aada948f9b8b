"""The tokenizer's files of a form, read as readers in other languages do: by tokenizer.json alone.

transformers builds the normaliser of some tokenizers anew from tokenizer_config.json, so ids that it gives say nothing
of an option that stands in tokenizer.json.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from loratory.errors import ArtifactError
from loratory.exporting.certificates.certificate import make_parity_error
from loratory.exporting.certificates.goldens import Golden
from loratory.protocols import JSON
from loratory.protocols.exporters import WRITER

TOKENIZER_FILE, TOKENIZER_CONFIG_FILE = "tokenizer.json", "tokenizer_config.json"


def check_tokenizer_files(folder: Path, facts: Mapping[str, JSON], goldens: Iterable[Golden], where: str) -> None:
    """Raise ParityError where an encoder's tokenizer.json gives other ids, or its readers are told to pad on the left.

    We pad rows ourselves, on the right, so no number shows the side; positions of a BERT would begin in the padding.
    """
    files = facts.get("files")
    name = files.get("tokenizer") if isinstance(files, Mapping) else None
    if not isinstance(name, str) or facts.get("head") == WRITER:
        return
    if Path(name).name == TOKENIZER_FILE:
        _check_ids(folder / name, int(str(facts["pad_id"])), goldens, where)
    if _read_config(folder / Path(name).parent / TOKENIZER_CONFIG_FILE).get("padding_side") == "left":
        raise make_parity_error("batch", f"{TOKENIZER_CONFIG_FILE} pads on the left", where)


def _check_ids(file: Path, pad_id: int, goldens: Iterable[Golden], where: str) -> None:
    from tokenizers import Tokenizer

    try:
        tokenizer: Any = Tokenizer.from_file(str(file))
    except Exception as problem:  # errors of Rust have no class of their own
        raise ArtifactError(f"{TOKENIZER_FILE} cannot be read: {problem}", where=str(file)) from problem
    for golden in goldens:
        found = tuple(tokenizer.encode(golden.model_text.encode("utf-8", "replace").decode("utf-8")).ids) or (pad_id,)
        if found != golden.tokens:
            raise make_parity_error("tokens", f"{TOKENIZER_FILE} alone gives other ids for {golden.id}", where)


def _read_config(file: Path) -> Mapping[str, Any]:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as problem:
        raise ArtifactError(f"{TOKENIZER_CONFIG_FILE} cannot be read: {problem}", where=str(file)) from problem
    return values if isinstance(values, Mapping) else {}
