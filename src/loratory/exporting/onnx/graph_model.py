"""A folder with model.onnx and tokenizer.json, opened with onnxruntime and tokenizers alone.

Shapes: B texts, T tokens, D width, L outputs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loratory.errors import ArtifactError, make_missing_extra
from loratory.exporting.certificates.model_facts import ModelFacts
from loratory.exporting.form_answers import AnswerReader
from loratory.exporting.onnx.graph_export import INPUTS, LAYER_OUTPUT
from loratory.exporting.onnx.graph_files import FACTS_KEY, GRAPH_FILE, read_graph
from loratory.protocols import JSON, Offsets, TokenIds
from loratory.protocols.exporters import StageOutputs

TOKENIZER_FILE = "tokenizer.json"
Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class GraphModel:
    """A graph with its tokenizer, and what its own metadata says of reading it."""

    session: Any
    tokenizer: Any
    reader_facts: ModelFacts

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the L outputs."""
        return self.reader_facts.labels

    @property
    def runtime(self) -> tuple[str, str]:
        """What opened it."""
        import onnxruntime

        return "onnxruntime", onnxruntime.__version__

    @property
    def facts(self) -> Mapping[str, JSON]:
        """The graph's metadata."""
        return self.reader_facts.to_dict()

    def run_stages(self, texts: Sequence[str]) -> list[StageOutputs]:
        """The texts in one padded batch, each alone where the graph takes one row."""
        if not texts:
            return []
        if self.reader_facts.max_batch == 1 and len(texts) > 1:
            return [self.run_stages([text])[0] for text in texts]
        rows = [self._encode(text) for text in texts]
        ids, mask = self._pad([row for row, _ in rows])
        values = self.session.run(None, dict(zip(INPUTS, (ids, mask), strict=True)))
        outputs = dict(zip((one.name for one in self.session.get_outputs()), values, strict=True))
        return [self._select(outputs, at, *one) for at, one in enumerate(zip(texts, rows, strict=True))]

    def _encode(self, text: str) -> tuple[TokenIds, Offsets]:
        encoded = self.tokenizer.encode(text.encode("utf-8", "replace").decode("utf-8"))
        if not encoded.ids:
            return (self.reader_facts.pad_id,), ((0, 0),)
        return tuple(encoded.ids), tuple(encoded.offsets)

    def _pad(self, rows: Sequence[TokenIds]) -> tuple[Integers, Integers]:
        """Ids and mask int64[B, T]."""
        longest = max(map(len, rows))
        ids = np.full((len(rows), longest), self.reader_facts.pad_id, dtype=np.int64)
        mask = np.zeros((len(rows), longest), dtype=np.int64)
        for at, row in enumerate(rows):
            ids[at, : len(row)], mask[at, : len(row)] = row, 1
        return ids, mask

    def _select(self, outputs: Mapping[str, Any], at: int, text: str, row: tuple[TokenIds, Offsets]) -> StageOutputs:
        own = {name: np.asarray(values[at], dtype=np.float64) for name, values in outputs.items()}
        length, reader = len(row[0]), AnswerReader(self.reader_facts)
        layers = tuple(own[f"{LAYER_OUTPUT}{number}"][:length] for number in range(_count_layers(own)))
        logits, shares = own["logits"], own["probabilities"]
        if logits.ndim > 1:
            logits, shares = logits[:length], shares[:length]
        return StageOutputs(
            row[0],
            layers[-1] if layers else None,
            logits,
            shares,
            layers or None,
            own.get("pooled"),
            answer=reader.read(text, row, logits, shares) if reader.can_answer else None,
            has_answer=reader.can_answer,
        )


def _count_layers(outputs: Mapping[str, Any]) -> int:
    return sum(name.startswith(LAYER_OUTPUT) for name in outputs)


def open_graph_model(folder: Path) -> GraphModel:
    """The graph of an exported folder; raises ArtifactError where there is none that describes itself, MissingExtra."""
    file = folder / GRAPH_FILE
    if not file.is_file() or not (folder / TOKENIZER_FILE).is_file():
        raise ArtifactError(
            f"this folder has no {GRAPH_FILE} with a {TOKENIZER_FILE}", where=str(folder), remedy="export the fit again"
        )
    graph = read_graph(file)
    described = {one.key: one.value for one in graph.metadata_props}
    try:
        facts = ModelFacts.from_dict(json.loads(described[FACTS_KEY]))
    except (KeyError, TypeError, ValueError) as problem:
        raise ArtifactError(
            f"the graph does not describe its outputs ({type(problem).__name__})",
            where=str(file),
            allowed=f"metadata {FACTS_KEY!r}, as loratory export writes it",
        ) from problem
    session = create_session(file)
    takes_one = session.get_inputs()[0].shape[0] == 1  # of the graph itself: what it says of itself is not believed
    return GraphModel(
        session, _read_tokenizer(folder / TOKENIZER_FILE), replace(facts, max_batch=1 if takes_one else None)
    )


def create_session(file: Path) -> Any:
    """A session of one thread, so that sums have one order. Weights that are stored small are unpacked once."""
    try:
        import onnxruntime
    except ImportError as problem:
        raise make_missing_extra("onnxruntime", "int8") from problem
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    try:
        return onnxruntime.InferenceSession(file.read_bytes(), options, providers=["CPUExecutionProvider"])
    except Exception as problem:  # onnxruntime has kinds of its own
        told = (str(problem).strip().splitlines() or [""])[0][:300]
        raise ArtifactError(f"onnxruntime cannot open the graph: {told}", where=str(file)) from problem


def _read_tokenizer(file: Path) -> Any:
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(file))
    except Exception as problem:  # a panic of Rust is no error of ours
        raise ArtifactError(f"{TOKENIZER_FILE} cannot be read", where=str(file)) from problem
