"""A merged model as one ONNX graph, from token ids to probabilities.

It is written in a process of its own: the exporter replaces functions of torch while it works.

python -m loratory.exporting.onnx.graph_export FOLDER FILE TEMPERATURE
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from loratory.exporting.form_heads import FormHead
from loratory.exporting.stock_models import open_stock_model

INPUTS = ("input_ids", "attention_mask")
LAYER_OUTPUT = "hidden_states."  # and a number: 0 is what the embedding gives
SAMPLE_LENGTHS = (4, 9)  # tokens of two rows: with no padding among them the graph would have no mask


class GraphModule(nn.Module):
    """What becomes the graph. Inputs int64[B, T]; outputs by name, float32."""

    def __init__(self, model: Any, head: FormHead | None, temperature: float) -> None:
        super().__init__()
        self.model, self.config = model, model.config
        self.pooling = None if head is None else head.pooling
        self.has_head = head is not None
        self.temperature = temperature
        for name, tensor in ({} if head is None else head.tensors).items():
            self.register_buffer(name.replace(".", "_"), tensor)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        """Probabilities, logits float[B, L] or float[B, T, L], pooled float[B, D], and every layer float[B, T, D]."""
        outputs = self.model(input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=True)
        layers = list(outputs.hidden_states)
        pooled, logits = None, outputs.logits if "logits" in outputs else None
        if "last_hidden_state" in outputs:
            layers[-1] = outputs.last_hidden_state
        if self.has_head:
            pooled, logits = self._collect_head().apply(layers[-1], attention_mask)
        assert logits is not None
        made = {"probabilities": (logits / self.temperature).softmax(-1), "logits": logits}
        if pooled is not None:
            made["pooled"] = pooled
        return {**made, **{f"{LAYER_OUTPUT}{at}": layer for at, layer in enumerate(layers)}}

    def _collect_head(self) -> FormHead:
        names = ("prototypes", "log_scale", "bias") if self.pooling else ("classifier.weight", "classifier.bias")
        return FormHead({name: getattr(self, name.replace(".", "_")) for name in names}, self.pooling)


def build_sample(pad_id: int, vocabulary: int) -> dict[str, Tensor]:
    """Two rows of which one is padded."""
    longest = max(SAMPLE_LENGTHS)
    word = 1 if pad_id != 1 and vocabulary > 1 else 0
    mask = torch.tensor([[1] * length + [0] * (longest - length) for length in SAMPLE_LENGTHS])
    return {"input_ids": torch.where(mask.bool(), word, pad_id), "attention_mask": mask}


def export_graph(folder: Path, file: Path, temperature: float) -> None:
    """From a merged folder, its head beside it where no stock class has that, to a graph with its weights inside.

    Raises whatever the exporter does.
    """
    import onnx_ir
    import transformers.exporters

    onnx: Any = transformers.exporters
    stock = open_stock_model(folder)
    if stock.head is not None and getattr(stock.model, "pooler", None) is not None:
        stock.model.pooler = None  # the head reads the states
    module = GraphModule(stock.model, stock.head, temperature).eval()
    sample = build_sample(stock.tokenizer.pad_token_id or 0, len(stock.tokenizer))
    with torch.no_grad():
        made = onnx.OnnxExporter().export(module, sample, onnx.OnnxConfig(dynamic=True))
    onnx_ir.save(made.program, str(file))


def main(folder: str, file: str, temperature: str) -> None:
    """Ends with the problem in one line."""
    try:
        export_graph(Path(folder), Path(file), float(temperature))
    except Exception as problem:
        told = str(problem).strip().splitlines() or [""]
        sys.exit(f"{type(problem).__name__}: {told[0][:300]}")


if __name__ == "__main__":
    main(*sys.argv[1:])
