"""The exporter `peft`: the folders of PEFT and transformers as they lie beside a fit."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from loratory.artifacts.manifests import PREDICTOR_FILE, Artifact
from loratory.errors import ArtifactError, LoratoryError
from loratory.exporting.omissions import describe_stock_omissions
from loratory.predictors.calibrated import OPERATING_POINT_FILE
from loratory.predictors.span_rules import SPAN_RULES_FILE
from loratory.protocols.exporters import WRITER, ExportedModel, ExportTarget, ToleranceClass

MERGED_FOLDER = "merged"
STOCK_FOLDERS = ("adapter", MERGED_FOLDER, "README.md")  # and base_<L>
ARTIFACT_FILES = (  # what predictors/predictor_files.py reads
    PREDICTOR_FILE,
    "task.json",
    "labels.json",
    "encoder.json",
    "head.safetensors",
    "decoder.json",
    "prompt.yaml",
    OPERATING_POINT_FILE,
    SPAN_RULES_FILE,
)


class PeftOptions(BaseModel):
    """There is nothing to choose."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class PeftExporter:
    """Copies what stock libraries open, and what makes the copy an artifact of ours."""

    summary: ClassVar[str] = "adapter/ for PEFT over base_<L>/, merged/ for transformers, and a model card"
    tolerance_class: ClassVar[ToleranceClass | None] = "exact"
    applies_temperature: ClassVar[bool] = True
    exact_form: ClassVar[str | None] = None
    Options: ClassVar[type[BaseModel]] = PeftOptions

    def select_tolerance_class(self, head: str) -> ToleranceClass:
        """The merged weights of a model that writes are bfloat16, as such bases are published."""
        return "reduced" if head == WRITER else "exact"

    def check_support(self, artifact: Artifact) -> LoratoryError | None:
        if any(name.startswith(f"{MERGED_FOLDER}/") for name in artifact.manifest["files"]):
            return None
        return ArtifactError(
            "this fit has no files that PEFT and transformers open",
            where=str(artifact.folder),
            allowed="a fit of lora, qlora or a trained causal base; loratory run writes these files beside it",
            remedy="--contender NAME of one of these",
        )

    def export(self, artifact: Artifact, target: ExportTarget, options: PeftOptions) -> list[str]:
        artifact.check_all()
        with target.stage() as folder:
            for name in filter(_is_stock, artifact.manifest["files"]):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(artifact.read(name))
        return describe_stock_omissions(artifact)

    def open(self, folder: Path) -> ExportedModel:
        from loratory.exporting.stock_facts import read_reader_facts
        from loratory.exporting.stock_models import open_stock_model

        return open_stock_model(folder / MERGED_FOLDER, read_reader_facts(folder, MERGED_FOLDER))


def _is_stock(name: str) -> bool:
    top = name.partition("/")[0]
    return top in (*STOCK_FOLDERS, *ARTIFACT_FILES) or top.startswith("base_")
