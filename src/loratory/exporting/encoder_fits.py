"""An encoder fit as exporters of other formats read it: what its small files say, then its weights."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loratory.artifacts.manifests import PREDICTOR_FILE, Artifact
from loratory.errors import LoratoryError, UnsupportedTask
from loratory.exporting.omissions import SPAN_RULES_NOT_EXPORTED
from loratory.predictors.calibrated import OPERATING_POINT_FILE, OperatingPoint
from loratory.protocols import JSON

if TYPE_CHECKING:
    from loratory.predictors.encoder import Encoder

FACTS_FILE = "classifier.json"  # beside an exported model: labels, temperature, operating point, how texts are cut
POINT_NOT_APPLIED = (
    f"thresholds and abstention are not applied by the library that opens this: they stand in {FACTS_FILE} "
    "(operating_point)"
)
OTHER_FORMATS = "loratory export RUN lists the formats that support this fit"


@dataclass(frozen=True, eq=False)
class EncoderFit:
    """An encoder with the operating point that was measured with it."""

    encoder: Encoder
    point: OperatingPoint | None

    @property
    def temperature(self) -> float:
        """What logits are divided by before the softmax."""
        return self.point.temperature if self.point else 1.0

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the L outputs."""
        return tuple(self.encoder.output_adapter.list_output_names(self.encoder.task))

    @property
    def per_token(self) -> bool:
        """Whether there are outputs for each token."""
        return self.encoder.output_adapter.stock_names.per_token

    def list_omissions(self) -> list[str]:
        """What the format cannot carry, a line each."""
        point = self.point is not None and (self.point.thresholds or self.point.score)
        rules = bool(self.encoder.span_rules)
        return [text for text, told in ((POINT_NOT_APPLIED, point), (SPAN_RULES_NOT_EXPORTED, rules)) if told]

    def write_facts(self, folder: Path, **more: JSON) -> None:
        """classifier.json: what an application needs beside the model."""
        facts: dict[str, JSON] = {
            "labels": list(self.output_names),
            "temperature": self.temperature,
            "operating_point": self.point.to_dict() if self.point else None,
            "max_tokens": self.encoder.max_row_tokens,
            **more,
        }
        (folder / FACTS_FILE).write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_encoder_facts(artifact: Artifact) -> dict[str, Any] | None:
    """encoder.json of a fit; None where an encoder with a head is not what answers."""
    kind = artifact.read_json(PREDICTOR_FILE).get("predictor") if artifact.has(PREDICTOR_FILE) else None
    return dict(artifact.read_json("encoder.json")) if kind == "encoder" else None


def check_encoder_fit(artifact: Artifact, format_name: str) -> LoratoryError | None:
    """Why a fit is no encoder that reads each text as one row, which is all that other programs do; None where it is.

    Fits of spans read long texts in windows; other programs cut them, which is said where they are exported.
    """
    facts = read_encoder_facts(artifact)
    if facts is None:
        return UnsupportedTask(
            f"{format_name} holds an encoder with a head, which this fit has not",
            where=str(artifact.folder),
            allowed="fits of prototype, head, lora and full on an encoder",
            remedy=OTHER_FORMATS,
        )
    per_token, mode = facts["head"]["kind"] == "token" or str(facts["form"]).startswith("spans"), facts.get("long")
    if not per_token and mode not in (None, "head"):
        return UnsupportedTask(
            f"this fit reads texts that are longer than its window by `long: {mode}`, which {format_name} cannot do",
            where=str(artifact.folder),
            allowed="training: {long: head}, which reads the beginning of a text",
            remedy="train it with long: head, or serve it with loratory serve",
        )
    return None


def load_encoder_fit(artifact: Artifact) -> EncoderFit:
    """The weights of a fit that `check_encoder_fit` passed; raises ArtifactError where a file was changed."""
    from loratory.backbones.pool import TorchBackbonePool
    from loratory.predictors import predictor_files

    encoder: Any = predictor_files.load_uncalibrated(artifact, TorchBackbonePool(short_attention=False))
    return EncoderFit(encoder, OperatingPoint.load(artifact) if artifact.has(OPERATING_POINT_FILE) else None)
