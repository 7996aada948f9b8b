"""An encoder with its head and temperature as one ONNX graph, from token ids and mask to logits.

It is written in a process of its own, because the exporter replaces functions of torch while it works:
python -m loratory.exporting.transformers_js.classifier_graph FOLDER FILE
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from loratory.errors import BaseModelError
from loratory.exporting.encoder_fits import OTHER_FORMATS, EncoderFit
from loratory.predictors.heads import HEAD_FACTS_FILE, HEAD_WEIGHTS_FILE, PooledHead, TokenHead, load_head_tensors

SAMPLE_FILE = "sample.safetensors"  # beside the model: two rows, one of them padded, or the graph would have no mask
GRAPH_FACTS_FILE = "graph.json"  # beside the model: GraphFacts
INPUT_NAMES = ("input_ids", "attention_mask")
OUTPUT_NAME = "logits"
MAX_SAMPLE_WORDS = 6  # of the longer row


@dataclass(frozen=True)
class GraphFacts:
    """What the graph holds beside weights."""

    temperature: float
    labels: int
    max_tokens: int  # of a row
    closing: tuple[int, ...]  # the special tokens that end every row


class ClassifierGraph(nn.Module):
    """What the graph computes: logits divided by the temperature, so that their softmax is the fit's probabilities.

    transformers.js cuts a long text behind its special tokens, and so loses those that end a row. The graph puts them
    back at the end of a row of `max_tokens`, where a row that was cut rightly has them anyway.
    """

    def __init__(self, model: nn.Module, head: nn.Module | None, facts: GraphFacts) -> None:
        super().__init__()
        self.model, self.head, self.facts = model, head, facts

    @property
    def config(self) -> Any:
        """The configuration of the transformers model, which the exporter reads."""
        return self.model.config

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        """Ids and mask int64[B, T] -> logits float[B, L] of texts, or float[B, T, L] of tokens."""
        ids = self._close_rows(input_ids, attention_mask)
        output = self.model(input_ids=ids, attention_mask=attention_mask)
        logits = output.logits if self.head is None else self.head(output.last_hidden_state, attention_mask)
        return {OUTPUT_NAME: logits / self.facts.temperature}

    def _close_rows(self, ids: Tensor, mask: Tensor) -> Tensor:
        places = torch.arange(ids.shape[1], device=ids.device)
        first = self.facts.max_tokens - len(self.facts.closing)
        for place, token in enumerate(self.facts.closing, first):
            ids = torch.where((places == place) & (mask == 1), token, ids)
        return ids


def export_graph(stock: Path, fit: EncoderFit, file: Path) -> None:
    """Write the graph of a fit whose merged model lies in `stock`, as `stock_layouts` writes it.

    Raises BaseModelError where transformers' exporter does not take the architecture.
    """
    backbone: Any = fit.encoder.network.backbone.unquantized
    rows = [backbone.tokenizer.encode(" ".join("a" * words))[0] for words in (1, MAX_SAMPLE_WORDS)]
    sample = {name: backbone.build_inputs(rows)[name].cpu().contiguous() for name in INPUT_NAMES}
    save_file(sample, stock / SAMPLE_FILE)
    facts = GraphFacts(fit.temperature, len(fit.output_names), fit.encoder.max_row_tokens, find_closing_tokens(fit))
    (stock / GRAPH_FACTS_FILE).write_text(json.dumps(asdict(facts)), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-P", "-m", __name__, str(stock), str(file)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(part for part in sys.path if part)},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        told = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
        raise BaseModelError(
            f"{backbone.name} ({backbone.config.model_type}) cannot be written as an ONNX graph: {told[-1]}",
            where="base",
            allowed="encoders that transformers' ONNX exporter takes",
            remedy=OTHER_FORMATS,
        )


def find_closing_tokens(fit: EncoderFit) -> tuple[int, ...]:
    """The special tokens that the tokenizer puts behind a text."""
    tokenizer = fit.encoder.network.backbone.tokenizer.tokenizer
    bare, whole = (tokenizer("a", add_special_tokens=special)["input_ids"] for special in (False, True))
    start = next(k for k in range(len(whole)) if whole[k : k + len(bare)] == bare)
    return tuple(whole[start + len(bare) :])


def write_graph(model: nn.Module, sample: Mapping[str, Tensor], file: Path) -> None:
    """The graph of standard operators, batch and length dynamic; raises whatever the exporter does."""
    import onnx_ir
    import transformers.exporters

    onnx: Any = transformers.exporters
    with torch.no_grad():
        made = onnx.OnnxExporter().export(model, dict(sample), onnx.OnnxConfig(dynamic=True))
    onnx_ir.save(made.program.model if hasattr(made.program, "model") else made.program, str(file))


def load_graph(folder: Path) -> ClassifierGraph:
    """The module of a folder that `stock_layouts` wrote: a whole stock classifier, or a backbone with its head."""
    from transformers import AutoModel, AutoModelForSequenceClassification, AutoModelForTokenClassification

    raw = json.loads((folder / GRAPH_FACTS_FILE).read_text(encoding="utf-8"))
    facts = GraphFacts(**{**raw, "closing": tuple(raw["closing"])})
    head_facts = json.loads((folder / HEAD_FACTS_FILE).read_text(encoding="utf-8"))
    architecture = str(json.loads((folder / "config.json").read_text(encoding="utf-8"))["architectures"][0])
    opener: Any = AutoModel
    if head_facts["kind"] == "stock":
        per_token = architecture.endswith("ForTokenClassification")
        opener = AutoModelForTokenClassification if per_token else AutoModelForSequenceClassification
    model = opener.from_pretrained(
        str(folder), dtype=torch.float32, trust_remote_code=False, use_safetensors=True
    ).eval()
    if opener is not AutoModel:
        return ClassifierGraph(model, None, facts).eval()
    if getattr(model, "pooler", None) is not None:  # heads read the states
        model.pooler = None
    width = int(model.config.get_text_config().hidden_size)
    pooling = head_facts.get("pooling")
    head = PooledHead(width, facts.labels, pooling) if pooling else TokenHead(width, facts.labels)
    return ClassifierGraph(model, load_head_tensors(head, load_file(folder / HEAD_WEIGHTS_FILE)), facts).eval()


def main(folder: str, file: str) -> None:
    """From a model's folder with a sample in it; ends with the problem in one line."""
    try:
        write_graph(load_graph(Path(folder)), load_file(Path(folder) / SAMPLE_FILE), Path(file))
    except Exception as problem:
        told = str(problem).strip().splitlines() or [""]
        sys.exit(f"{type(problem).__name__}: {told[0][:300]}")


if __name__ == "__main__":
    main(*sys.argv[1:])
