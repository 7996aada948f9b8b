"""The exporter `transformers-js`: an encoder with its head for @huggingface/transformers, and a page that runs it."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from loratory.artifacts.manifests import Artifact
from loratory.errors import LoratoryError
from loratory.exporting.encoder_fits import check_encoder_fit, load_encoder_fit
from loratory.protocols.exporters import ExportedModel, ExportTarget, ToleranceClass

FORMAT = "transformers.js"
RUNTIME_NOTE = (
    "index.html needs the files of transformers.js to run: npm install --ignore-scripts --prefix js "
    "@huggingface/transformers, then export again with --set runtime=js/node_modules"
)


QUANTIZED_NOTE = (
    "certificate.json measures onnx/model.onnx; "
    "of onnx/model_quantized.onnx it knows the digest alone: --to int8-weights "
    "certifies rounded weights on the test split"
)


class TransformersJsOptions(BaseModel):
    """What is written beside the model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    quantized: bool = Field(True, description="write onnx/model_quantized.onnx too: weights in eight bits")
    runtime: Path | None = Field(
        None, description="a folder node_modules with @huggingface/transformers: its files are copied beside the page"
    )


class TransformersJsExporter:
    """Writes a folder from which `pipeline('text-classification')` or `('token-classification')` answers."""

    summary: ClassVar[str] = "transformers.js in Node and the browser: ONNX with head and temperature, and a page"
    tolerance_class: ClassVar[ToleranceClass | None] = "exact"
    exact_form: ClassVar[str | None] = None
    applies_temperature: ClassVar[bool] = True
    Options: ClassVar[type[BaseModel]] = TransformersJsOptions

    def check_support(self, artifact: Artifact) -> LoratoryError | None:
        return check_encoder_fit(artifact, FORMAT)

    def export(self, artifact: Artifact, target: ExportTarget, options: TransformersJsOptions) -> list[str]:
        from loratory.exporting.transformers_js.layout import check_architecture, find_runtime, write_pipeline_folder

        runtime = find_runtime(options.runtime) if options.runtime else {}
        fit = load_encoder_fit(artifact)
        check_architecture(fit)
        with target.stage() as folder:
            notes = write_pipeline_folder(folder, fit, artifact.manifest, options.quantized, runtime)
        uncertified = [QUANTIZED_NOTE] if options.quantized else []
        return [*notes, *uncertified, *([] if runtime else [RUNTIME_NOTE]), *fit.list_omissions()]

    def open(self, folder: Path) -> ExportedModel:
        """The float32 graph; `transformers_js_model.open_graph` opens the other one."""
        from loratory.exporting.transformers_js.model import open_graph

        return open_graph(folder)
