"""model.onnx: written by the exporter's process, named, described, and read back without running anything foreign."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loratory.errors import ArtifactError, BaseModelError, make_missing_extra
from loratory.exporting.onnx import graph_export
from loratory.protocols import JSON

GRAPH_FILE = "model.onnx"
FACTS_KEY = "loratory"  # of the graph's metadata
AXES = ("batch", "length")
MAX_BYTES = 2**31 - 1  # of a graph with its weights inside: the limit of protocol buffers


def import_onnx() -> Any:
    """The package onnx; raises MissingExtra."""
    try:
        import onnx
    except ImportError as problem:
        raise make_missing_extra("onnx", "int8") from problem
    return onnx


def write_graph(folder: Path, file: Path, temperature: float, base: str) -> None:
    """Export the merged model in a folder; raises BaseModelError where the exporter fails, MissingExtra."""
    import_onnx()
    command = [sys.executable, "-P", "-m", graph_export.__name__, str(folder), str(file), repr(temperature)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(part for part in sys.path if part)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        told = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
        raise BaseModelError(
            f"{base} cannot be exported to ONNX: {told[-1]}",
            where="--to onnx",
            allowed="encoders that transformers' ONNX exporter takes",
            remedy="export to peft, which every LoRA fit has",
        )


def read_graph(file: Path) -> Any:
    """The graph; raises ArtifactError where it is none, or its weights lie in other files."""
    onnx = import_onnx()
    try:
        model = onnx.load(str(file), load_external_data=False)
    except Exception as problem:  # protocol buffers have errors of their own
        raise ArtifactError(
            f"this is no ONNX graph ({type(problem).__name__})", where=str(file), remedy="export the fit again"
        ) from problem
    for one in model.graph.initializer:
        if one.data_location == onnx.TensorProto.EXTERNAL or one.external_data:
            raise ArtifactError(
                f"the weights of {one.name!r} lie outside the graph, in a file that its author names",
                where=str(file),
                allowed="a graph with its weights inside",
                remedy="onnx.save(onnx.load(FILE), FILE) where the weights are, or export the fit again",
            )
    return model


def describe_graph(model: Any, facts: Mapping[str, JSON]) -> None:
    """Put what a reader needs into the graph's metadata, and names on its axes."""
    del model.metadata_props[:]
    onnx = import_onnx()
    onnx.helper.set_model_props(model, {FACTS_KEY: json.dumps(facts, ensure_ascii=False, sort_keys=True)})
    model.producer_name = "loratory"
    names = {}
    for dimension, axis in zip(model.graph.input[0].type.tensor_type.shape.dim, AXES, strict=True):
        names[dimension.dim_param] = axis
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param in names:
                dimension.dim_param = names[dimension.dim_param]


def fix_batch(model: Any) -> None:
    """Take one row at a time and no more: inputs and outputs begin with 1."""
    del model.graph.value_info[:]
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1


def save_graph(model: Any, file: Path) -> None:
    """Write the graph with its weights inside; raises BaseModelError where it is too large for that."""
    if model.ByteSize() > MAX_BYTES:
        raise BaseModelError(
            f"the graph has {model.ByteSize() / 2**30:.1f} GiB",
            where=str(file),
            allowed="2 GiB, the most that a file of protocol buffers holds",
            remedy="export to peft, or to int8-weights of a smaller base",
        )
    file.write_bytes(model.SerializeToString())
