"""Consistency training: its loss, its twins, what it does, and that it does nothing where it is off."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from loratory.backbones.forward.execution import run_locally
from loratory.data.quality.paired_texts import perturb_example
from loratory.evaluation.stress_test import PerturbedOutcomes, measure_flips
from loratory.perturbations.surface import Typos
from loratory.protocols import Predictor, predict_and_score
from loratory.protocols.events import Message, PredictorFitted, StepFinished
from loratory.regimes.lora import Lora
from loratory.specs.training import ConsistencySpec
from loratory.tasks.tag import Tag
from loratory.training.consistency import PerturbedPairs, compute_consistency_loss, symmetric_kl
from tiny_models import BackboneOf, compute_label_losses, make_context, make_examples, make_task, make_train_set


def softmax(row: list[float]) -> list[float]:
    total = sum(math.exp(x) for x in row)
    return [math.exp(x) / total for x in row]


def test_the_loss_is_its_formula() -> None:
    plain, other = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, 1.0]]), torch.tensor([[0.5, 0.5, 0.0], [2.0, 1.0, 1.0]])
    targets, expected = [2, 1], []
    for row, twin_row, target in zip(plain.tolist(), other.tolist(), targets, strict=True):
        p, q = softmax(row), softmax(twin_row)
        one = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
        two = sum(b * math.log(b / a) for a, b in zip(p, q, strict=True))
        expected.append(-math.log(p[target]) - math.log(q[target]) + 0.7 * (one + two) / 2)
    made = compute_consistency_loss(plain, other, lambda o: compute_label_losses(o, torch.tensor(targets)), 0.7)
    assert made.tolist() == pytest.approx(expected, rel=1e-5)


def test_equal_answers_have_no_divergence_and_both_sides_learn() -> None:
    one, other = torch.randn(4, 3, requires_grad=True), torch.randn(4, 3, requires_grad=True)
    assert symmetric_kl(one, one.detach().clone()).tolist() == pytest.approx([0.0] * 4, abs=1e-6)
    symmetric_kl(one, other).sum().backward()  # type: ignore[no-untyped-call]
    assert one.grad is not None
    assert other.grad is not None
    assert bool((one.grad != 0).any() and (other.grad != 0).any())


def twins(backbone: Any, seed: int = 1, **options: Any) -> PerturbedPairs:
    return PerturbedPairs(
        make_task(), "labels", backbone.tokenizer, make_examples(), 64, "head", ConsistencySpec(**options), seed
    )


def test_twins_are_functions_of_seed_epoch_and_index(backbone_of: BackboneOf) -> None:
    def texts(seed: int, epoch: int) -> list[str]:
        drawn = twins(backbone_of("bert"), seed)
        drawn.epoch = epoch
        return [str(drawn.perturb_example(index).input["text"]) for index in range(20)]

    assert texts(1, 0) == texts(1, 0)
    assert texts(1, 0) != texts(1, 1)
    assert texts(1, 0) != texts(2, 0)
    assert all(a != b.input["text"] for a, b in zip(texts(1, 0), make_examples(), strict=False))


def test_a_text_with_nothing_to_change_is_its_own_twin(backbone_of: BackboneOf) -> None:
    drawn = twins(backbone_of("bert"), of=("spacing",))
    drawn.examples = [make_examples()[0].__class__({"text": "cash"}, {"label": "cash"})]
    assert drawn.perturb_example(0) == drawn.examples[0]
    assert len(drawn.encode_rows([0])) == 1


def test_a_label_name_stands_beside_itself(backbone_of: BackboneOf) -> None:
    drawn, rows = twins(backbone_of("bert")), [(7, 8), (9,)]
    drawn.label_rows, count = rows, len(drawn.examples)
    assert drawn.encode_rows([count + 1, 0, count]) == [rows[1], *drawn.encode_rows([0]), rows[0]]


def fit_predictor(
    backbone: Any, consistency: dict[str, Any] | None, said: list[Any] | None = None, **more: Any
) -> Predictor:
    regime = Lora(rank=4, alpha=16, learning_rate=5e-3, consistency=consistency, **more.pop("lora", {}))
    heard = [] if said is None else said
    around = make_context(report=heard.append, **{"epochs": 6, **more})
    return regime.fit(make_task(), make_train_set(), backbone, around)


def flips(predictor: Predictor, seed: int = 9) -> float:
    """The share of the toy's answers that change with slips in every word."""
    task, rows = make_task(), make_examples()
    shaken = [made or row for row in rows if (made := perturb_example(task, row, Typos(strength=1.0), seed)) or True]
    facts: Any = measure_flips(
        task,
        PerturbedOutcomes(
            predict_and_score(predictor, rows, run_locally), predict_and_score(predictor, shaken, run_locally)
        ),
        0.95,
    )
    return float(facts["flips"]["value"])


def test_it_lowers_flips(backbone_of: BackboneOf) -> None:
    backbone = backbone_of("bert")
    plain = fit_predictor(backbone, None)
    steady = fit_predictor(backbone, {"of": [{"typos": {"strength": 1.0}}], "weight": 1.0})
    assert flips(plain) > 0.15
    assert flips(steady) < flips(plain) - 0.05


def test_off_it_changes_nothing_and_on_it_is_the_same_again(
    backbone_of: BackboneOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    def losses(consistency: dict[str, Any] | None) -> list[float]:
        heard: list[Any] = []
        fit_predictor(backbone_of("bert"), consistency, heard, epochs=1)
        return [event.loss for event in heard if isinstance(event, StepFinished)]

    on = losses({})
    assert on == losses({})
    off = losses(None)
    assert on[0] > off[0]

    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("this is off")

    monkeypatch.setattr("loratory.training.encoders.compute_consistency_loss", never)
    monkeypatch.setattr("loratory.training.encoders.PerturbedPairs", never)
    assert losses(None) == off  # what they were before there was such a thing: tests/golden holds them


def test_lower_layers_are_not_remembered_and_it_says_so(backbone_of: BackboneOf) -> None:
    heard: list[Any] = []
    fit_predictor(backbone_of("bert"), {}, heard, epochs=1, lora={"layers": "top-1"})
    assert any("every layer is computed" in event.text for event in heard if isinstance(event, Message))
    assert next(event.facts for event in heard if isinstance(event, PredictorFitted))["cached_layers"] == 0


def test_it_is_refused_where_it_cannot_work() -> None:
    regime = Lora(consistency=ConsistencySpec())
    assert regime.check_support(make_task(), "encoder") is None
    assert "task of labels" in str(regime.check_support(Tag(labels=("NAME",)), "encoder"))
    assert "task of labels" in str(regime.check_support(make_task(), "causal"))
    assert Lora(consistency=ConsistencySpec(), head="pooled").check_support(make_task(), "causal") is None
    with pytest.raises(ValidationError, match="no perturbation called 'typo'"):
        ConsistencySpec(of=("typo",))


def test_one_strength_for_all() -> None:
    spec = ConsistencySpec(of=("typos", "suffix"), strength=0.7)
    assert [one.strength for one in spec.build_perturbations().values()] == [0.7, 0.7]
    assert ConsistencySpec(of=("typos",)).build_perturbations()["typos"].strength == Typos().strength


def test_a_fit_draws_other_twins_in_each_epoch(backbone_of: BackboneOf, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []
    drawn = PerturbedPairs.perturb_example

    def of(self: PerturbedPairs, index: int) -> Any:
        seen.append((self.epoch, index))
        return drawn(self, index)

    monkeypatch.setattr(PerturbedPairs, "perturb_example", of)
    fit_predictor(backbone_of("bert"), {}, epochs=2)
    assert sorted(seen) == [(epoch, index) for epoch in range(2) for index in range(len(make_train_set().train))]
