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
    "lora": (Lora(rank=4), [0.949608, 0.850213, 0.817498, 0.891415, 0.896202, 0.719034]),
    "lora, top layer, rsLoRA, focal": (
        Lora(rank=4, layers="top-1", rslora=True, loss=LossSpec(focal_gamma=2.0, class_weights="balanced")),
        [0.358312, 0.321379, 0.259068, 0.353911, 0.354907, 0.241127],
    ),
    "lora, stock head": (Lora(rank=4, head="stock"), [1.213771, 1.112978, 1.130167, 1.169079, 1.115466, 1.082873]),
    "full": (Full(), [0.949608, 0.84403, 0.826596, 0.903456, 0.912419, 0.761425]),
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
