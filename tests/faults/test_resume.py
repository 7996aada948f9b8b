"""A fit that goes on from any of its moments is the undisturbed one to the bit: every regime that is trained."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from fault_recording import FaultCounts
from loratory.discovery import list_names, load_named
from loratory.training.checkpoints import FolderCheckpoints
from tiny_models import make_context

from .fits import BATCHES, FITS, Cut, Fit, Moments, passes, record_moments

CUT = ("lora, encoder, labels", "head, encoder, labels", "lora, causal, answers", "lora, warmed up")  # in every run
NEVER = 1e9  # seconds between checkpoints


@cache
def run_undisturbed(fit: Fit) -> tuple[dict[str, bytes], Moments, int]:
    """The files of a fit that nothing happened to, its moments, and how many passes it took."""
    with record_moments(Moments()) as moments, passes() as counted:
        made = fit.run(make_context(checkpoints=moments, **{**BATCHES, **fit.training, "checkpoint_seconds": NEVER}))
    return made, moments, counted.count


def goes_on(fit: Fit, number: int) -> bool:
    """Whether a fit from this moment passes through the same moments to the same bytes."""
    whole, moments, _ = run_undisturbed(fit)
    with record_moments(Moments(moments.seen[number].state)) as again:
        made = fit.run(make_context(checkpoints=again, **{**BATCHES, **fit.training, "checkpoint_seconds": NEVER}))
    rest = moments.seen[number + 1 :]
    same = len(again.seen) == len(rest) and all(a.same(b) for a, b in zip(again.seen, rest, strict=True))
    return same and made == whole


def survives(fit: Fit, number: int, folder: Path) -> bool:
    """Whether a fit that ends in the middle of a pass is finished by the same call, to the same bytes."""
    kept = FolderCheckpoints(folder, "identity")
    surrounding = make_context(checkpoints=kept, **{**BATCHES, **fit.training, "checkpoint_seconds": 0.0})
    with passes(plan={(number, "backward"): Cut()}) as counted:
        with pytest.raises(Cut):
            fit.run(surrounding)
        return fit.run(surrounding) == run_undisturbed(fit)[0] and counted.met == 1


def test_every_regime_that_learns_step_by_step_is_here() -> None:
    trained = {
        name
        for name in list_names("regimes")
        if load_named("regimes", name).seeded or load_named("regimes", name).adapts
    }
    assert trained == {fit.regime for fit in FITS}
    assert {"head", "lora", "qlora", "full"} <= trained
    assert {(fit.start, fit.task) for fit in FITS} >= {
        ("encoder", "labels"),
        ("encoder", "spans"),
        ("causal", "answers"),
    }


@pytest.mark.parametrize("fit", FITS, ids=str)
def test_a_fit_goes_on_from_a_moment_of_its_middle(fit: Fit) -> None:
    _, moments, _ = run_undisturbed(fit)
    assert len(moments.seen) >= 4
    assert any(len(moment.batch) > 1 for moment in moments.seen) != fit.on_states
    assert goes_on(fit, len(moments.seen) // 2)


@pytest.mark.parametrize("fit", [fit for fit in FITS if fit.name in CUT], ids=str)
def test_a_fit_that_is_cut_in_a_pass_is_finished_by_the_same_call(fit: Fit, tmp_path: Path) -> None:
    assert survives(fit, run_undisturbed(fit)[2] // 2 + 1, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("fit", FITS, ids=str)
def test_a_fit_goes_on_from_every_moment_and_every_pass(fit: Fit, tmp_path: Path, faults: FaultCounts) -> None:
    _, moments, count = run_undisturbed(fit)
    resumed = faults.tries_of("a fit goes on from each of its steps, for every trained regime")
    for number in range(len(moments.seen)):
        resumed.add(failures=not goes_on(fit, number))
    cut = faults.tries_of("a fit is cut in each of its passes, in the middle of an accumulated step too")
    for number in range(1, count + 1):
        cut.add(failures=not survives(fit, number, tmp_path / str(number)))
    assert resumed.row["failures"] == cut.row["failures"] == 0
