"""The exporter `gguf`: a causal fit for llama.cpp and Ollama."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from loratory.artifacts.manifests import Artifact
from loratory.errors import LoratoryError
from loratory.exporting.decoder_fits import check_decoder_fit
from loratory.protocols.exporters import ExportedModel, ExportTarget, ToleranceClass

FORMAT = "GGUF"
MEASURED_NOTE = "certificate.json measures the most exact of these files; of the others it knows the digests alone"


class GgufOptions(BaseModel):
    """Which files are written."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    types: tuple[Literal["f32", "f16", "q8_0"], ...] = Field(
        ("f16", "q8_0"), min_length=1, description="types of the weights, a file each"
    )


class GgufExporter:
    """Writes GGUF files with the tokenizer and the stops inside, a Modelfile, a grammar and the prompt."""

    summary: ClassVar[str] = "GGUF for llama.cpp and Ollama, with Modelfile, prompt and grammar"
    tolerance_class: ClassVar[ToleranceClass | None] = "reduced"
    exact_form: ClassVar[str | None] = None
    applies_temperature: ClassVar[bool] = True
    Options: ClassVar[type[BaseModel]] = GgufOptions

    def check_support(self, artifact: Artifact) -> LoratoryError | None:
        return check_decoder_fit(artifact, FORMAT)

    def export(self, artifact: Artifact, target: ExportTarget, options: GgufOptions) -> list[str]:
        from loratory.exporting.decoder_fits import load_decoder_fit
        from loratory.exporting.gguf.layout import prepare_gguf, write_gguf_folder

        prepared = prepare_gguf(load_decoder_fit(artifact), artifact.manifest)
        types = tuple(dict.fromkeys(options.types))
        with target.stage() as folder:
            notes = write_gguf_folder(folder, prepared, types)
        return [*notes, *([MEASURED_NOTE] if len(types) > 1 else [])]

    def open(self, folder: Path) -> ExportedModel:
        from loratory.exporting.gguf.model import open_gguf

        return open_gguf(folder)
