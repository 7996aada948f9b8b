"""Weights of an ONNX graph in eight bits; sums stay in float32, so a text's answer does not depend on its company.

Matrices of products have a scale for each block of 32 inputs and each output: ONNX Runtime widens them once, when it
loads the graph. Rows of tables have a scale each, and are widened when they are read. Only standard operators are used.
Shapes: K inputs, N outputs, V rows, D width.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

BLOCK = 32  # inputs that share a scale
MIN_WEIGHTS = 512  # of a matrix that is rounded: a smaller one costs more in scales and operators than it saves
MAX_INT8 = 127
Floats = npt.NDArray[np.float32]


def round_weights(source: Path, file: Path) -> int:
    """Write the graph of `source` with rounded weights to `file`; returns how many matrices and tables were rounded.

    The last product, which gives the logits, stays as it is.
    """
    import onnx

    model = onnx.load(source)
    count = _round_graph(model)
    onnx.checker.check_model(model)
    onnx.save(model, file)
    return count


def _round_graph(model: ModelProto) -> int:
    from onnx import numpy_helper

    graph = model.graph
    weights = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    wide = {name for name, w in weights.items() if w.dtype == np.float32 and w.ndim == 2 and w.size >= MIN_WEIGHTS}
    products = [node for node in graph.node if node.op_type == "MatMul"]
    matrices = {node.input[1] for node in products[:-1]} & wide
    tables = {node.input[0] for node in graph.node if node.op_type == "Gather"} & wide
    used: dict[str, int] = {}
    for node in graph.node:
        for name in node.input:
            used[name] = used.get(name, 0) + 1
    matrices = {name for name in matrices if used[name] == 1}
    tables = {name for name in tables if used[name] == 1}
    made: list[NodeProto] = []
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in matrices:
            made += _widen_matrix(graph, node.input[1], weights[node.input[1]])
            node.input[1] += "_wide"
        if node.op_type == "Gather" and node.input[0] in tables:
            made += _widen_rows(graph, node, weights[node.input[0]])
            continue
        made.append(node)
    kept = [one for one in graph.initializer if one.name not in matrices | tables]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(made)
    graph.initializer.extend(kept)
    del graph.value_info[:]
    return len(matrices) + len(tables)


def round_blocks(matrix: Floats) -> tuple[npt.NDArray[np.int8], Floats]:
    """Int8[G, B, N] and scales float32[G, 1, N] of float32[K, N], K = G B; one block where 32 does not divide K."""
    inputs, outputs = matrix.shape
    size = BLOCK if inputs % BLOCK == 0 else inputs
    blocks = matrix.reshape(inputs // size, size, outputs)
    return _round_to_int8(blocks, np.abs(blocks).max(axis=1, keepdims=True))


def _round_to_int8(values: Floats, largest: Floats) -> tuple[npt.NDArray[np.int8], Floats]:
    scales = np.where(largest > 0, largest / MAX_INT8, 1).astype(np.float32)
    return np.rint(values / scales).astype(np.int8), scales


def _widen_matrix(graph: Any, name: str, matrix: Floats) -> list[NodeProto]:
    """Nodes that give float32[K, N] from constants: a runtime computes them once."""
    from onnx import TensorProto, helper

    rounded, scales = round_blocks(matrix)
    _add(graph, f"{name}_int8", rounded)
    _add(graph, f"{name}_scale", scales)
    _add(graph, f"{name}_shape", np.array(matrix.shape, dtype=np.int64))
    return [
        helper.make_node("Cast", [f"{name}_int8"], [f"{name}_cast"], to=TensorProto.FLOAT),
        helper.make_node("Mul", [f"{name}_cast", f"{name}_scale"], [f"{name}_scaled"]),
        helper.make_node("Reshape", [f"{name}_scaled", f"{name}_shape"], [f"{name}_wide"]),
    ]


def _widen_rows(graph: Any, gather: NodeProto, table: Floats) -> list[NodeProto]:
    """Nodes in the place of a look-up in float32[V, D]: rows of int8, each times its scale."""
    from onnx import TensorProto, helper

    name, ids, output = gather.input[0], gather.input[1], gather.output[0]
    rounded, scales = _round_to_int8(table, np.abs(table).max(axis=1, keepdims=True))
    _add(graph, f"{name}_int8", rounded)
    _add(graph, f"{name}_scale", scales)
    return [
        helper.make_node("Gather", [f"{name}_int8", ids], [f"{output}_int8"]),
        helper.make_node("Gather", [f"{name}_scale", ids], [f"{output}_scale"]),
        helper.make_node("Cast", [f"{output}_int8"], [f"{output}_cast"], to=TensorProto.FLOAT),
        helper.make_node("Mul", [f"{output}_cast", f"{output}_scale"], [output]),
    ]


def _add(graph: Any, name: str, values: npt.NDArray[Any]) -> None:
    from onnx import numpy_helper

    graph.initializer.append(numpy_helper.from_array(values, name))
