"""What a regime that trains a backbone takes from its start: the weights of a base, or of another contender's fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from loratory.errors import UnsupportedTask
from loratory.protocols import (
    JSON,
    NOTHING,
    Adapter,
    GenerativePredictor,
    Predictor,
    Start,
    StartKind,
    is_contender_kind,
    make_contender_kind,
    read_predictor_kind,
)

if TYPE_CHECKING:
    from torch import nn

    from loratory.backbones.forward.encoder_backbone import EncoderBackbone

NETWORK_PREDICTORS = ("encoder", "decoder")  # kinds of predictors that stand on one network
ADAPTER_SHAPE = ("r", "lora_alpha", "use_rslora", "fan_in_fan_out")  # fields without which two adapters are not alike


@dataclass(frozen=True)
class TrainingStart:
    """Where a fit begins: a backbone, and of another contender its adapter and its head."""

    backbone: EncoderBackbone
    adapter: Adapter | None = None
    head: nn.Module | None = None
    owns_backbone: bool = False  # whether the weights are of that fit alone


def check_network_start(name: str, start: StartKind) -> str | None:
    """Why `name` cannot go on from this contender's predictor, or None."""
    if not is_contender_kind(start) or read_predictor_kind(start) in NETWORK_PREDICTORS:
        return None
    return (
        f"{name} goes on from the weights of a contender whose predictor is {' or '.join(NETWORK_PREDICTORS)}, "
        f"and {read_predictor_kind(start)} has none that it could train"
    )


def read_start(start: Start) -> TrainingStart:
    """The backbone of a start, and what the predictor of another contender had learnt; raises UnsupportedTask."""
    from loratory.predictors.decoder import Decoder
    from loratory.predictors.encoder import Encoder

    if isinstance(start, (Encoder, Decoder)):
        network, backbone = start.network, cast("EncoderBackbone", start.network.backbone)
        return TrainingStart(backbone, network.adapter, network.head, start.owns_backbone)
    if start is None or isinstance(start, Predictor):
        raise UnsupportedTask(f"a {type(start).__name__} has no network to start from")
    return TrainingStart(cast("EncoderBackbone", start))


def find_start_kind(start: Start) -> StartKind:
    """The kind of a start that is a base, or a contender whose predictor stands on a network."""
    if isinstance(start, Predictor):
        return make_contender_kind("decoder" if isinstance(start, GenerativePredictor) else "encoder")
    return NOTHING if start is None else start.kind


def merge_start(start: TrainingStart) -> EncoderBackbone:
    """The start's backbone with its adapter merged into a copy of the weights, where it has one."""
    from loratory.training.trainable_backbones import merge_into_copy

    return merge_into_copy(start.backbone, start.adapter) if start.adapter else start.backbone


def has_same_shape(adapter: Adapter, config: Mapping[str, JSON]) -> bool:
    """Whether an adapter of this configuration can begin with the weights of that one, and mean the same by them."""
    given = adapter.config
    alike = all((given.get(key) or False) == (config.get(key) or False) for key in ADAPTER_SHAPE)
    modules = set(given["target_modules"]) == set(config["target_modules"])
    return (
        alike
        and modules
        and list(given.get("layers_to_transform") or []) == list(config.get("layers_to_transform") or [])
    )
