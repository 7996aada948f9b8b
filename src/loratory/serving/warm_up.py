"""Every network computes once before its task can be asked: what is imported or made at first use delays no request."""

from __future__ import annotations

from loratory.backbones.forward.execution import run_locally
from loratory.protocols import EncodeRequest, InferenceRequest, ScoreRequest
from loratory.serving.engine.capabilities import network_of
from loratory.serving.engine.service_registry import Service

TEXT = "a text"


def warm_up(service: Service) -> None:
    """Send one short request through the network of each stage that has one; what the network raises is raised."""
    for stage in service.stages:
        network = network_of(stage.predictor)
        if network is not None:
            ids, _ = network.backbone.tokenizer.encode(TEXT)
            request: InferenceRequest = (
                EncodeRequest(network, ids) if network.head is not None else ScoreRequest(network, ids, (ids[:1],))
            )
            run_locally([request])
