"""A backbone as an int8 graph of ONNX Runtime. It is written in a process of its own: the exporter replaces functions
of torch while it works, which nobody else should meet, and what it imports is not needed to answer.

python -m loratory.backbones.forward.int8_export FOLDER FILE encoder|nli whole|reduced
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file
from torch import Tensor

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SAMPLE_FILE = "sample.safetensors"  # beside the model: inputs with padding, or the graph would have no mask


def export_graph(model: PreTrainedModel, sample: Mapping[str, Tensor], file: Path, reduce_range: bool) -> None:
    """The graph from a model's inputs to its first output, weights inside; raises whatever the exporter does.

    Weights have a scale for each output channel, activations one for each tensor. `reduce_range` leaves a bit of the
    weights out, for processors whose sums of two products have 16 bits.
    """
    import onnx_ir
    import transformers.exporters

    onnx: Any = transformers.exporters
    if getattr(model, "pooler", None) is not None:  # heads read the states
        model.pooler = None  # type: ignore[assignment]
    weights = onnx.OnnxRuntimeDynamicConfig(per_channel=True, reduce_range=reduce_range)
    config = onnx.OnnxConfig(dynamic=True, ort_fusions="cpu", quantizer=onnx.OnnxRuntimeQuantizer(weights))
    with torch.no_grad():
        made = onnx.OnnxExporter().export(model, dict(sample), config)
    onnx_ir.save(made.program, str(file))


def main(folder: str, file: str, kind: str, bits: str) -> None:
    """From a model's folder with a sample in it; ends with the problem in one line."""
    from transformers import AutoModel, AutoModelForSequenceClassification

    opener: Any = AutoModelForSequenceClassification if kind == "nli" else AutoModel
    try:
        model = opener.from_pretrained(folder, dtype=torch.float32, trust_remote_code=False, use_safetensors=True)
        export_graph(model.eval(), load_file(Path(folder) / SAMPLE_FILE), Path(file), bits == "reduced")
    except Exception as problem:
        told = str(problem).strip().splitlines() or [""]
        sys.exit(f"{type(problem).__name__}: {told[0][:300]}")


if __name__ == "__main__":
    main(*sys.argv[1:])
