"""AdamW in eight bits: near AdamW, resumed to the same bytes, and refused where the device cannot do it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from loratory.errors import MissingExtra, RunInterrupted, SpecError
from loratory.protocols.events import StepFinished
from loratory.regimes.full import Full
from loratory.training import optimizers
from loratory.training.checkpoints import FolderCheckpoints
from loratory.training.training_loop import TrainingJob, train
from tiny_models import BackboneOf, make_context, make_task, make_train_set

WIDTH = 96  # 9,216 numbers: eight bits; the bias stays in float32


@pytest.fixture
def eight_bits() -> None:
    pytest.importorskip("bitsandbytes")
    try:
        optimizers.check_optimizer("adamw8bit", "cpu")
    except SpecError:
        pytest.skip("this bitsandbytes has no 8-bit AdamW for a CPU")


def lines(epochs: int = 6) -> tuple[TrainingJob, dict[str, nn.Parameter]]:
    """64 examples of a map of x and |x| with a bias, learnt from zero in batches of 8."""
    chance = torch.Generator().manual_seed(4)
    x, right, left = (torch.randn(size, WIDTH, generator=chance) for size in (64, WIDTH, WIDTH))
    y = x @ right + x.abs() @ left + 1
    sizes = {"weight": (WIDTH, WIDTH), "other": (WIDTH, WIDTH), "bias": (WIDTH,)}
    learnt = {name: nn.Parameter(torch.zeros(size)) for name, size in sizes.items()}

    def losses(indices: Sequence[int]) -> Tensor:
        some = list(indices)
        made = x[some] @ learnt["weight"] + x[some].abs() @ learnt["other"] + learnt["bias"]
        return (made - y[some]).square().mean(-1)

    course = TrainingJob(
        parameters=learnt,
        learning_rate=lambda name: 0.05,
        batches=lambda epoch: [(tuple(range(i, i + 8)),) for i in range(0, 64, 8)],
        losses=losses,
        weights=torch.ones(64),
        score=lambda: {"accuracy": -float(losses(range(64)).detach().mean())},
        headline="accuracy",
        epochs=epochs,
    )
    return course, learnt


@pytest.mark.usefixtures("eight_bits")
def test_it_learns_as_adamw_does() -> None:
    best: dict[str, float] = {}
    for kind in ("adamw", "adamw8bit"):
        course, _ = lines(epochs=25)
        before = course.score()["accuracy"]
        best[kind] = train(course, make_context(optimizer=kind))["best"]
        assert best[kind] > 0.05 * before  # of a negative loss
    assert best["adamw8bit"] == pytest.approx(best["adamw"], rel=0.25)
    assert best["adamw8bit"] != best["adamw"]


@pytest.mark.usefixtures("eight_bits")
def test_large_weights_have_their_moments_in_bytes_and_small_ones_do_not() -> None:
    course, learnt = lines()
    optimizer = optimizers.make_optimizer("adamw8bit", [{"params": list(learnt.values())}], "cpu")
    course.losses(range(8)).sum().backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    of_weight, of_bias = (optimizers.get_state_parts(optimizer, learnt[name]) for name in ("weight", "bias"))
    assert {of_weight[part].dtype for part in ("state1", "state2")} == {torch.uint8}
    assert {of_bias[part].dtype for part in ("state1", "state2")} == {torch.float32}
    assert set(optimizers.STATE_PARTS) >= set(of_weight)
    assert set(optimizer.state[learnt["weight"]]) == set(of_weight)


@pytest.mark.usefixtures("eight_bits")
def test_stopped_at_every_step_it_comes_to_the_same_bytes(tmp_path: Path) -> None:
    whole, expected = lines()
    facts = train(whole, make_context(optimizer="adamw8bit"))
    kept, times = FolderCheckpoints(tmp_path, "one"), 0
    while True:
        course, learnt = lines()
        asked = partial(next, iter([False] * (times % 2) + [True] + [False] * 100))
        try:
            again = train(course, make_context(optimizer="adamw8bit", checkpoints=kept, stopping=asked))
            break
        except RunInterrupted:
            times += 1
    assert times >= 20
    assert again["history"] == facts["history"]
    assert all(torch.equal(learnt[name], weight) for name, weight in expected.items())


@pytest.mark.usefixtures("eight_bits")
def test_a_regime_trains_with_it(backbone_of: BackboneOf) -> None:
    losses: list[float] = []
    surrounding = make_context(
        optimizer="adamw8bit",
        epochs=8,
        report=lambda event: losses.append(event.loss) if isinstance(event, StepFinished) else None,
    )
    Full(learning_rate=1e-3).fit(make_task(), make_train_set(), backbone_of("bert"), surrounding)
    assert losses[-1] < 0.5 * losses[0]


def fail(self: Any, closure: Any = None) -> None:
    raise NotImplementedError("no kernel")


@pytest.mark.parametrize("step", [fail, lambda self, closure=None: None])
def test_a_device_that_cannot_do_it_is_refused(monkeypatch: pytest.MonkeyPatch, step: Any) -> None:
    pytest.importorskip("bitsandbytes")
    monkeypatch.setattr("bitsandbytes.optim.AdamW8bit.step", step)
    course, learnt = lines()
    with pytest.raises(SpecError, match="no 8-bit AdamW for this device") as refused:
        train(course, make_context(optimizer="adamw8bit"))
    assert refused.value.exit_code == 2
    assert refused.value.allowed == "adamw"
    assert not learnt["weight"].any()


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim.adamw", None)
    with pytest.raises(MissingExtra, match="bitsandbytes is not installed"):
        train(lines()[0], make_context(optimizer="adamw8bit"))
