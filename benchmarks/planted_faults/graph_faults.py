"""Faults of an ONNX graph: its nodes and initializers changed, its inputs and outputs left as they are named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from planted_faults.faults import GRAPH, PlantedFault
from planted_faults.folders import ExportedFolder

MIN_MATRIX = 64  # elements of an initializer that is a weight


def change_graph(change: Callable[[Any], None]) -> Callable[[ExportedFolder], None]:
    """Another graph."""

    def plant(folder: ExportedFolder) -> None:
        model = onnx.load(str(folder.path / folder.model))
        change(model.graph)
        folder.replace(folder.model, model.SerializeToString())

    return plant


# ---- inputs
def replace_input(graph: Any, name: str, new: str) -> None:
    """Whoever reads an input reads another value."""
    for node in graph.node:
        for place, value in enumerate(node.input):
            if value == name:
                node.input[place] = new


def ignore_mask(graph: Any) -> None:
    """Padding is read like text."""
    replace_input(graph, "attention_mask", "planted_mask")
    ones = helper.make_tensor("planted_one", TensorProto.INT64, [1], [1])
    nodes = [
        helper.make_node("Shape", ["attention_mask"], ["planted_shape"]),
        helper.make_node("ConstantOfShape", ["planted_shape"], ["planted_mask"], value=ones),
    ]
    _insert_first(graph, nodes)


def shift_ids(graph: Any) -> None:
    """Every id is one less, as where a vocabulary lost its first row."""
    replace_input(graph, "input_ids", "planted_ids")
    graph.initializer.append(numpy_helper.from_array(np.array(1, dtype=np.int64), "planted_step"))
    zero = numpy_helper.from_array(np.array(0, dtype=np.int64), "planted_zero")
    graph.initializer.append(zero)
    nodes = [
        helper.make_node("Sub", ["input_ids", "planted_step"], ["planted_less"]),
        helper.make_node("Max", ["planted_less", "planted_zero"], ["planted_ids"]),
    ]
    _insert_first(graph, nodes)


def _insert_first(graph: Any, nodes: list[Any]) -> None:
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *rest])


# ---- outputs
def rename_output(graph: Any, name: str) -> str:
    """Free the name of an output; returns what the value is called now."""
    new = f"planted_{name}"
    for node in graph.node:
        for values in (node.input, node.output):
            for place, value in enumerate(values):
                if value == name:
                    values[place] = new
    return new


def permute_outputs(graph: Any) -> None:
    """Logits and probabilities in another order of the labels."""
    for name in [output.name for output in graph.output if output.name in ("logits", "probabilities")]:
        inner = rename_output(graph, name)
        count = next(o for o in graph.output if o.name == name).type.tensor_type.shape.dim[-1].dim_value
        order = numpy_helper.from_array(np.array([*range(1, count), 0], dtype=np.int64), f"planted_order_{name}")
        graph.initializer.append(order)
        graph.node.append(helper.make_node("Gather", [inner, order.name], [name], axis=-1))


def change_temperature(factor: float) -> Callable[[Any], None]:
    """Probabilities are those at another temperature."""

    def change(graph: Any) -> None:
        inner = rename_output(graph, "probabilities")
        value = numpy_helper.from_array(np.array(factor, dtype=np.float32), "planted_factor")
        graph.initializer.append(value)
        graph.node.extend(
            [
                helper.make_node("Log", [inner], ["planted_log"]),
                helper.make_node("Mul", ["planted_log", value.name], ["planted_scaled"]),
                helper.make_node("Softmax", ["planted_scaled"], ["probabilities"], axis=-1),
            ]
        )

    return change


def mix_batch(graph: Any) -> None:
    """A text's probabilities are drawn towards those of its batch."""
    inner = rename_output(graph, "probabilities")
    axes = numpy_helper.from_array(np.array([0], dtype=np.int64), "planted_axes")
    shares = [numpy_helper.from_array(np.array(v, dtype=np.float32), f"planted_share_{v}") for v in (0.9, 0.1)]
    graph.initializer.extend([axes, *shares])
    graph.node.extend(
        [
            helper.make_node("ReduceMean", [inner, axes.name], ["planted_mean"], keepdims=1),
            helper.make_node("Mul", [inner, shares[0].name], ["planted_own"]),
            helper.make_node("Mul", ["planted_mean", shares[1].name], ["planted_others"]),
            helper.make_node("Add", ["planted_own", "planted_others"], ["probabilities"]),
        ]
    )


def has_output(name: str) -> Callable[[ExportedFolder], bool]:
    """Whether the graph has that output, with one row for a text."""

    def tell(folder: ExportedFolder) -> bool:
        graph = onnx.load(str(folder.path / folder.model), load_external_data=False).graph
        found = [o for o in graph.output if o.name == name]
        return bool(found) and len(found[0].type.tensor_type.shape.dim) == 2

    return tell


# ---- weights
def list_matrices(graph: Any) -> list[Any]:
    """Initializers of float32 that are matrices, from the largest to the smallest."""
    found = [t for t in graph.initializer if t.data_type == TensorProto.FLOAT and len(t.dims) == 2]
    return sorted((t for t in found if np.prod(t.dims) >= MIN_MATRIX), key=lambda t: -int(np.prod(t.dims)))


def change_initializer(graph: Any, tensor: Any, change: Callable[[Any], Any]) -> None:
    """Other values in an initializer."""
    values = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array(change(values).astype(values.dtype), tensor.name))


def pick_inner(graph: Any) -> Any:
    """A weight of a layer: not an embedding, which is the largest."""
    matrices = list_matrices(graph)
    sizes = sorted({int(np.prod(t.dims)) for t in matrices}, reverse=True)
    repeated = [size for size in sizes if sum(int(np.prod(t.dims)) == size for t in matrices) > 1]
    return next(t for t in matrices if int(np.prod(t.dims)) == repeated[0])


def has_matrices(folder: ExportedFolder) -> bool:
    """Whether the graph holds weights of float32 layer by layer."""
    graph = onnx.load(str(folder.path / folder.model)).graph
    sizes = [int(np.prod(t.dims)) for t in list_matrices(graph)]
    return len(sizes) > len(set(sizes))


def lose_weight(graph: Any) -> None:
    """One matrix is all zeros."""
    change_initializer(graph, pick_inner(graph), np.zeros_like)


def scale_weight(graph: Any) -> None:
    """One matrix is 0.9 of itself."""
    change_initializer(graph, pick_inner(graph), lambda values: values * 0.9)


def flip_bit(graph: Any) -> None:
    """One exponent bit of the largest value of one matrix."""

    def change(values: Any) -> Any:
        flat = values.copy().reshape(-1)
        place = int(np.abs(flat).argmax())
        flat[place : place + 1] = (flat[place : place + 1].view(np.int32) ^ (1 << 23)).view(np.float32)
        return flat.reshape(values.shape)

    change_initializer(graph, pick_inner(graph), change)


def round_half(graph: Any) -> None:
    """Weights rounded to 16 bits, in a form that says it is exact."""
    for tensor in list_matrices(graph):
        change_initializer(graph, tensor, lambda values: values.astype(np.float16).astype(np.float32))


def change_epsilon(graph: Any) -> None:
    """LayerNorm's epsilon is 1e-3."""
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.name == "epsilon":
                attribute.f = 1e-3


def has_epsilon(folder: ExportedFolder) -> bool:
    """Whether layer normalisation is one node."""
    graph = onnx.load(str(folder.path / folder.model), load_external_data=False).graph
    return any(attribute.name == "epsilon" for node in graph.node for attribute in node.attribute)


# ---- eight bits
def list_codes(graph: Any) -> list[Any]:
    """Initializers of 8 bits."""
    return [
        t
        for t in graph.initializer
        if t.data_type in (TensorProto.INT8, TensorProto.UINT8) and np.prod(t.dims) >= MIN_MATRIX
    ]


def has_codes(folder: ExportedFolder) -> bool:
    """Whether weights are of 8 bits."""
    return bool(list_codes(onnx.load(str(folder.path / folder.model)).graph))


def saturate_codes(graph: Any) -> None:
    """Three in four steps are lost at both ends, as where one outlier column sets the scale of a matrix."""
    for tensor in list_codes(graph):
        middle = 128 if tensor.data_type == TensorProto.UINT8 else 0

        def change(values: Any, middle: int = middle) -> Any:
            return np.clip(values.astype(np.int32) - middle, -32, 31) + middle

        change_initializer(graph, tensor, change)


def coarsen_codes(graph: Any) -> None:
    """Four bits in the place of eight."""
    for tensor in list_codes(graph):
        change_initializer(graph, tensor, lambda values: (values.astype(np.int32) // 16) * 16)


GRAPHS, LOGITS = (GRAPH,), ("logits",)
NUMBERS = ("embedding", "layer", "pooled", "logits", "probabilities")
GRAPH_FAULTS = (
    PlantedFault("the graph ignores the mask", GRAPHS, ("batch",), change_graph(ignore_mask)),
    PlantedFault("ids are shifted by one", GRAPHS, NUMBERS, change_graph(shift_ids)),
    PlantedFault("outputs change places", GRAPHS, NUMBERS, change_graph(permute_outputs)),
    PlantedFault(
        "the graph lost the temperature",
        GRAPHS,
        ("probabilities",),
        change_graph(change_temperature(1.6)),
        suits=has_output("probabilities"),
    ),
    PlantedFault(
        "the graph has the temperature twice",
        GRAPHS,
        ("probabilities",),
        change_graph(change_temperature(0.6)),
        suits=has_output("probabilities"),
    ),
    PlantedFault(
        "answers depend on the batch", GRAPHS, ("batch",), change_graph(mix_batch), suits=has_output("probabilities")
    ),
    PlantedFault("a matrix of the graph is lost", GRAPHS, NUMBERS, change_graph(lose_weight), suits=has_matrices),
    PlantedFault("a matrix of the graph is scaled", GRAPHS, NUMBERS, change_graph(scale_weight), suits=has_matrices),
    PlantedFault(
        "an exponent bit of the graph is flipped", GRAPHS, NUMBERS, change_graph(flip_bit), suits=has_matrices
    ),
    PlantedFault("the graph is rounded to fp16", GRAPHS, NUMBERS, change_graph(round_half), suits=has_matrices),
    PlantedFault("the graph's epsilon is 1e-3", GRAPHS, NUMBERS, change_graph(change_epsilon), suits=has_epsilon),
    PlantedFault("8-bit weights are saturated", GRAPHS, NUMBERS, change_graph(saturate_codes), suits=has_codes),
    PlantedFault("4 bits for 8", GRAPHS, NUMBERS, change_graph(coarsen_codes), suits=has_codes),
)
