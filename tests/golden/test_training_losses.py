"""A short list of losses for each trained regime: a change of the loop, the losses or the starts shows here.

The tolerance leaves room for another machine's order of sums. After a change that is meant: run the test, and take the
list that it prints.
"""

from __future__ import annotations

from typing import Any

import pytest

from loratory.protocols.events import StepFinished
from loratory.regimes.full import Full
from loratory.regimes.head import Head
from loratory.regimes.lora import Lora
from loratory.specs.training import LossSpec
from tiny_models import BackboneOf, make_context, make_task, make_train_set

GOLDEN: dict[str, tuple[Any, list[float]]] = {
    "lora": (Lora(rank=4, label_names=0.0), [0.901921, 1.00199, 0.882222, 0.800592, 0.891014, 0.819665]),
    "lora, top layer, rsLoRA, focal": (
        Lora(
            rank=4,
            layers="top-1",
            rslora=True,
            loss=LossSpec(focal_gamma=2.0, class_weights="balanced"),
            label_names=0.0,
        ),
        [0.325539, 0.437986, 0.280602, 0.313645, 0.45519, 0.30354],
    ),
    "lora, stock head": (Lora(rank=4, head="stock"), [1.18564, 1.1725, 1.067184, 1.249936, 1.361522, 1.128022]),
    "full": (Full(label_names=0.0), [0.901921, 0.989721, 0.898381, 0.808214, 0.872705, 0.844126]),
    "head": (Head(epochs=6, label_names=0.0), [0.916305, 0.904764, 0.89191, 0.881867, 0.874477, 0.86962]),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_losses_are_those_that_were_seen_before(backbone_of: BackboneOf, name: str) -> None:
    regime, expected = GOLDEN[name]
    losses: list[float] = []
    regime.fit(
        make_task(),
        make_train_set(),
        backbone_of("bert"),
        make_context(report=lambda event: losses.append(event.loss) if isinstance(event, StepFinished) else None),
    )
    assert losses[:6] == pytest.approx(expected, rel=2e-3), [round(loss, 6) for loss in losses[:6]]
