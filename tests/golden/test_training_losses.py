"""A short list of losses for each trained regime: a change of the loop, the losses or the starts shows here.

The tolerance leaves room for another machine's order of sums. After a change that is meant: run the test, and take the
list that it prints.
"""

from __future__ import annotations

from typing import Any

import pytest

from loratory.regimes.full import Full
from loratory.regimes.head import Head
from loratory.regimes.lora import Lora
from loratory.specs.training import LossSpec
from tiny import Trunks, context, lessons, toy_task

GOLDEN: dict[str, tuple[Any, list[float]]] = {
    "lora": (Lora(rank=4), [0.949608, 0.84951, 0.815684, 0.889281, 0.894025, 0.714039]),
    "lora, top layer, rsLoRA, focal": (
        Lora(rank=4, layers="top-1", rslora=True, loss=LossSpec(focal_gamma=2.0, class_weights="balanced")),
        [0.358312, 0.32107, 0.257979, 0.353077, 0.354376, 0.239684],
    ),
    "lora, stock head": (Lora(rank=4, head="stock"), [1.213771, 1.112978, 1.130167, 1.169079, 1.115466, 1.082873]),
    "full": (Full(), [0.949608, 0.843299, 0.824793, 0.901378, 0.910239, 0.756629]),
    "head": (Head(epochs=6), [0.916305, 0.904764, 0.89191, 0.881867, 0.874477, 0.86962]),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_losses_are_those_that_were_seen_before(trunk_of: Trunks, name: str) -> None:
    regime, expected = GOLDEN[name]
    losses: list[float] = []
    regime.fit(
        toy_task(),
        lessons(),
        trunk_of("bert"),
        context(report=lambda event, values: losses.append(values["loss"]) if event == "step" else None),
    )
    assert losses[:6] == pytest.approx(expected, rel=2e-3), [round(loss, 6) for loss in losses[:6]]
