"""What can make a fit better: label names in the start, a mean of the weights, cleaned labels."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from loratory.backbones.forward.execution import run_locally
from loratory.data.dataset import Parts
from loratory.data.quality.label_errors import SuspectedLabel
from loratory.experiment.prepare import drop_label_errors, load_or_prepare, prepare_split
from loratory.experiment.spec_loading import load_spec
from loratory.predictors.heads import PooledHead
from loratory.protocols import Example, TrainSet, predict_and_score
from loratory.protocols.events import (
    EpochFinished,
    Event,
    FitEvent,
    Message,
    PredictorFitted,
    StageStarted,
    StepFinished,
)
from loratory.regimes.head import Head
from loratory.regimes.lora import Lora
from loratory.regimes.prototype import Prototype
from loratory.specs.data import DataSpec
from loratory.specs.training import ContrastiveSpec, LossSpec
from loratory.tasks.tag import Tag
from loratory.training.contrastive import contrastive_loss, sample_hard_negative_steps
from loratory.training.encoders import (
    EncodedDataset,
    choose_label_name_weight,
    compute_label_means,
    sample_per_label,
)
from loratory.training.pooled_heads import PooledHeadFit, refit_pooled_head
from loratory.training.seeds import make_generator
from loratory.training.training_loop import TrainingJob, train
from tiny_models import BackboneOf, make_context, make_examples, make_task, make_train_set


# ---- label names
def test_words_count_as_so_many_examples() -> None:
    pooled, targets = torch.eye(4)[:3], torch.tensor([0, 0, 1])
    words = torch.eye(4)[[3, 3, 3]] * 7
    means = compute_label_means(pooled, targets, 3, words, 2.0)
    assert means[0].tolist() == pytest.approx([0.25, 0.25, 0, 0.5])
    assert means[1].tolist() == pytest.approx([0, 0, 1 / 3, 2 / 3])
    assert means[2].tolist() == pytest.approx([0, 0, 0, 1])  # no example: its name alone
    assert torch.equal(
        compute_label_means(pooled, targets, 3, words, 0.0)[:2], compute_label_means(pooled, targets, 3)[:2]
    )


@pytest.mark.parametrize(
    ("asked", "counts", "weight"),
    [
        (None, [5, 5, 5], 1.0),
        (None, [16, 16, 400], 1.0),
        (None, [17, 17, 2], 0.0),
        (None, [5, 0, 0], 1.0),
        (0.0, [5, 5], 0.0),
        (2.5, [500], 2.5),
    ],
)
def test_words_count_where_labels_have_few_examples(asked: float | None, counts: list[int], weight: float) -> None:
    targets = torch.tensor([label for label, count in enumerate(counts) for _ in range(count)])
    assert choose_label_name_weight(asked, targets) == weight


def test_a_head_learns_the_words_of_its_labels(backbone_of: BackboneOf) -> None:
    task, backbone = make_task(("card", "cash", "login")), backbone_of("bert")
    taught = TrainSet(tuple(make_examples(("card", "cash"))), tuple(make_examples(("card", "cash"))))
    found = {}
    for weight in (0.0, 1.0):
        made = Head(label_names=weight, epochs=40).fit(task, taught, backbone, make_context())
        odds = made.predict([{"text": task.describe("login")}], run_locally)[0].probabilities["/label"]
        found[weight] = float(odds["login"])
    assert found[1.0] > found[0.0]


def test_a_label_without_examples_is_found_by_its_name(backbone_of: BackboneOf) -> None:
    task, backbone = make_task(("card", "cash", "login")), backbone_of("bert")
    taught = TrainSet(tuple(make_examples(("card", "cash"))), tuple(make_examples(("card", "cash"))))

    def odds_of_login(regime: Prototype) -> float:
        made = regime.fit(task, taught, backbone, make_context())
        predictions = made.predict([{"text": task.describe("login")}], run_locally)
        return float(predictions[0].probabilities["/label"]["login"])

    assert odds_of_login(Prototype(label_names=1.0)) > odds_of_login(Prototype(label_names=0.0))


def train_on_label_names(backbone_of: BackboneOf, regime: Lora, train_set: TrainSet) -> list[float]:
    """The loss of each step."""
    losses: list[float] = []

    def report(event: FitEvent) -> None:
        if isinstance(event, StepFinished):
            losses.append(event.loss)

    regime.fit(make_task(), train_set, backbone_of("bert"), make_context(report=report, epochs=2))
    return losses


def test_lora_learns_label_names_as_it_learns_examples(backbone_of: BackboneOf) -> None:
    """The same steps as with examples whose texts are the labels' words; it is the default with few examples."""
    task, plain = make_task(), make_train_set()
    words = [Example({"text": task.describe(label)}, {"label": label}, origin=label) for label in task.labels or ()]
    written = TrainSet((*plain.train, *words), plain.validation)
    named = train_on_label_names(backbone_of, Lora(rank=4, label_names=1.0), plain)
    assert named == pytest.approx(train_on_label_names(backbone_of, Lora(rank=4, label_names=0.0), written), rel=1e-4)
    assert named == train_on_label_names(backbone_of, Lora(rank=4), plain)
    assert named != train_on_label_names(backbone_of, Lora(rank=4, label_names=0.0), plain)


def test_label_names_weigh_what_they_are_given(backbone_of: BackboneOf) -> None:
    task, taught, context = make_task(), make_train_set(), make_context()
    plain = EncodedDataset.from_train_set(task, backbone_of("bert"), taught, context, LossSpec())
    named = plain.add_label_examples(backbone_of("bert"), 256, 0.5)
    assert named.targets.tolist() == [*plain.targets.tolist(), 0, 1, 2]
    assert named.weights.tolist() == [*plain.weights.tolist(), 0.5, 0.5, 0.5]
    assert len(named.rows) == len(named.examples) == len(plain.rows) + 3


def test_a_stock_head_learns_label_names_where_asked_alone(backbone_of: BackboneOf) -> None:
    few = make_train_set()
    stock = train_on_label_names(backbone_of, Lora(rank=4, head="stock"), few)
    assert stock == train_on_label_names(backbone_of, Lora(rank=4, head="stock", label_names=0.0), few)
    assert stock != train_on_label_names(backbone_of, Lora(rank=4, head="stock", label_names=1.0), few)


# ---- the head fitted again
def fit_facts(backbone_of: BackboneOf, regime: Lora, train_set: TrainSet) -> tuple[dict[str, Any], Any]:
    """Facts of the fit, and the predictor."""
    facts: dict[str, Any] = {}

    def report(event: FitEvent) -> None:
        if isinstance(event, PredictorFitted):
            facts.update(event.facts)

    made = regime.fit(make_task(), train_set, backbone_of("bert"), make_context(report=report, epochs=1))
    return facts, made


def test_a_head_is_fitted_again_and_the_better_stays(backbone_of: BackboneOf) -> None:
    few = make_train_set()
    off, plain = fit_facts(backbone_of, Lora(rank=4, refit_head=False), few)
    on, made = fit_facts(backbone_of, Lora(rank=4, refit_head=None), few)  # by the number of examples
    assert "refit_head" not in off
    before, after = on["refit_head"]["before"], on["refit_head"]["after"]
    assert before == pytest.approx(off["best"])
    assert on["best"] == max(before, after)
    said = predict_and_score(made, few.validation, run_locally)
    assert make_task().summarise(said.sum_counts())["accuracy"] == pytest.approx(on["best"])
    for name, tensor in plain.network.adapter.tensors.items():  # the backbone is the same
        assert torch.equal(tensor, made.network.adapter.tensors[name])


@pytest.mark.parametrize(
    ("after", "stays"),
    [
        ({"accuracy": 0.8, "log_loss": 0.1}, False),
        ({"accuracy": 0.9, "log_loss": 0.3}, False),
        ({"accuracy": 0.9, "log_loss": 0.2}, True),
        ({"accuracy": 1.0, "log_loss": 0.9}, True),
    ],
)
def test_a_head_that_is_not_better_is_taken_back(after: dict[str, float], stays: bool) -> None:
    head = PooledHead(2, 2, "mean")
    head.prototypes.data.copy_(torch.eye(2))
    scores = iter([{"accuracy": 0.9, "log_loss": 0.3}, *[after] * 21])
    fit = PooledHeadFit(
        head=head,
        pooled=torch.randn(6, 2),
        parameters={"head.prototypes": head.prototypes},
        weights=torch.ones(6),
        losses=lambda logits, indices: logits.square().sum(-1),
        score=lambda: next(scores),
        headline="accuracy",
    )
    facts = refit_pooled_head(fit, torch.ones(2, 2), make_context())
    assert facts == {
        "refit_head": {"before": 0.9, "after": after["accuracy"]},
        "best": max(0.9, after["accuracy"]),
    }
    assert torch.equal(head.prototypes.data, torch.eye(2)) is not stays


def test_what_has_no_pooled_head_is_not_fitted_again() -> None:
    with pytest.raises(ValidationError, match="set head: pooled with it"):
        Lora(head="stock", refit_head=True)
    assert "refit_head" in str(Lora(refit_head=True).check_support(make_task(), "causal"))
    assert "refit_head" in str(Lora(refit_head=True).check_support(Tag(labels=("A",)), "encoder"))


# ---- contrastive warm-up
def test_the_contrastive_loss_is_its_formula() -> None:
    torch.manual_seed(1)
    pooled, targets, heat = torch.randn(5, 3), torch.tensor([0, 1, 0, 0, 2]), 0.2
    z = [row / row.norm() for row in pooled]
    expected = []
    for i in range(5):
        others = [j for j in range(5) if j != i]
        total = sum(math.exp(float(z[i] @ z[j]) / heat) for j in others)
        same = [j for j in others if targets[j] == targets[i]]
        terms = [-math.log(math.exp(float(z[i] @ z[j]) / heat) / total) for j in same]
        expected.append(sum(terms) / len(terms) if terms else 0.0)
    assert contrastive_loss(pooled, targets, heat).tolist() == pytest.approx(expected, rel=1e-5)
    assert expected[1] == expected[4] == 0.0
    pooled.requires_grad_()
    contrastive_loss(pooled, targets, heat).sum().backward()  # type: ignore[no-untyped-call]
    assert bool(torch.isfinite(pooled.grad).all())  # type: ignore[arg-type]


def test_a_steps_labels_are_those_most_alike_and_rare_ones_take_part() -> None:
    means = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9], [5.0, 5.0]])
    targets = torch.tensor([0] * 40 + [1] * 40 + [2] * 40 + [3] * 2)  # 4 has no examples
    spec = ContrastiveSpec(labels=2, examples=4)
    steps = sample_hard_negative_steps(targets, means, spec, seed=1, epoch=0)
    together = [{int(targets[i]) for i in step} for step in steps]
    assert {frozenset(labels) for labels in together} == {frozenset({0, 1}), frozenset({2, 3})}
    assert len(steps) == round(122 / 8)
    assert all(len(step) == len(set(step)) <= 8 for step in steps)
    assert steps == sample_hard_negative_steps(targets, means, spec, seed=1, epoch=0)
    assert steps != sample_hard_negative_steps(targets, means, spec, seed=1, epoch=1)


def test_a_warm_up_brings_labels_apart_before_the_head_learns(backbone_of: BackboneOf) -> None:
    history: list[tuple[float, float]] = []

    def report(event: FitEvent) -> None:
        if isinstance(event, EpochFinished):
            history.append((event.loss, event.score))

    spec = ContrastiveSpec(epochs=6, labels=3, examples=4)
    Lora(rank=4, contrastive=spec).fit(
        make_task(), make_train_set(), backbone_of("bert"), make_context(report=report, epochs=1)
    )
    assert len(history) == 7
    assert history[5][0] < history[0][0]


def test_a_warm_up_for_a_stock_head_is_refused() -> None:
    with pytest.raises(ValidationError, match="set head: pooled with it"):
        Lora(head="stock", contrastive=ContrastiveSpec())


# ---- a mean of the weights
def wobbling(weight: nn.Parameter, seen: list[float]) -> TrainingJob:
    """A loss whose least place jumps between steps: the mean is nearer to its middle (0) than any step's weight."""
    return TrainingJob(
        parameters={"w": weight},
        learning_rate=lambda name: 0.5,
        batches=lambda epoch: [((i,),) for i in range(40)],
        losses=lambda i: (weight - (4.0 if i[0] % 2 else -4.0)).square().sum()[None],
        weights=torch.ones(40),
        score=lambda: seen.append(float(weight.detach())) or {"accuracy": 0.0},  # type: ignore[func-returns-value]
        headline="accuracy",
        epochs=1,
    )


def test_the_mean_is_what_is_validated_and_kept() -> None:
    plain, mean = nn.Parameter(torch.tensor([3.0])), nn.Parameter(torch.tensor([3.0]))
    of_plain: list[float] = []
    of_mean: list[float] = []
    train(wobbling(plain, of_plain), make_context(schedule="constant", warmup=0.0, epochs=1))
    train(wobbling(mean, of_mean), make_context(schedule="constant", warmup=0.0, epochs=1, average=0.9))
    assert float(mean.detach()) == of_mean[0]
    assert of_mean != of_plain
    assert abs(of_mean[0]) < 3.0


# ---- cleaned labels
def suspect(example: Example) -> SuspectedLabel:
    return SuspectedLabel(example.origin, example.input["text"], example.answer["label"], "b", 0.1, 0.9)  # type: ignore[index]


def test_suspects_leave_train_alone_and_a_label_keeps_its_last_example() -> None:
    made = [Example({"text": f"t{i}"}, {"label": "ab"[i > 3]}, origin=f"f:{i}") for i in range(5)]
    parts = Parts.of(make_task(("a", "b")), made, made, made, made)
    after, left = drop_label_errors(parts, [suspect(made[1]), suspect(made[4])])
    assert [e.origin for e in after.train] == ["f:0", "f:2", "f:3", "f:4"]  # the only b stays
    assert [s.origin for s in left] == ["f:1"]
    assert (after.validation, after.calibration, after.test) == (parts.validation, parts.calibration, parts.test)


def test_what_is_left_out_is_listed_and_kept_with_the_split(tmp_path: Path) -> None:
    sounds = [a + b for a in ("ba", "de", "fi", "go", "ku", "la", "me", "ni") for b in ("ro", "sa", "te", "vu")]
    rows = [(f"{word} {sound} {sound[::-1]}", word) for sound in sounds for word in ("apple", "stone", "river")]
    rows[:30:3] = [(text, "stone") for text, _ in rows[:30:3]]  # some of them in train, whatever the split
    (tmp_path / "d.csv").write_text("text,label\n" + "".join(f"{t},{label}\n" for t, label in rows), encoding="utf-8")
    (tmp_path / "s.yaml").write_text("name: x\ndata: {path: d.csv, near_duplicates: 1}\nladder: [tfidf]\n")
    said: list[str] = []

    def listen(event: Event) -> None:
        if isinstance(event, Message | StageStarted):
            said.append(event.text)

    plain = prepare_split(load_spec(str(tmp_path / "s.yaml"), None, []), listen)
    assert "left_out" not in plain.facts
    found = plain.quality["suspects"]["count"]
    assert found >= 1
    made = load_or_prepare(load_spec(str(tmp_path / "s.yaml"), None, ["data.clean=true"]), tmp_path / "data", listen)
    assert len(made.parts.train) == len(plain.parts.train) - found
    assert made.parts.test == plain.parts.test
    listed = json.loads((tmp_path / "data" / "split.json").read_text(encoding="utf-8"))["left_out"]
    assert {one["text"] for one in listed} <= {text for text, _ in rows[:30:3]}
    assert f"{found} suspected wrong labels are left out of train (split.json lists them)" in said


def test_nothing_is_left_out_where_the_model_knows_too_little(tmp_path: Path) -> None:
    words = [f"{a}{b}" for a in ("ba", "de", "fi", "go", "ku", "la") for b in ("ro", "sa", "te", "vu", "xi")]
    rows = [
        (f"{one} {other}", "abc"[(n * 7 + m * 5) % 3])
        for n, one in enumerate(words)
        for m, other in enumerate(words[:4])
    ]
    (tmp_path / "d.csv").write_text("text,label\n" + "".join(f"{t},{label}\n" for t, label in rows), encoding="utf-8")
    (tmp_path / "s.yaml").write_text(
        "name: x\ndata: {path: d.csv, near_duplicates: 1, clean: true}\nladder: [tfidf]\n", encoding="utf-8"
    )
    said: list[str] = []
    split = prepare_split(
        load_spec(str(tmp_path / "s.yaml"), None, []), lambda event: said.append(vars(event).get("text", ""))
    )
    suspects = split.quality["suspects"]
    assert suspects["out_of_fold_accuracy"] < 0.85
    assert (suspects["count"], suspects["useful"]) == (0, False)
    assert split.facts["left_out"] == []
    assert sum(split.quality["counts"].values()) == sum(len(part) for _, part in split.parts.items()) == len(rows)
    assert any(
        line.startswith("data: clean leaves nothing out: the model that disputes labels is right") for line in said
    )


def test_cleaning_needs_somebody_who_looks() -> None:
    with pytest.raises(ValidationError, match="set suspects: true with it"):
        DataSpec(path="x.csv", clean=True, suspects=False)


def test_all_levers_are_off_unless_asked_for() -> None:
    assert Prototype().label_names is None
    assert DataSpec(path="x").clean is False
    assert make_context().training.average == 0


def test_some_of_each_label_are_taken_and_a_rare_label_wholly() -> None:
    targets = torch.tensor([0] * 50 + [1] * 3 + [2] * 20)
    chosen = sample_per_label(targets, 10, make_generator(1, "start"))
    assert chosen == sorted(set(chosen))
    assert torch.bincount(targets[chosen]).tolist() == [10, 3, 10]
    assert chosen != sample_per_label(targets, 10, make_generator(2, "start"))
    assert sample_per_label(targets, None, make_generator(1, "start")) == list(range(73))
