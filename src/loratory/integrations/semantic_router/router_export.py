"""The exporter `router`: a fit in the layout of vLLM's semantic router."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from loratory.artifacts.manifests import PREDICTOR_FILE, Artifact
from loratory.artifacts.verified_files import open_files
from loratory.errors import ArtifactError, LoratoryError
from loratory.exporting.omissions import describe_omissions
from loratory.integrations.semantic_router.router_names import (
    MERGED_SUFFIX,
    make_missing_adapter_error,
    make_missing_head_error,
)
from loratory.protocols.exporters import ExportedModel, ExportTarget, ToleranceClass

ROUTER_ORDER_WARNING = (
    "the router takes a task's first folder in the order of names: let it walk one with the _rust twins alone"
)


class RouterOptions(BaseModel):
    """Which of the router's tasks a fit is for, and what is written of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task_name: Literal["intent", "pii", "jailbreak"] | None = Field(
        None, description="the router's task; may be left out where one alone fits"
    )
    merged_only: bool = Field(False, description="leave the adapter's own folder out, as the router needs it")


class RouterExporter:
    """Writes the adapter's folder and its merged twin under the router's names (docs/router.md)."""

    summary: ClassVar[str] = "vLLM's semantic router: the adapter for PEFT, and a merged copy"
    tolerance_class: ClassVar[ToleranceClass | None] = "exact"
    applies_temperature: ClassVar[bool] = False
    exact_form: ClassVar[str | None] = None
    Options: ClassVar[type[BaseModel]] = RouterOptions

    def check_support(self, artifact: Artifact) -> LoratoryError | None:
        """Of what encoder.json says: a LoRA adapter, and a head that a stock class has."""
        kind = artifact.read_json(PREDICTOR_FILE)["predictor"] if artifact.has(PREDICTOR_FILE) else None
        facts = artifact.read_json("encoder.json") if kind == "encoder" else {}
        if not facts.get("adapter"):
            return make_missing_adapter_error()
        is_stock = facts.get("prefix") or facts["head"]["kind"] == "stock"
        return None if is_stock else make_missing_head_error()

    def export(self, artifact: Artifact, target: ExportTarget, options: RouterOptions) -> list[str]:
        from loratory.backbones.pool import TorchBackbonePool
        from loratory.integrations.semantic_router.router_layout import (
            check_router_fit,
            list_export_notes,
            write_merged_model,
            write_router_adapter,
        )
        from loratory.predictors import predictor_files

        fit = check_router_fit(predictor_files.load_uncalibrated(artifact, TorchBackbonePool()), options.task_name)
        plain, twin = fit.folder_name, f"{fit.folder_name}{MERGED_SUFFIX}"
        target.check_replaceable(*((twin,) if options.merged_only else (plain, twin)))
        card = {key: artifact.manifest.get(key) for key in ("contender", "seed")}
        facts = {
            "task": fit.task,
            "apart": 0.0,
        }  # how far the twin's probabilities lie from the fit's: known when written
        with target.stage(twin, facts) as part:
            facts["apart"] = write_merged_model(part, fit, card)
        if not options.merged_only:
            with target.stage(plain, {"task": fit.task}) as part:
                write_router_adapter(part, fit, card)
        notes = [*list_export_notes(fit), *describe_omissions(artifact)]
        return notes if options.merged_only else [*notes, ROUTER_ORDER_WARNING]

    def open(self, folder: Path) -> ExportedModel:
        """The merged twin; the adapter's folder answers over its base alone."""
        from loratory.exporting.stock_models import open_stock_model

        if open_files(folder).has("adapter_config.json"):
            raise ArtifactError(
                "an adapter answers over its base alone",
                where=str(folder),
                allowed=f"the merged twin, a folder whose name ends in {MERGED_SUFFIX}",
            )
        return open_stock_model(folder)
