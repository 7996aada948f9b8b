"""Weights of a graph in eight bits: what is rounded, what is not, and by how much."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the extra int8 is not installed")
pytest.importorskip("onnxruntime", reason="the extra int8 is not installed")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from loratory.exporting.transformers_js.weight_rounding import BLOCK, round_blocks, round_weights  # noqa: E402

VOCABULARY, WIDTH, HIDDEN, LABELS = 40, 64, 48, 20


def make_graph(file: Path) -> dict[str, np.ndarray[Any, Any]]:
    """ids -> table -> product -> product of the head -> logits."""
    rng = np.random.default_rng(1)
    weights = {
        "table": rng.normal(size=(VOCABULARY, WIDTH)),
        "hidden": rng.normal(size=(WIDTH, HIDDEN)),
        "head": rng.normal(size=(HIDDEN, LABELS)),
    }
    weights = {name: w.astype(np.float32) for name, w in weights.items()}
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"]),
        helper.make_node("MatMul", ["rows", "hidden"], ["states"]),
        helper.make_node("MatMul", ["states", "head"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["B", "T"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["B", "T", LABELS])],
        [numpy_helper.from_array(w, name) for name, w in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), file)
    return weights


def run(file: Path, ids: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"ids": ids})[0])


def test_the_graph_computes_with_weights_that_are_rounded_and_nothing_else(tmp_path: Path) -> None:
    weights = make_graph(tmp_path / "a.onnx")
    assert round_weights(tmp_path / "a.onnx", tmp_path / "b.onnx") == 2
    ids = np.arange(12).reshape(2, 6)
    table = weights["table"]
    scale = np.abs(table).max(1, keepdims=True) / 127
    hidden = weights["hidden"].reshape(2, BLOCK, HIDDEN)
    step = np.abs(hidden).max(1, keepdims=True) / 127
    rows, wide = np.rint(table / scale) * scale, (np.rint(hidden / step) * step).reshape(WIDTH, HIDDEN)
    assert np.abs(run(tmp_path / "b.onnx", ids) - rows[ids] @ wide @ weights["head"]).max() < 1e-3
    assert np.abs(run(tmp_path / "a.onnx", ids) - run(tmp_path / "b.onnx", ids)).max() > 1e-3
    kept = {one.name for one in onnx.load(tmp_path / "b.onnx").graph.initializer}
    assert "head" in kept
    assert not {"table", "hidden"} & kept


def test_a_rounded_weight_is_off_by_half_a_step_at_most() -> None:
    matrix = np.random.default_rng(2).normal(size=(96, 7)).astype(np.float32)
    matrix[:32, 3] = 0  # a block of zeros has no scale of its own
    matrix[40, 5] = 50  # an outlier spoils its own block of 32, not its column
    rounded, scales = round_blocks(matrix)
    wide = (rounded * scales).reshape(matrix.shape)
    assert (np.abs(wide - matrix) <= np.repeat(scales[:, 0], 32, axis=0) / 2 + 1e-6).all()
    assert np.abs(wide - matrix)[64:, 5].max() < 0.02


def test_inputs_that_32_does_not_divide_share_one_scale() -> None:
    rounded, scales = round_blocks(np.ones((33, 2), dtype=np.float32))
    assert rounded.shape == (1, 33, 2)
    assert scales.shape == (1, 1, 2)


def test_a_weight_that_two_nodes_read_stays(tmp_path: Path) -> None:
    make_graph(tmp_path / "a.onnx")
    model = onnx.load(tmp_path / "a.onnx")
    model.graph.node.append(helper.make_node("Identity", ["hidden"], ["again"]))
    onnx.save(model, tmp_path / "c.onnx")
    assert round_weights(tmp_path / "c.onnx", tmp_path / "d.onnx") == 1
