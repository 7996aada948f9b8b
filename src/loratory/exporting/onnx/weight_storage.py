"""The weights of an exact graph in fewer bits.

Shapes: a weight [I, O] of a product, [V, D] of a table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loratory.backbones.forward.int8 import weight_bits
from loratory.exporting.onnx.graph_files import import_onnx, read_graph, save_graph

MIN_ELEMENTS = 1024  # smaller tensors stay as they are: biases and scales cost nothing
MAX_FP16 = 65504.0
INT8_STEPS = 127
Weights = NDArray[np.float32]


def store_as_fp16(source: Path, file: Path) -> None:
    """Every large weight as fp16, with a cast back to fp32 that runtimes fold when they open the graph."""
    _replace_weights(source, file, _pack_fp16)


def store_as_int8(source: Path, file: Path) -> None:
    """Weights of products and tables as int8, one scale for each output or row of a table; symmetric."""
    _replace_weights(source, file, _pack_int8)


def compute_in_int8(source: Path, file: Path) -> None:
    """Products in int8: weights with a scale for each output, activations with one that each call finds."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = read_graph(source)
    del model.graph.value_info[:]  # the quantiser turns weights round, and would take the old shapes for true
    save_graph(model, file)
    quantize_dynamic(
        str(file), str(file), per_channel=True, reduce_range=weight_bits() == 7, weight_type=QuantType.QInt8
    )


def _replace_weights(source: Path, file: Path, pack: Callable[..., Any]) -> None:
    onnx = import_onnx()
    model = read_graph(source)
    axes = _find_output_axes(model)
    nodes = []
    for one in list(model.graph.initializer):
        if one.data_type != onnx.TensorProto.FLOAT:
            continue
        weights = onnx.numpy_helper.to_array(one)
        made = pack(one.name, weights, axes) if weights.size >= MIN_ELEMENTS else None
        if made is None:
            continue
        model.graph.initializer.remove(one)
        tensors, node = made
        model.graph.initializer.extend(tensors)
        nodes.append(node)
    kept = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *kept])
    save_graph(model, file)


def _find_output_axes(model: Any) -> Mapping[str, int]:
    """The axis of each weight along which a scale is chosen: its outputs in a product, its rows in a table."""
    found: dict[str, int] = {}
    for node in model.graph.node:
        if node.op_type == "Gather":
            found[node.input[0]] = 0
        elif node.op_type == "MatMul":
            found[node.input[1]] = -1
        elif node.op_type == "Gemm":
            transposed = any(one.name == "transB" and one.i for one in node.attribute)
            found[node.input[1]] = 0 if transposed else -1
        elif node.op_type == "Transpose" and node.input[0] not in found:
            found[node.input[0]] = 0  # a weight as torch holds it: [O, I]
    return found


def _pack_fp16(name: str, weights: Weights, axes: Mapping[str, int]) -> Any:
    if np.abs(weights).max() > MAX_FP16:
        return None
    onnx = import_onnx()
    stored = onnx.numpy_helper.from_array(weights.astype(np.float16), f"{name}.fp16")
    return [stored], onnx.helper.make_node("Cast", [stored.name], [name], to=onnx.TensorProto.FLOAT)


def _pack_int8(name: str, weights: Weights, axes: Mapping[str, int]) -> Any:
    if weights.ndim != 2 or name not in axes:
        return None
    onnx, axis = import_onnx(), axes[name] % 2
    largest = np.abs(weights).max(axis=1 - axis)
    scales = np.where(largest > 0, largest / INT8_STEPS, 1.0).astype(np.float32)
    spread = scales[:, None] if axis == 0 else scales[None]
    steps = np.clip(np.rint(weights / spread), -INT8_STEPS, INT8_STEPS).astype(np.int8)
    tensors = [
        onnx.numpy_helper.from_array(steps, f"{name}.int8"),
        onnx.numpy_helper.from_array(scales, f"{name}.scale"),
    ]
    node = onnx.helper.make_node("DequantizeLinear", [one.name for one in tensors], [name], axis=axis)
    return tensors, node
