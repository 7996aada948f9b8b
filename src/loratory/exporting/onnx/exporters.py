"""The exporters `onnx`, `onnx-fp16`, `int8` and `int8-weights`: an encoder as one graph of ONNX."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from loratory.artifacts.manifests import MANIFEST, PREDICTOR_FILE, Artifact
from loratory.errors import LoratoryError, UnsupportedTask
from loratory.exporting.certificates.certificate import CERTIFICATE_FILE
from loratory.exporting.certificates.goldens import GOLDENS_FILE
from loratory.exporting.certificates.model_facts import ModelFacts, describe_model, unwrap
from loratory.exporting.onnx.graph_files import GRAPH_FILE, describe_graph, read_graph, save_graph, write_graph
from loratory.protocols import JSON, Predictor
from loratory.protocols.exporters import ExportedModel, ExportTarget, ToleranceClass

EXACT_FORM = "onnx"
MERGED = "merged"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")
CONFIG_FILE = "config.json"
GRAPH_PARTS: Mapping[str, str | None] = {
    "model": GRAPH_FILE,
    "tokenizer": "tokenizer.json",
    "head": None,  # it is in the graph
    "config": CONFIG_FILE,
}


class OnnxOptions(BaseModel):
    """There is nothing to choose."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def check_graph_support(artifact: Artifact) -> LoratoryError | None:
    """Fits of encoders with a head of their own; what reads pairs, writes or counts words is none."""
    kind = artifact.read_json(PREDICTOR_FILE)["predictor"] if artifact.has(PREDICTOR_FILE) else None
    if kind == "encoder":
        return None
    return UnsupportedTask(
        f"a fit of {kind} is no encoder with a head" if kind else "this folder holds no fit of an encoder",
        allowed="prototype, head, lora, qlora and full on an encoder",
        remedy="--contender NAME of one of these",
    )


class GraphExporter:
    """What all forms of the graph share: the fits that they take, and how they are opened."""

    applies_temperature: ClassVar[bool] = True
    exact_form: ClassVar[str | None] = EXACT_FORM
    Options: ClassVar[type[BaseModel]] = OnnxOptions

    def check_support(self, artifact: Artifact) -> LoratoryError | None:
        return check_graph_support(artifact)

    def open(self, folder: Path) -> ExportedModel:
        return open_graph(folder)


class OnnxExporter(GraphExporter):
    """The exact graph: adapter merged, head, temperature and names of labels inside."""

    summary: ClassVar[str] = "one graph from token ids to probabilities (fp32), for ONNX Runtime in any language"
    tolerance_class: ClassVar[ToleranceClass | None] = "exact"
    exact_form: ClassVar[str | None] = None  # it starts from the fit

    def export(self, artifact: Artifact, target: ExportTarget, options: OnnxOptions) -> list[str]:
        from loratory.backbones.pool import TorchBackbonePool
        from loratory.predictors import predictor_files

        predictor = predictor_files.load_predictor(artifact, TorchBackbonePool())
        with target.stage() as folder:
            write_exact_graph(folder, predictor)
        return []


class OnnxFp16Exporter(GraphExporter):
    """Weights in fp16, which are unpacked when the graph is opened; sums in fp32."""

    summary: ClassVar[str] = "the graph of onnx with its weights in fp16: half the size"
    tolerance_class: ClassVar[ToleranceClass | None] = "reduced"

    def export(self, artifact: Artifact, target: ExportTarget, options: OnnxOptions) -> list[str]:
        from loratory.exporting.onnx.weight_storage import store_as_fp16

        round_exact_graph(target, store_as_fp16, {})
        return []


class Int8WeightsExporter(GraphExporter):
    """Weights in int8 with a scale for each row, unpacked when the graph is opened; sums in fp32."""

    summary: ClassVar[str] = "the graph of onnx with int8 weights, a scale for each row: a quarter of the size"
    tolerance_class: ClassVar[ToleranceClass | None] = "quantised"

    def export(self, artifact: Artifact, target: ExportTarget, options: OnnxOptions) -> list[str]:
        from loratory.exporting.onnx.weight_storage import store_as_int8

        round_exact_graph(target, store_as_int8, {})
        return []


class Int8Exporter(GraphExporter):
    """Weights and activations in int8. The scale of activations is that of a whole call, so a row is always alone."""

    summary: ClassVar[str] = "dynamic int8 for CPUs: a quarter of the size, faster, one text a call"
    tolerance_class: ClassVar[ToleranceClass | None] = "quantised"

    def export(self, artifact: Artifact, target: ExportTarget, options: OnnxOptions) -> list[str]:
        from loratory.exporting.onnx.weight_storage import compute_in_int8

        round_exact_graph(target, compute_in_int8, {"max_batch": 1})
        return ["int8 takes one text a call: in a batch a neighbour's text would change an answer"]


def open_graph(folder: Path) -> ExportedModel:
    """An exported folder, by onnxruntime."""
    from loratory.exporting.onnx.graph_model import open_graph_model

    return open_graph_model(folder)


def write_exact_graph(folder: Path, predictor: Predictor) -> None:
    """Fill a staged folder: the graph, the tokenizer, and a config.json with the labels that the graph has."""
    from loratory.exporting.stock_layouts import write_stock_encoder
    from loratory.predictors.encoder import Encoder

    facts, (inner, _) = describe_model(predictor), unwrap(predictor)
    assert isinstance(inner, Encoder)
    with tempfile.TemporaryDirectory() as work:
        merged = Path(work) / MERGED
        write_stock_encoder(merged, inner, merge=True)
        write_graph(merged, folder / GRAPH_FILE, facts.temperature, inner.network.backbone.name)
        for name in (*TOKENIZER_FILES, CONFIG_FILE):
            if (merged / name).is_file():
                shutil.copyfile(merged / name, folder / name)
    _finish_graph(folder, facts, {})


def round_exact_graph(target: ExportTarget, store: Callable[[Path, Path], None], facts: Mapping[str, JSON]) -> None:
    """The certified graph of `onnx` in another storage; `facts` are what its reader must know beside."""
    exact = target.exact_member
    assert exact is not None, "a rounded form is made of the exact one"
    with target.stage() as folder:
        for file in sorted(exact.iterdir()):
            if file.name not in (GRAPH_FILE, CERTIFICATE_FILE, GOLDENS_FILE, MANIFEST, "README.md"):
                shutil.copyfile(file, folder / file.name)
        store(exact / GRAPH_FILE, folder / GRAPH_FILE)
        known = read_graph(exact / GRAPH_FILE).metadata_props[0].value
        _finish_graph(folder, ModelFacts.from_json(known), facts)


def _finish_graph(folder: Path, facts: ModelFacts, more: Mapping[str, JSON]) -> None:
    from loratory.exporting.onnx.graph_files import fix_batch

    graph: Any = read_graph(folder / GRAPH_FILE)
    describe_graph(graph, {**facts.to_dict(), "files": dict(GRAPH_PARTS), **more})
    if more.get("max_batch") == 1:
        fix_batch(graph)
    save_graph(graph, folder / GRAPH_FILE)
