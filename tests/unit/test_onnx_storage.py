"""Weights of a graph in fewer bits: what is stored, what a runtime computes from it, and what the graph says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from loratory.errors import ArtifactError, BaseModelError
from loratory.exporting.onnx import graph_files
from loratory.exporting.onnx.graph_model import open_graph_model
from loratory.exporting.onnx.weight_storage import compute_in_int8, store_as_fp16, store_as_int8

WORDS, WIDTH, LABELS = 64, 48, 32


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """Ids [batch, length] to a table, a product and a layer with a transposed weight."""
    generator = np.random.default_rng(1)
    table, product, layer = (
        generator.normal(size=shape).astype(np.float32) for shape in ((WORDS, WIDTH), (WIDTH, WIDTH), (LABELS, WIDTH))
    )
    bias = generator.normal(size=LABELS).astype(np.float32)
    tensors = [
        onnx.numpy_helper.from_array(one, name)
        for one, name in ((table, "table"), (product, "product"), (layer, "layer"), (bias, "bias"))
    ]
    make = onnx.helper.make_node
    nodes = [
        make("Gather", ["table", "input_ids"], ["states"]),
        make("MatMul", ["states", "product"], ["mixed"]),
        make("ReduceMean", ["mixed"], ["pooled"], axes=[1], keepdims=0),
        make("Gemm", ["pooled", "layer", "bias"], ["logits"], transB=1),
    ]
    given = onnx.helper.make_tensor_value_info("input_ids", onnx.TensorProto.INT64, ["s1", "s2"])
    made = onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["s1", LABELS])
    shapes = [onnx.helper.make_tensor_value_info(one.name, onnx.TensorProto.FLOAT, one.dims) for one in tensors]
    model = onnx.helper.make_model(
        onnx.helper.make_graph(nodes, "g", [given], [made], tensors, value_info=shapes),
        opset_imports=[onnx.helper.make_opsetid("", 17)],
        ir_version=8,
    )
    graph_files.save_graph(model, tmp_path / "exact.onnx")
    return tmp_path / "exact.onnx"


def run(file: Path, ids: Any) -> Any:
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return session.run(None, {"input_ids": np.asarray(ids, dtype=np.int64)})[0]


@pytest.mark.parametrize(
    ("store", "size", "off"), [(store_as_fp16, 0.6, 2e-3), (store_as_int8, 0.4, 0.02), (compute_in_int8, 0.45, 0.1)]
)
def test_a_graph_in_fewer_bits_gives_nearly_the_same(
    graph: Path, tmp_path: Path, store: Callable[[Path, Path], None], size: float, off: float
) -> None:
    small = tmp_path / "small.onnx"
    store(graph, small)
    onnx.checker.check_model(onnx.load(str(small)), full_check=True)
    assert small.stat().st_size < size * graph.stat().st_size
    ids = [[1, 2, 3, 4]]
    exact, found = run(graph, ids), run(small, ids)
    assert 0 < np.abs(found - exact).max() < off * np.abs(exact).max()


def grow_row(graph: Path, row: int) -> None:
    """A table with one row a thousand times as large as the others."""
    model = graph_files.read_graph(graph)
    (table,) = [one for one in model.graph.initializer if one.name == "table"]
    values = onnx.numpy_helper.to_array(table).copy()
    values[row] *= 1000
    table.CopyFrom(onnx.numpy_helper.from_array(values, "table"))
    graph_files.save_graph(model, graph)


def test_a_large_row_does_not_round_its_neighbours(graph: Path, tmp_path: Path) -> None:
    exact = run(graph, [[1, 2, 3, 4]])
    grow_row(graph, 7)
    store_as_int8(graph, tmp_path / "rows.onnx")
    assert np.abs(run(tmp_path / "rows.onnx", [[1, 2, 3, 4]]) - exact).max() < 0.02 * np.abs(exact).max()
    table = {
        one.name: onnx.numpy_helper.to_array(one) for one in onnx.load(str(tmp_path / "rows.onnx")).graph.initializer
    }
    assert table["table.scale"].shape == (WORDS,)
    assert table["table.scale"][7] > 100 * np.delete(table["table.scale"], 7).max()
    assert table["product.scale"].shape == (WIDTH,)
    assert table["layer.scale"].shape == (LABELS,)
    assert "bias" in table
    assert np.abs(table["table.int8"]).max(axis=1).min() == 127


def test_rows_of_stored_weights_do_not_depend_on_their_batch(graph: Path, tmp_path: Path) -> None:
    store_as_int8(graph, tmp_path / "rows.onnx")
    both = run(tmp_path / "rows.onnx", [[1, 2, 3, 4], [7, 7, 7, 7]])
    assert np.abs(both[0] - run(tmp_path / "rows.onnx", [[1, 2, 3, 4]])[0]).max() < 1e-4


def test_values_that_fp16_cannot_hold_stay(graph: Path, tmp_path: Path) -> None:
    model = graph_files.read_graph(graph)
    (table,) = [one for one in model.graph.initializer if one.name == "table"]
    table.CopyFrom(onnx.numpy_helper.from_array(np.full((WORDS, WIDTH), 1e6, dtype=np.float32), "table"))
    graph_files.save_graph(model, graph)
    store_as_fp16(graph, tmp_path / "half.onnx")
    names = {one.name for one in onnx.load(str(tmp_path / "half.onnx")).graph.initializer}
    assert {"table", "product.fp16"} <= names


def test_a_graph_says_how_it_is_read_and_may_take_one_row(graph: Path) -> None:
    model = graph_files.read_graph(graph)
    graph_files.describe_graph(model, {"labels": ["a"]})
    assert [one.dim_param for one in model.graph.input[0].type.tensor_type.shape.dim] == ["batch", "length"]
    assert model.graph.output[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert json.loads(model.metadata_props[0].value) == {"labels": ["a"]}
    graph_files.fix_batch(model)
    graph_files.save_graph(model, graph)
    assert run(graph, [[1, 2]]).shape == (1, LABELS)
    with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument):
        run(graph, [[1, 2], [3, 4]])


def test_a_graph_that_is_too_large_is_told(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph_files, "MAX_BYTES", 100)
    with pytest.raises(BaseModelError, match="GiB"):
        graph_files.save_graph(graph_files.read_graph(graph), graph)


@pytest.mark.parametrize("facts", [None, "{", '{"labels": []}', "[]"])
def test_a_graph_that_does_not_describe_itself(graph: Path, facts: str | None) -> None:
    model = graph_files.read_graph(graph)
    if facts is not None:
        onnx.helper.set_model_props(model, {graph_files.FACTS_KEY: facts})
    graph_files.save_graph(model, graph.with_name("model.onnx"))
    graph.with_name("tokenizer.json").write_text("{}")
    with pytest.raises(ArtifactError, match="does not describe"):
        open_graph_model(graph.parent)
    with pytest.raises(ArtifactError, match=r"no model\.onnx"):
        open_graph_model(graph.parent / "nowhere")
