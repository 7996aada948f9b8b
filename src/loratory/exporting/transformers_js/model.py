"""A folder for transformers.js, opened with ONNX Runtime and tokenizers alone: the engines that it runs on, too."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from loratory.backbones.loading.tokenizers import replace_surrogates
from loratory.errors import ArtifactError, make_missing_extra
from loratory.exporting.encoder_fits import FACTS_FILE
from loratory.exporting.transformers_js.layout import MODEL_FILE
from loratory.protocols.exporters import StageOutputs


@dataclass(frozen=True, eq=False)
class GraphModel:
    """A graph with its tokenizer."""

    session: Any
    tokenizer: Any
    output_names: tuple[str, ...]
    pad_token_id: int
    temperature: float  # is inside the graph's logits, and taken out of those that are shown

    def run_stages(self, texts: Sequence[str]) -> list[StageOutputs]:
        """The texts in one padded batch, cut where tokenizer.json says."""
        if not texts:
            return []
        rows = [self.tokenizer.encode(replace_surrogates(text)).ids for text in texts]
        ids = np.full((len(rows), max(map(len, rows))), self.pad_token_id, dtype=np.int64)
        mask = np.zeros_like(ids)
        for at, row in enumerate(rows):
            ids[at, : len(row)], mask[at, : len(row)] = row, 1
        (made,) = self.session.run(["logits"], {"input_ids": ids, "attention_mask": mask})
        return [self._describe(row, logits) for row, logits in zip(rows, made, strict=True)]

    def _describe(self, ids: Sequence[int], logits: npt.NDArray[np.float32]) -> StageOutputs:
        """Of a text, or of each of its tokens."""
        own = (logits[: len(ids)] if logits.ndim > 1 else logits).astype(np.float64)
        shares = np.exp(own - own.max(-1, keepdims=True))
        return StageOutputs(tuple(ids), None, own * self.temperature, shares / shares.sum(-1, keepdims=True))


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
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    names = tuple(config["id2label"][str(place)] for place in range(len(config["id2label"])))
    temperature = float(json.loads((folder / FACTS_FILE).read_text(encoding="utf-8"))["temperature"])
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    return GraphModel(session, tokenizer, names, config["pad_token_id"] or 0, temperature)
