"""A folder for transformers.js, opened with ONNX Runtime and tokenizers alone: the engines that it runs on, too."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from loratory.backbones.loading.tokenizers import replace_surrogates
from loratory.errors import ArtifactError, make_missing_extra
from loratory.exporting.transformers_js.layout import MODEL_FILE
from loratory.protocols.exporters import StageOutputs


@dataclass(frozen=True, eq=False)
class GraphModel:
    """A graph with its tokenizer."""

    session: Any
    tokenizer: Any
    output_names: tuple[str, ...]

    def run_stages(self, texts: Sequence[str]) -> list[StageOutputs]:
        """Each text alone, cut where tokenizer.json says. The temperature is inside the logits."""
        return [self._run_one(text) for text in texts]

    def _run_one(self, text: str) -> StageOutputs:
        ids = self.tokenizer.encode(replace_surrogates(text)).ids
        row = np.array([ids], dtype=np.int64)
        (made,) = self.session.run(["logits"], {"input_ids": row, "attention_mask": np.ones_like(row)})
        logits = made[0].astype(np.float64)
        shares = np.exp(logits - logits.max(-1, keepdims=True))
        return StageOutputs(tuple(ids), None, logits, shares / shares.sum(-1, keepdims=True))


def open_graph(folder: Path, file: str = MODEL_FILE) -> GraphModel:
    """One of the graphs of a folder.

    Raises ArtifactError where it is not there, MissingExtra without onnxruntime.
    """
    if not (folder / file).is_file():
        raise ArtifactError(
            "this folder holds no graph for transformers.js", where=str(folder / file), allowed=MODEL_FILE
        )
    try:
        import onnxruntime
    except ImportError as problem:
        raise make_missing_extra("onnxruntime", "int8") from problem
    from tokenizers import Tokenizer

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(folder / file), options, providers=["CPUExecutionProvider"])
    labels = json.loads((folder / "config.json").read_text(encoding="utf-8"))["id2label"]
    names = tuple(labels[str(place)] for place in range(len(labels)))
    return GraphModel(session, Tokenizer.from_file(str(folder / "tokenizer.json")), names)
