"""The exporter `vllm`: a causal base with its LoRA adapter for vLLM, and the command that serves them."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from loratory.artifacts.manifests import Artifact
from loratory.errors import LoratoryError, UnsupportedTask
from loratory.exporting.decoder_fits import check_decoder_fit
from loratory.exporting.encoder_fits import OTHER_FORMATS
from loratory.exporting.vllm.limits import RANKS
from loratory.protocols.exporters import ExportedModel, ExportTarget, ToleranceClass

FORMAT = "vLLM"


class VllmOptions(BaseModel):
    """What is written beside the adapter."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    include_base: bool = Field(True, description="copy the base; false: the command names the base's hub id")


class VllmExporter:
    """Writes `adapter/`, `base/`, the chat template, a request and the command line."""

    summary: ClassVar[str] = "vLLM: the base, the adapter, the chat template and the exact command"
    tolerance_class: ClassVar[ToleranceClass | None] = "exact"
    exact_form: ClassVar[str | None] = None
    applies_temperature: ClassVar[bool] = True
    Options: ClassVar[type[BaseModel]] = VllmOptions

    def check_support(self, artifact: Artifact) -> LoratoryError | None:
        """Of decoder.json and adapter_config.json: a plain LoRA adapter of a rank that vLLM takes."""
        if problem := check_decoder_fit(artifact, FORMAT):
            return problem
        where, config_file = str(artifact.folder), "adapter/adapter_config.json"
        if not artifact.read_json("decoder.json")["adapter"] or not artifact.has(config_file):
            return UnsupportedTask(
                "this fit has no LoRA adapter that vLLM could put on a base",
                where=where,
                allowed="fits of lora and qlora on a causal base",
                remedy=f"--to peft writes a whole model, which vLLM serves as it is; or {OTHER_FORMATS}",
            )
        config = artifact.read_json(config_file)
        refused = {
            f"its rank is {config['r']}": config["r"] > RANKS[-1],
            f"its bias is {config.get('bias')!r}": config.get("bias", "none") != "none",
            "it stores whole modules (modules_to_save)": bool(config.get("modules_to_save")),
            "it is a DoRA adapter": bool(config.get("use_dora")),
            "its modules have ranks of their own": bool(config.get("rank_pattern") or config.get("alpha_pattern")),
        }
        for problem_text, is_so in refused.items():
            if is_so:
                return UnsupportedTask(
                    f"vLLM does not serve this adapter: {problem_text}",
                    where=where,
                    allowed=f"plain LoRA adapters of a rank up to {RANKS[-1]}",
                    remedy="--to peft writes the merged model, which vLLM serves without --enable-lora",
                )
        return None

    def export(self, artifact: Artifact, target: ExportTarget, options: VllmOptions) -> list[str]:
        from loratory.exporting.decoder_fits import load_decoder_fit
        from loratory.exporting.vllm.layout import check_base, write_vllm_folder

        decoder = load_decoder_fit(artifact)
        check_base(decoder, options.include_base)
        with target.stage() as folder:
            return write_vllm_folder(folder, decoder, artifact.manifest, options.include_base)

    def open(self, folder: Path) -> ExportedModel:
        """The adapter over the base that lies beside it."""
        from loratory.exporting.vllm.model import open_adapter_folder

        return open_adapter_folder(folder)
