"""The one loop: it learns, resumes to the same bytes, stops when it should, and says what to try."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from loratory.backbones.forward.execution import run_locally
from loratory.backbones.forward.precision import choose_precision
from loratory.errors import RunInterrupted, SpecError, TrainingDiverged
from loratory.predictors.heads import PooledHead
from loratory.protocols import FitContext, TrainingState, predict_and_score
from loratory.protocols.events import FitEvent, PredictorFitted, StepFinished
from loratory.regimes.full import Full
from loratory.regimes.head import Head
from loratory.regimes.lora import Lora
from loratory.specs.training import ConsistencySpec, ContrastiveSpec, TrainingSpec
from loratory.training.batching import build_epoch_batches, split_micro_batches
from loratory.training.checkpoints import FolderCheckpoints
from loratory.training.encoders import compute_label_means
from loratory.training.seeds import derive_seed
from loratory.training.targets import compute_class_weights
from loratory.training.training_loop import (
    LOSS_WINDOW,
    MAX_LOSS_GROWTH,
    TrainingJob,
    _build_parameter_groups,
    compute_schedule_factor,
    train,
)
from tiny_models import BackboneOf, compute_label_losses, make_context, make_examples, make_task, make_train_set

LABELS = ("a", "b", "c")


def course(losses: Callable[[Sequence[int]], Tensor], weight: nn.Parameter, **more: Any) -> TrainingJob:
    """Four batches of two examples, scored by what the weight is near 1."""
    given: dict[str, Any] = {
        "parameters": {"head.w": weight},
        "learning_rate": lambda name: 0.05,
        "batches": lambda epoch: [((0, 1),), ((2,), (3,)), ((4, 5),), ((6, 7),)],
        "losses": losses,
        "weights": torch.ones(8),
        "score": lambda: {"accuracy": -float((weight - 1).detach().abs().max())},
        "headline": "accuracy",
        "epochs": 3,
    }
    return TrainingJob(**{**given, **more})


def squares(weight: nn.Parameter) -> Callable[[Sequence[int]], Tensor]:
    return lambda indices: (weight - 1).square().sum() * torch.ones(len(indices))


def collect_steps(steps: list[StepFinished]) -> Callable[[FitEvent], None]:
    return lambda event: steps.append(event) if isinstance(event, StepFinished) else None


def collect_facts(facts: list[dict[str, Any]]) -> Callable[[FitEvent], None]:
    return lambda event: facts.append(dict(event.facts)) if isinstance(event, PredictorFitted) else None


# ---- learning
@pytest.mark.parametrize(
    ("regime", "least"),
    [
        (Lora(rank=4), 0.9),
        (Lora(rank=4, head="stock"), 0.7),
        (Full(learning_rate=1e-3), 0.9),
        (Head(), 0.7),
        (Head(head="stock", learning_rate=2e-2), 0.5),  # a line on the first token of a frozen random base
    ],
)
def test_the_loop_learns_the_toy_task(backbone_of: BackboneOf, regime: Any, least: float) -> None:
    steps: list[StepFinished] = []
    surrounding = make_context(epochs=8, report=collect_steps(steps))
    made = regime.fit(make_task(), make_train_set(), backbone_of("bert"), surrounding)
    outcome = predict_and_score(made, make_train_set().validation, run_locally)
    assert made.task.summarise(outcome.sum_counts())["accuracy"] >= least
    assert steps[-1].loss < steps[0].loss
    assert [s.step for s in steps] == list(range(1, len(steps) + 1))
    assert not any(p.requires_grad for p in made.network.head.parameters())


def test_a_fit_does_not_depend_on_the_generator_it_meets(backbone_of: BackboneOf) -> None:
    found = []
    for noise in (1, 2):
        torch.manual_seed(noise)
        made: Any = Lora(rank=2, dropout=0.2).fit(
            make_task(), make_train_set(), backbone_of("bert"), make_context(epochs=1)
        )
        found.append((made.network.adapter.digest, {n: t.clone() for n, t in made.network.head.state_dict().items()}))
    assert found[0][0] == found[1][0]
    assert all(torch.equal(t, found[1][1][name]) for name, t in found[0][1].items())


def test_another_seed_is_another_fit(backbone_of: BackboneOf) -> None:
    made: list[Any] = [
        Lora(rank=2).fit(make_task(), make_train_set(), backbone_of("bert"), make_context(seed=seed, epochs=1))
        for seed in (1, 2)
    ]
    assert made[0].network.adapter.digest != made[1].network.adapter.digest


def test_labels_that_train_lacks_neither_stop_learning_nor_get_answers(backbone_of: BackboneOf) -> None:
    task = make_task(("card", "cash", "login", "never"))
    steps: list[StepFinished] = []
    surrounding = make_context(epochs=6, report=collect_steps(steps))
    made = Lora(rank=2).fit(task, make_train_set(), backbone_of("bert"), surrounding)
    outcome = predict_and_score(made, make_train_set().validation, run_locally)
    assert task.summarise(outcome.sum_counts())["accuracy"] >= 0.8
    assert all(p.probabilities["/label"]["never"] < 0.05 for p in outcome.predictions)
    assert all(math.isfinite(step.loss) for step in steps)


def test_a_label_without_examples_starts_away_from_all_of_them() -> None:
    pooled = torch.tensor([[2.0, 0.0], [0.0, 3.0], [5.0, 0.0]])
    means = compute_label_means(pooled, torch.tensor([0, 1, 0]), 3)
    assert means[:2].tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert means[2].tolist() == pytest.approx([-2 / 3, -1 / 3])
    head = PooledHead(2, 3, "mean")
    head.prototypes.data.copy_(means)
    cross_entropy(head.compute_logits(pooled), torch.tensor([0, 1, 0])).backward()  # type: ignore[no-untyped-call]
    assert head.prototypes.grad is not None
    assert float(head.prototypes.grad.abs().max()) < 100  # at zeros it would be about 1e12, and clip all else away


# ---- resuming
class Slots:
    """Checkpoints in memory, copied as a disk would."""

    def __init__(self) -> None:
        self.state: TrainingState | None = None
        self.kept = 0

    def load_latest(self) -> TrainingState | None:
        return self.state

    def save(self, state: TrainingState) -> None:
        self.kept += 1
        self.state = TrainingState(
            {n: t.clone() for n, t in state.tensors.items()}, json.loads(json.dumps(state.facts))
        )


class StopAt:
    """Says stop once, when it is asked for the n-th time."""

    def __init__(self, number: int) -> None:
        self.left = number

    def __call__(self) -> bool:
        self.left -= 1
        return self.left == 0


def bytes_of(made: Any) -> dict[str, bytes]:
    tensors = dict(made.network.head.state_dict())
    if made.network.adapter:
        tensors |= made.network.adapter.tensors
    else:
        tensors |= made.network.backbone.model.state_dict()
    return {name: t.detach().contiguous().view(-1).numpy().tobytes() for name, t in tensors.items()}


FITS: dict[str, tuple[Any, dict[str, Any]]] = {
    "lora": (Lora(rank=2, dropout=0.3), {"epochs": 2}),
    "lora, accumulated in micro-batches": (Lora(rank=2), {"epochs": 2, "accumulation": 2, "micro_batch_tokens": 64}),
    "lora, stock head, bf16": (Lora(rank=2, dropout=0.3, head="stock"), {"epochs": 2, "precision": "bf16"}),
    "lora, top layer remembered, averaged": (Lora(rank=2, layers="top-1"), {"epochs": 2, "average": 0.9}),
    "lora, warmed up": (
        Lora(rank=2, contrastive=ContrastiveSpec(epochs=2, labels=2, examples=2)),
        {"epochs": 1, "batch_tokens": 200, "batch_examples": 20},
    ),
    "lora, consistent": (
        Lora(rank=2, consistency=ConsistencySpec()),
        {"epochs": 2, "batch_tokens": 160, "batch_examples": 16},
    ),
    "full": (Full(), {"epochs": 2, "batch_tokens": 160, "batch_examples": 16}),
    "head": (Head(epochs=3), {}),
}


@pytest.mark.parametrize("name", FITS)
def test_resumed_at_every_step_is_uninterrupted_to_the_byte(backbone_of: BackboneOf, name: str) -> None:
    regime, training = FITS[name]
    taught = make_train_set()
    slots = Slots()

    def fit(surrounding: FitContext) -> Any:
        return regime.fit(make_task(), taught, backbone_of("bert"), surrounding)

    facts: list[dict[str, Any]] = []
    whole = fit(
        make_context(
            report=collect_facts(facts),
            **training,
        )
    )
    times = 0
    while True:  # each attempt goes one step further, from what the one before kept
        try:
            again = fit(
                make_context(
                    checkpoints=slots,
                    stopping=StopAt(2 if times % 2 else 1),
                    report=lambda event: (
                        facts.append(dict(event.facts)) if isinstance(event, PredictorFitted) else None
                    ),
                    **training,
                )
            )
            break
        except RunInterrupted:
            times += 1
            torch.manual_seed(times)
    assert times >= 4
    assert slots.kept == times
    assert bytes_of(again) == bytes_of(whole)
    same = ("history", "steps", "precision", "best")
    assert {key: facts[0][key] for key in same} == {key: facts[-1][key] for key in same}


def test_checkpoints_by_the_clock_do_not_change_the_result(backbone_of: BackboneOf, tmp_path: Path) -> None:
    kept = FolderCheckpoints(tmp_path / "kept", "identity")
    often = Lora(rank=2).fit(
        make_task(),
        make_train_set(),
        backbone_of("bert"),
        make_context(checkpoints=kept, checkpoint_seconds=0.0, epochs=1),
    )
    never = Lora(rank=2).fit(
        make_task(), make_train_set(), backbone_of("bert"), make_context(epochs=1, checkpoint_seconds=1e9)
    )
    assert bytes_of(often) == bytes_of(never)
    assert kept.load_latest() is not None


# ---- checkpoints on disk
def state(number: float) -> TrainingState:
    return TrainingState({"w": torch.full((3,), number), "scalar": torch.tensor(number)}, {"step": number})


def test_the_newest_checkpoint_of_this_identity_counts(tmp_path: Path) -> None:
    kept = FolderCheckpoints(tmp_path, "one")
    assert kept.load_latest() is None
    for number in (1.0, 2.0, 3.0):
        kept.save(state(number))
        found = kept.load_latest()
        assert found is not None
        assert found.facts == {"step": number}
        assert torch.equal(found.tensors["w"], torch.full((3,), number))
    assert FolderCheckpoints(tmp_path / "other", "one").load_latest() is None
    assert FolderCheckpoints(tmp_path, "two").load_latest() is None
    kept.clear()
    assert not tmp_path.exists()


@pytest.mark.parametrize("file", ["state.safetensors", "facts.json", "manifest.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "empty"])
def test_a_damaged_checkpoint_falls_back_to_the_other(tmp_path: Path, file: str, damage: str) -> None:
    kept = FolderCheckpoints(tmp_path, "one")
    kept.save(state(1.0))
    kept.save(state(2.0))
    broken = tmp_path / "b" / file
    raw = broken.read_bytes()
    spoilt = {"flip": bytes([raw[0] ^ 1]) + raw[1:], "cut": raw[:-1], "empty": b""}
    if file == "manifest.json" and damage == "cut":
        spoilt["cut"] = raw[:-2]  # its last byte is a line's end
    if damage == "gone":
        broken.unlink()
    else:
        broken.write_bytes(spoilt[damage])
    found = kept.load_latest()
    assert found is not None
    assert found.facts == {"step": 1.0}
    kept.save(state(3.0))  # it takes the damaged one's place, not the valid one's
    assert json.loads((tmp_path / "a" / "facts.json").read_text(encoding="utf-8")) == {"step": 1.0}
    found = kept.load_latest()
    assert found is not None
    assert found.facts == {"step": 3.0}


# ---- stopping
def test_nan_is_divergence_with_a_remedy() -> None:
    weight = nn.Parameter(torch.zeros(1))
    with pytest.raises(TrainingDiverged, match="step 1: the loss is nan") as caught:
        train(course(lambda indices: weight.sum() * torch.full((len(indices),), math.nan), weight), make_context())
    assert "a third of the learning rate" in caught.value.remedy


def test_infinity_is_divergence() -> None:
    weight = nn.Parameter(torch.zeros(1))
    with pytest.raises(TrainingDiverged, match="the loss is inf"):
        train(course(lambda indices: weight.sum() + torch.full((len(indices),), math.inf), weight), make_context())


@pytest.mark.parametrize(("factor", "diverges"), [(MAX_LOSS_GROWTH * 1.3, True), (MAX_LOSS_GROWTH * 0.7, False)])
def test_growth_is_divergence(factor: float, diverges: bool) -> None:
    weight = nn.Parameter(torch.zeros(1))
    seen = 0

    def losses(indices: Sequence[int]) -> Tensor:
        nonlocal seen
        seen += 1
        return weight.sum() * 0 + torch.full((len(indices),), 1.0 if seen <= LOSS_WINDOW else factor)

    batches = [((0, 1),)] * (3 * LOSS_WINDOW)
    made = course(losses, weight, batches=lambda epoch: batches, epochs=1)
    if diverges:
        with pytest.raises(TrainingDiverged, match="the loss grew from 1 to"):
            train(made, make_context())
        assert LOSS_WINDOW < seen <= 2 * LOSS_WINDOW
    else:
        train(made, make_context())


def test_a_stop_is_obeyed_after_a_checkpoint() -> None:
    weight = nn.Parameter(torch.zeros(1))
    slots = Slots()
    with pytest.raises(RunInterrupted, match="stopped at step 2") as caught:
        train(
            course(squares(weight), weight), make_context(checkpoints=slots, stopping=StopAt(2), checkpoint_seconds=1e9)
        )
    assert caught.value.exit_code == 130
    assert slots.kept == 1
    assert slots.state is not None
    assert slots.state.facts["step"] == 2


def test_patience_stops_early_and_the_best_epoch_is_kept() -> None:
    weight = nn.Parameter(torch.zeros(1))
    scores = iter([0.5, 0.9, 0.8, 0.7, 0.95])
    at: list[float] = []

    def score() -> dict[str, float]:
        at.append(weight.item())
        return {"accuracy": next(scores)}

    made = course(squares(weight), weight, score=score, epochs=5)
    facts = train(made, make_context(patience=2))
    assert [row["score"] for row in facts["history"]] == [0.5, 0.9, 0.8, 0.7]
    assert facts["best"] == 0.9
    assert weight.item() == at[1]


def test_a_tie_is_decided_by_the_log_loss() -> None:
    weight = nn.Parameter(torch.zeros(1))
    losses = iter([0.5, 0.3, 0.4])
    at: list[float] = []

    def score() -> dict[str, float]:
        at.append(weight.item())
        return {"accuracy": 1.0, "log_loss": next(losses)}

    train(course(squares(weight), weight, score=score), make_context())
    assert weight.item() == at[1]


def test_micro_batches_add_up_to_their_step() -> None:
    """One step of all examples at once, or in passes of uneven size: the same gradient."""
    found = []
    for batch in (((0, 1, 2, 3, 4),), ((0, 1), (2,), (3, 4))):
        weight = nn.Parameter(torch.tensor([0.3, -0.2]))
        made = course(
            partial(compute_scaled_losses, weight),
            weight,
            batches=partial(lambda b, epoch: [b], batch),
            weights=torch.tensor([1.0, 2.0, 0.5, 0.0, 3.0]),
            epochs=1,
            score=lambda: {"accuracy": 0.0},
        )
        train(made, make_context(clip=1e9))
        found.append(weight.detach())
    assert torch.allclose(found[0], found[1], atol=1e-7)


def compute_scaled_losses(weight: nn.Parameter, indices: Sequence[int]) -> Tensor:
    return torch.stack([(weight * (i + 1)).square().sum() for i in indices])


def test_a_step_whose_examples_weigh_nothing_is_no_divergence() -> None:
    weight = nn.Parameter(torch.zeros(1))
    train(course(squares(weight), weight, weights=torch.zeros(8)), make_context())


# ---- batches
@pytest.mark.parametrize("count", [1, 7, 500])
@pytest.mark.parametrize("accumulation", [1, 3])
def test_an_epoch_holds_every_example_once_within_the_budgets(count: int, accumulation: int) -> None:
    lengths = [3 + (i * 37) % 60 for i in range(count)]
    spec = TrainingSpec(batch_tokens=200, batch_examples=4, micro_batch_tokens=300, accumulation=accumulation)
    batches = build_epoch_batches(lengths, spec, 1, 0)
    assert sorted(i for step in batches for micro in step for i in micro) == list(range(count))
    for step in batches:
        for micro in step:
            assert len(micro) == 1 or len(micro) * max(lengths[i] for i in micro) <= 300
    if accumulation == 1 and count == 500:
        sizes: dict[int, set[int]] = {}
        padded = 0
        for step in batches:
            inside = [i for micro in step for i in micro]
            longest = max(lengths[i] for i in inside)
            sizes.setdefault(longest, set()).add(len(inside))
            padded += longest * len(inside)
        assert padded < 1.1 * sum(lengths)  # lengths of a step are alike
        usual = {longest: max(200 // longest, 4) for longest in sizes}
        odd = [(longest, n) for longest, found in sizes.items() for n in found if n != usual[longest]]
        assert len(odd) <= 3  # the last step of a window, and what is joined to it


@given(
    lengths=st.lists(st.integers(1, 300), min_size=1, max_size=200),
    tokens=st.integers(16, 600),
    least=st.integers(1, 40),
    accumulation=st.integers(1, 3),
)
def test_whatever_the_lengths_every_example_is_in_an_epoch_once(
    lengths: list[int], tokens: int, least: int, accumulation: int
) -> None:
    spec = TrainingSpec(batch_tokens=tokens, batch_examples=least, accumulation=accumulation)
    steps = [[i for micro in step for i in micro] for step in build_epoch_batches(lengths, spec, 1, 0)]
    assert sorted(i for step in steps for i in step) == list(range(len(lengths)))
    assert len(steps) == 1 or min(map(len, steps)) >= min(least, len(lengths))


def test_batches_are_the_same_for_the_same_epoch_and_others_for_another() -> None:
    lengths, spec = [5 + i % 40 for i in range(200)], TrainingSpec()
    assert build_epoch_batches(lengths, spec, 1, 0) == build_epoch_batches(lengths, spec, 1, 0)
    assert build_epoch_batches(lengths, spec, 1, 0) != build_epoch_batches(lengths, spec, 1, 1)
    assert build_epoch_batches(lengths, spec, 1, 0) != build_epoch_batches(lengths, spec, 2, 0)


def test_a_text_longer_than_the_budget_goes_alone() -> None:
    assert sorted(split_micro_batches([4, 5, 6], [0, 0, 0, 0, 9, 900, 9], 100)) == [(4, 6), (5,)]


# ---- losses
def test_balanced_weights_are_sklearns() -> None:
    targets = torch.tensor([0] * 7 + [1] * 2 + [2])
    ours = compute_class_weights(targets, LABELS, "balanced")
    theirs = compute_class_weight("balanced", classes=np.arange(3), y=targets.numpy())
    assert ours.tolist() == pytest.approx(theirs.tolist(), rel=1e-6)
    assert compute_class_weights(targets, LABELS, None).tolist() == [1, 1, 1]
    assert compute_class_weights(targets, LABELS, {"b": 2.5}).tolist() == [1, 2.5, 1]


def test_class_weights_that_cannot_be_meant_are_refused() -> None:
    with pytest.raises(SpecError, match="did you mean 'FRAUD'"):
        compute_class_weights(torch.tensor([0, 1]), ("FRAUD", "INFO"), {"FRAUDS": 2.0})
    for weights in ({"a": -1.0}, {"a": math.nan}, {"a": 0.0, "b": 0.0, "c": 0.0}):
        with pytest.raises(SpecError, match="cannot be used"):
            compute_class_weights(torch.tensor([0, 1]), LABELS, weights)


def test_losses_are_torchs_and_focal_is_its_formula() -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(9, 4) * 3, torch.arange(9) % 4
    plain = cross_entropy(logits, targets, reduction="none")
    assert torch.equal(compute_label_losses(logits, targets), plain)
    smooth = compute_label_losses(logits, targets, label_smoothing=0.1)
    assert torch.allclose(smooth, cross_entropy(logits, targets, reduction="none", label_smoothing=0.1))
    assert not torch.allclose(smooth, plain)
    p = logits.softmax(-1)[torch.arange(9), targets]
    for gamma in (0.5, 2.0):
        focal = compute_label_losses(logits, targets, focal_gamma=gamma)
        assert torch.allclose(focal, -((1 - p) ** gamma) * p.log(), atol=1e-6)
    almost = compute_label_losses(logits, targets, focal_gamma=1e-9)
    assert torch.allclose(almost, plain, atol=1e-5)


def test_the_gradient_of_the_focal_loss_is_finite_at_certainty() -> None:
    logits = torch.tensor([[200.0, 0.0], [-200.0, 0.0]], requires_grad=True)
    compute_label_losses(logits, torch.tensor([0, 0]), focal_gamma=0.5).sum().backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert bool(logits.grad.isfinite().all())


# ---- schedule, groups, precision, seeds
def test_schedules() -> None:
    linear = [compute_schedule_factor(TrainingSpec(warmup=0.1), step, 100) for step in range(100)]
    assert linear[:10] == pytest.approx([(i + 1) / 11 for i in range(10)])
    assert linear[10] == 1.0
    assert linear[55] == pytest.approx(0.5)
    assert linear[99] == pytest.approx(1 / 90)
    cosine = [compute_schedule_factor(TrainingSpec(warmup=0.0, schedule="cosine"), step, 100) for step in range(101)]
    assert (cosine[0], cosine[50], cosine[100]) == pytest.approx((1.0, 0.5, 0.0))
    constant = [compute_schedule_factor(TrainingSpec(warmup=0.2, schedule="constant"), step, 10) for step in range(12)]
    assert constant[2:] == [1.0] * 10
    assert compute_schedule_factor(TrainingSpec(), 120, 100) == 0.0  # an epoch with a batch more than the first had
    assert all(a <= b for a, b in pairwise(linear[:11]))
    assert all(a >= b for a, b in pairwise(linear[10:]))


def test_matrices_are_decayed_and_biases_scales_and_norms_are_not() -> None:
    parameters = {
        "backbone.w": nn.Parameter(torch.zeros(2, 2)),
        "backbone.bias": nn.Parameter(torch.zeros(2)),
        "head.prototypes": nn.Parameter(torch.zeros(2, 2)),
        "head.log_scale": nn.Parameter(torch.tensor(0.0)),
    }
    made = course(lambda indices: torch.zeros(1), parameters["head.log_scale"])
    made = replace(made, parameters=parameters, learning_rate=lambda name: 0.2 if name.startswith("head.") else 0.1)
    groups = {(g["rate"], g["weight_decay"]): [id(p) for p in g["params"]] for g in _build_parameter_groups(made, 0.01)}  # type: ignore[attr-defined]
    assert groups == {
        (0.1, 0.01): [id(parameters["backbone.w"])],
        (0.1, 0.0): [id(parameters["backbone.bias"])],
        (0.2, 0.01): [id(parameters["head.prototypes"])],
        (0.2, 0.0): [id(parameters["head.log_scale"])],
    }


def test_fp16_needs_a_gpu() -> None:
    with pytest.raises(SpecError, match="fp16 needs a GPU") as caught:
        choose_precision("fp16", "cpu")
    assert caught.value.remedy
    assert choose_precision("fp32", "cpu") == "fp32"
    assert choose_precision("auto", "cpu") in ("fp32", "bf16")


def test_seeds_are_functions_of_their_purpose() -> None:
    assert (
        derive_seed(1, "order", 2) == 3249970738
    )  # of another version: a resumed fit would not be the uninterrupted one
    assert (
        len(
            {derive_seed(1, "order", step) for step in range(1000)}
            | {derive_seed(1, "steps", 0), derive_seed(2, "order", 0)}
        )
        > 1000
    )


def test_long_and_short_texts_train_together(backbone_of: BackboneOf) -> None:
    from loratory.protocols import Example, TrainSet

    odd = [Example({"text": text}, {"label": "card"}) for text in ("", "x", "card " * 400, "card", "card")]
    taught = TrainSet([*make_examples()[::3], *odd], make_examples()[:4])
    made = Lora(rank=2).fit(make_task(), taught, backbone_of("bert"), make_context(epochs=1))
    assert made.predict([{"text": ""}], run_locally)[0].answer
