"""What every objective promises, whoever wrote it: parametrized over what is discovered."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import BaseModel, ValidationError
from typing_extensions import get_protocol_members

from loratory.discovery import list_names, load_named
from loratory.protocols import Example
from loratory.protocols.objectives import OUTPUT_KINDS, LossBatch, Objective, OutputKind
from loratory.training.objectives import CrossEntropy, Focal

OBJECTIVES = list_names("objectives")
CLASSES = 5
OURS: tuple[Objective, ...] = (CrossEntropy(), Focal())  # a type checker sees whether the protocol is met


def make_batch(outputs: OutputKind, sizes: tuple[int, ...] = (3, 1, 2), sharp: float = 1.0) -> LossBatch:
    """Predictions of some examples; of labels one for each. `sharp` scales the logits."""
    sizes = tuple(1 for _ in sizes) if outputs == "labels" else sizes
    count, generator = sum(sizes), torch.Generator().manual_seed(1)
    return LossBatch(
        outputs,
        (sharp * torch.randn(count, CLASSES, generator=generator)).requires_grad_(),
        torch.randint(CLASSES, (count,), generator=generator),
        torch.tensor([place for place, size in enumerate(sizes) for _ in range(size)]),
        torch.ones(len(sizes)),
        [Example({"text": str(place)}, {"label": "a"}) for place in range(len(sizes))],
    )


def pairs() -> list[tuple[str, OutputKind]]:
    return [(name, outputs) for name in OBJECTIVES for outputs in load_named("objectives", name).outputs]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_options_are_frozen_and_closed(name: str) -> None:
    cls: Any = load_named("objectives", name)
    assert issubclass(cls, BaseModel)
    assert get_protocol_members(Objective) <= set(dir(cls))
    assert cls.outputs
    assert set(cls.outputs) <= set(OUTPUT_KINDS)
    made = cls()
    with pytest.raises(ValidationError, match="Extra"):
        cls(no_such_option=1)
    for field, about in cls.model_fields.items():
        with pytest.raises(ValidationError):
            setattr(made, field, 1)
        assert about.description, f"{name}: {field} has no help"
    assert cls.model_validate_json(made.model_dump_json()) == made


@pytest.mark.parametrize(("name", "outputs"), pairs())
def test_a_loss_for_each_example_that_learns(name: str, outputs: OutputKind) -> None:
    for sharp in (1.0, 60.0):
        batch = make_batch(outputs, sharp=sharp)
        losses = load_named("objectives", name)().compute_losses(batch)
        assert losses.shape == (batch.size,)
        assert losses.dtype == torch.float32
        assert bool(losses.isfinite().all())
        losses.sum().backward()
        assert batch.logits.grad is not None
        assert bool(batch.logits.grad.isfinite().all())
        assert bool(batch.logits.grad.abs().sum() > 0)


@pytest.mark.parametrize(("name", "outputs"), pairs())
def test_an_examples_loss_is_its_own(name: str, outputs: OutputKind) -> None:
    """Alone, beside others, and behind one without a prediction: the same."""
    objective = load_named("objectives", name)()
    whole = make_batch(outputs)
    together = objective.compute_losses(whole)
    for place in range(whole.size):
        mine = whole.owners == place
        alone = LossBatch(
            outputs,
            whole.logits[mine],
            whole.targets[mine],
            torch.zeros(int(mine.sum()), dtype=torch.long),
            whole.weights[place : place + 1],
            [whole.examples[place]],
        )
        assert objective.compute_losses(alone).item() == pytest.approx(together[place].item(), rel=1e-5)


@pytest.mark.parametrize(("name", "outputs"), pairs())
def test_it_falls_where_what_is_right_becomes_likelier(name: str, outputs: OutputKind) -> None:
    objective, batch = load_named("objectives", name)(), make_batch(outputs)
    with torch.no_grad():
        better = batch.logits.clone()
        better[torch.arange(len(better)), batch.targets] += 1.0
    after = objective.compute_losses(
        LossBatch(outputs, better, batch.targets, batch.owners, batch.weights, batch.examples)
    )
    assert bool((after < objective.compute_losses(batch)).all())
