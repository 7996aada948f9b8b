"""The time of a fit before its first step: products that are computed, at the speed that was measured."""

from __future__ import annotations

from typing import Any

import pytest

from loratory.backbones.forward import hardware_benchmark
from loratory.backbones.forward.hardware_benchmark import Hardware
from loratory.errors import BaseModelError
from loratory.training import cost_estimates
from loratory.training.cost_estimates import EFFICIENCY, count_epoch_flops, estimate_seconds


class Backbone:
    """Six layers of 1,000 weights; the top `trained` of them learn."""

    depth = 6

    def __init__(self, trained: int, full_finetuning: bool = False) -> None:
        self.first_layer, self.full_finetuning = self.depth - trained, full_finetuning


@pytest.mark.parametrize(
    ("trained", "full", "cached", "flops"),
    [
        (6, False, False, 100 * 6_000 * 4 + 10 * 6_000 * 2),  # LoRA in every layer: 4 N
        (6, True, False, 100 * 6_000 * 6 + 10 * 6_000 * 2),  # every weight: 6 N
        (2, False, False, 100 * (4_000 * 2 + 2_000 * 4) + 10 * 6_000 * 2),  # no gradient below the adapters
        (2, False, True, 100 * 2_000 * 4 + 10 * 2_000 * 2),  # nothing below them
        (0, False, True, 0),
    ],
)
def test_products_of_an_epoch(
    monkeypatch: pytest.MonkeyPatch, trained: int, full: bool, cached: bool, flops: int
) -> None:
    monkeypatch.setattr(cost_estimates, "_count_layer_weights", lambda backbone: 6_000)
    backbone: Any = Backbone(trained, full)
    assert count_epoch_flops(backbone, [60, 40], [10], cached) == flops


def test_seconds_by_the_kept_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Hardware("cpu", "a processor", 2, "2.13", {"fp32": 100.0}, 0, 0)
    monkeypatch.setattr(cost_estimates, "load_kept", lambda device: kept)
    assert estimate_seconds(1e12, "fp32", "cpu") == pytest.approx(10 / EFFICIENCY)
    assert estimate_seconds(1e12, "bf16", "cpu") is None


def test_a_machine_that_was_never_measured_is_not_guessed_at(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert hardware_benchmark.load_kept() is None
    assert estimate_seconds(1e12, "fp32", "cpu") is None


def test_an_architecture_that_shares_its_layers_is_not_guessed_at(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(backbone: Any) -> int:
        raise BaseModelError("its layers share their weights")

    monkeypatch.setattr(cost_estimates, "_count_layer_weights", refuse)
    backbone: Any = Backbone(6)
    assert estimate_seconds(count_epoch_flops(backbone, [60], [10], False), "fp32", "cpu") is None
