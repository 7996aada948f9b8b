"""The exporter `sentence-transformers`: the pooled head as a Dense layer behind pooling and normalisation."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from loratory.artifacts.manifests import Artifact
from loratory.errors import LoratoryError, UnsupportedTask
from loratory.exporting.encoder_fits import OTHER_FORMATS, check_encoder_fit, read_encoder_facts
from loratory.protocols.exporters import ExportedModel, ExportTarget, ToleranceClass

FORMAT = "sentence-transformers"


class SentenceTransformersOptions(BaseModel):
    """There is nothing to choose."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SentenceTransformersExporter:
    """Writes a folder whose `SentenceTransformer(folder).encode(texts)` gives the logits."""

    summary: ClassVar[str] = "modules of sentence-transformers: encode() gives the logits; a loader gives probabilities"
    tolerance_class: ClassVar[ToleranceClass | None] = "exact"
    exact_form: ClassVar[str | None] = None
    applies_temperature: ClassVar[bool] = True
    Options: ClassVar[type[BaseModel]] = SentenceTransformersOptions

    def check_support(self, artifact: Artifact) -> LoratoryError | None:
        """Of what encoder.json says: a pooled head, and texts that are read as one row."""
        facts = read_encoder_facts(artifact)
        if facts is not None and facts["head"]["kind"] != "pooled":
            return UnsupportedTask(
                f"modules of sentence-transformers cannot hold a {facts['head']['kind']} head: they pool the states of "
                "a text, normalise the vector and multiply it by a matrix",
                where=str(artifact.folder),
                allowed="classifiers with head: pooled",
                remedy=f"train a contender with head: pooled; or {OTHER_FORMATS}",
            )
        return check_encoder_fit(artifact, FORMAT)

    def export(self, artifact: Artifact, target: ExportTarget, options: SentenceTransformersOptions) -> list[str]:
        from loratory.exporting.encoder_fits import load_encoder_fit
        from loratory.exporting.sentence_transformers.layout import check_modules, write_modules

        fit = load_encoder_fit(artifact)
        check_modules(fit)
        with target.stage() as folder:
            write_modules(folder, fit, artifact.manifest)
        return fit.list_omissions()

    def open(self, folder: Path) -> ExportedModel:
        from loratory.exporting.sentence_transformers.model import open_modules

        return open_modules(folder)
