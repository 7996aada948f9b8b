"""What teams write by hand: FastAPI around transformers' pipeline, and around ONNX Runtime with int8 weights.

pip install fastapi onnx onnxruntime onnxscript
python benchmarks/rivals.py pipeline PORT FOLDER       one merged classifier as transformers opens it
python benchmarks/rivals.py onnx PORT FOLDER ...       an int8 model for each task; onnx-calm: without spinning threads
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel


class Query(BaseModel):
    """A request."""

    text: str


def pipeline_app(folder: Path) -> FastAPI:
    """Around transformers' pipeline."""
    from transformers import pipeline

    app, classify = FastAPI(), pipeline("text-classification", model=str(folder))

    @app.post("/predict/")
    async def predict(query: Query) -> dict[str, Any]:
        (one,) = classify(query.text)
        return {"label": one["label"], "score": one["score"]}

    return app


def onnx_app(folders: list[Path], calm: bool) -> FastAPI:
    """Around a session for each task; `calm`: their threads do not spin while they wait for work."""
    import json

    import numpy as np
    import onnxruntime as ort
    from transformers import AutoTokenizer

    app, options = FastAPI(), ort.SessionOptions()
    options.intra_op_num_threads = 2
    if calm:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    sessions = [ort.InferenceSession(str(f / "model.onnx"), options) for f in folders]
    tokenizer = AutoTokenizer.from_pretrained(str(folders[0]))
    labels = [json.loads((f / "config.json").read_text())["id2label"] for f in folders]
    wanted = [{i.name for i in s.get_inputs()} for s in sessions]

    @app.post("/tasks/{number}/predict")
    async def predict(number: int, query: Query) -> dict[str, Any]:
        made = tokenizer(query.text, truncation=True, max_length=256, return_tensors="np")
        fed = {name: value.astype(np.int64) for name, value in made.items() if name in wanted[number]}
        logits = sessions[number].run(None, fed)[0][0]
        odds = np.exp(logits - logits.max())
        best = int(odds.argmax())
        return {"label": labels[number][str(best)], "score": float(odds[best] / odds.sum())}

    return app


def quantise(folder: Path, output: Path) -> Path:
    """A merged classifier as an int8 ONNX graph, by transformers' own exporter."""
    import torch
    import transformers.exporters
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    onnx: Any = transformers.exporters
    model = AutoModelForSequenceClassification.from_pretrained(str(folder)).eval()
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    sample = tokenizer(
        ["where is my card", "a longer text, so that there is padding"], padding=True, return_tensors="pt"
    )
    quantizer = onnx.OnnxRuntimeQuantizer(onnx.OnnxRuntimeDynamicConfig(per_channel=True))
    with torch.no_grad():
        config = onnx.OnnxConfig(dynamic=True, ort_fusions="cpu", quantizer=quantizer)
        made = onnx.OnnxExporter().export(model, dict(sample), config)
    made.save_pretrained(str(output))
    tokenizer.save_pretrained(str(output))
    model.config.save_pretrained(str(output))
    return output


if __name__ == "__main__":
    kind, port, *folders = sys.argv[1:]
    paths = [Path(folder) for folder in folders]
    app = pipeline_app(paths[0]) if kind == "pipeline" else onnx_app(paths, kind == "onnx-calm")
    uvicorn.run(app, port=int(port), log_level="warning", access_log=False)
