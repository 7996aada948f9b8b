"""What a reader of an exported form must know beside its files: labels, window, pooling, operating point."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from loratory.errors import UnsupportedTask
from loratory.predictors.calibrated import CalibratedPredictor, OperatingPoint
from loratory.predictors.decoder import Decoder
from loratory.predictors.encoder import Encoder
from loratory.predictors.heads import PooledHead, describe_head
from loratory.predictors.output_adapters import load_output_adapter
from loratory.protocols import JSON, Predictor
from loratory.protocols.exporters import WRITER


@dataclass(frozen=True)
class ModelFacts:
    """`model` of certificate.json, and what lies in the form itself where it has room for it."""

    task: Mapping[str, JSON]
    labels: tuple[str, ...]  # names of the L outputs
    family: str  # model_type of transformers
    head: str  # pooled | stock | token | writer
    temperature: float
    operating_point: Mapping[str, JSON] | None
    max_tokens: int
    long: str  # how texts above max_tokens are read: head | ends | windows
    row_overlap: int
    pad_id: int
    pooling: str | None
    output_adapter: str | None = None  # how outputs become the task's answer
    scope: Mapping[str, JSON] | None = None  # of a pooled head: scale and bias, from which abstention may be computed
    has_span_rules: bool = False  # whether the fit adds spans by rules, which no form holds
    quantised_base: bool = False  # whether the fit was measured over a base in four bits; forms have the full one
    max_batch: int | None = None  # rows of one call that the form takes
    files: Mapping[str, str | None] | None = None  # model, tokenizer, head, config: names in the folder

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {**asdict(self), "labels": list(self.labels)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelFacts:
        """What `to_dict` made; raises TypeError, KeyError for anything else."""
        return replace(cls(**dict(values)), labels=tuple(values["labels"]))

    @classmethod
    def from_json(cls, text: str) -> ModelFacts:
        """What stands as text in a form's metadata; raises ValueError, TypeError, KeyError for anything else."""
        return cls.from_dict(json.loads(text))

    @property
    def is_per_token(self) -> bool:
        """Whether each token has outputs, not the text."""
        if self.output_adapter is None:
            return False
        return load_output_adapter(self.output_adapter).stock_names.per_token

    @property
    def point(self) -> OperatingPoint:
        """The operating point to answer at."""
        return OperatingPoint() if self.operating_point is None else OperatingPoint.from_dict(self.operating_point)


def unwrap(predictor: Predictor) -> tuple[Predictor, OperatingPoint | None]:
    """The predictor itself and its operating point, if it has one."""
    if isinstance(predictor, CalibratedPredictor):
        return predictor.predictor, predictor.point
    return predictor, None


def describe_model(predictor: Predictor) -> ModelFacts:
    """Of an encoder or of a model that writes; raises UnsupportedTask for any other predictor."""
    inner, point = unwrap(predictor)
    task: Any = inner.task
    facts: Mapping[str, JSON] = task.model_dump(mode="json")
    if isinstance(inner, Encoder):
        return _describe_encoder(inner, point, facts)
    if isinstance(inner, Decoder):
        backbone = inner.network.backbone
        return ModelFacts(
            facts,
            (),
            backbone.config.model_type,
            WRITER,
            1.0,
            None,
            inner.context_length,
            "head",
            0,
            backbone.tokenizer.pad_token_id,
            None,
            quantised_base=backbone.unquantized is not backbone,
        )
    raise UnsupportedTask(
        f"a fit of {type(inner).__name__} has no neural network that a certificate could follow stage by stage",
        allowed="fits of encoders (prototype, head, lora, qlora, full) and of causal models",
        remedy="--contender NAME of one of these",
    )


def _describe_encoder(encoder: Encoder, point: OperatingPoint | None, task: Mapping[str, JSON]) -> ModelFacts:
    backbone, head = encoder.network.backbone, encoder.network.head
    assert head is not None
    kind = describe_head(head)["kind"]
    pooled = head if isinstance(head, PooledHead) else None
    return ModelFacts(
        task=task,
        labels=tuple(encoder.output_adapter.list_output_names(encoder.task)),
        family=str(backbone.config.model_type),
        head=kind,
        temperature=1.0 if point is None else point.temperature,
        operating_point=None if point is None else point.to_dict(),
        max_tokens=encoder.max_row_tokens,
        long=encoder.long_text_mode,
        row_overlap=encoder.row_overlap,
        pad_id=backbone.tokenizer.pad_token_id,
        pooling=None if pooled is None else pooled.pooling,
        output_adapter=encoder.output_adapter_name,
        has_span_rules=bool(encoder.span_rules),
        quantised_base=backbone.unquantized is not backbone,
        scope=None if pooled is None else {"scale": float(pooled.log_scale.exp()), "bias": pooled.bias.tolist()},
    )
