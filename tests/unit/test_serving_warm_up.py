"""Networks have computed before the first request comes."""

from __future__ import annotations

from typing import Any

import pytest

from loratory.backbones.forward.encoder_backbone import EncoderBackbone
from loratory.predictors.calibrated import CalibratedPredictor, OperatingPoint
from loratory.predictors.encoder import Encoder
from loratory.predictors.output_adapters import load_output_adapter
from loratory.protocols import Network
from loratory.serving.engine.service_registry import FallbackStage, Service
from loratory.serving.warm_up import warm_up
from loratory.tasks.classify import Classify
from tiny_models import BackboneOf

TASK = Classify(labels=("a", "b"))


def test_each_network_computes_once(backbone_of: BackboneOf, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = backbone_of("bert")
    head: Any = load_output_adapter("labels").build_head("pooled", TASK, backbone)
    first = Encoder(TASK, "labels", Network(backbone, None, head.eval()), 16, 2)
    done = []
    real = EncoderBackbone.encode

    def encode(self: EncoderBackbone, requests: Any, alive: Any) -> Any:
        done.extend(requests)
        return real(self, requests, alive)

    monkeypatch.setattr(EncoderBackbone, "encode", encode)
    without = FallbackStage("rules", object(), "r")  # type: ignore[arg-type]
    warm_up(Service("t", (FallbackStage("x", CalibratedPredictor(first, OperatingPoint()), "r"), without)))
    assert [request.network.head for request in done] == [head]
