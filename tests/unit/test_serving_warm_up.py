"""Networks have computed before the first request comes."""

from __future__ import annotations

from typing import Any

import pytest

from loratory.models.trunks import TorchTrunk
from loratory.predictors.encoder import Encoder
from loratory.predictors.forms import FORMS
from loratory.predictors.operated import Operated, Point
from loratory.protocols import Network
from loratory.serving.services import Service, Stage
from loratory.serving.warm_up import warm_up
from loratory.tasks.classify import Classify
from tiny import Trunks

TASK = Classify(labels=("a", "b"))


def test_each_network_computes_once(trunk_of: Trunks, monkeypatch: pytest.MonkeyPatch) -> None:
    trunk = trunk_of("bert")
    head: Any = FORMS["labels"].head("pooled", TASK, trunk)
    first = Encoder(TASK, "labels", Network(trunk, None, head.eval()), 16, 2)
    done = []
    real = TorchTrunk.encode

    def encode(self: TorchTrunk, requests: Any, alive: Any) -> Any:
        done.extend(requests)
        return real(self, requests, alive)

    monkeypatch.setattr(TorchTrunk, "encode", encode)
    without = Stage("rules", object(), "r")  # type: ignore[arg-type]
    warm_up(Service("t", (Stage("x", Operated(first, Point()), "r"), without)))
    assert [request.network.head for request in done] == [head]
