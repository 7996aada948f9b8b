"""A stranger's check, perturbation, prompt template, output adapter and predictor: each found, checked and used."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from loratory import contract_checks
from loratory.artifacts.manifests import stage_artifact
from loratory.backbones.forward.execution import run_locally
from loratory.backbones.pool import TorchBackbonePool
from loratory.discovery import create_named, load_named
from loratory.predictors import predictor_files
from loratory.predictors.decoder import Decoder
from loratory.predictors.encoder import Encoder
from loratory.predictors.output_adapters import find_output_adapter_name
from loratory.predictors.prompt_files import Prompt
from loratory.predictors.prompt_templates import find_template_name
from loratory.protocols import Example, Input, Network, Prediction
from loratory.specs.stress import StressSpec
from loratory.tasks.generate import Generate
from tiny_models import BackboneOf, load_backbone_from, make_examples, make_task, save_causal_model

pytestmark = pytest.mark.usefixtures("plugins")


def test_a_check() -> None:
    task = Generate(checks=("greets",))
    contract_checks.verify_check(load_named("checks", "greets"), Example({"prompt": "a"}, "Hello you"))
    example = Example({"prompt": "a"}, "Hello you")
    scores = [task.score_example(example, Prediction(text))["reward"] for text in ("hi!", "no")]
    assert scores == [1.0, 0.0]


def test_a_perturbation() -> None:
    made = create_named("perturbations", [{"fillers": {"words": ["er"]}}])["fillers"]
    contract_checks.verify_perturbation(made)
    assert " er " in made("a b", 1).text
    assert made("a b", 1, [(0, 3)]) is None
    assert StressSpec(of=({"fillers": {"strength": 0.5}},)).of == ({"fillers": {"strength": 0.5}},)


def make_lettered() -> Any:
    """The task of multiple choice, answered with a letter."""

    class Lettered(load_named("tasks", "multiple-choice")):  # type: ignore[misc]
        lettered: ClassVar[bool] = True

        def contract(self, input: Input | None = None) -> Mapping[str, Any]:
            return {"type": "object", "properties": {"letter": {"type": "string"}}}

    return Lettered()


LETTERS = Example({"text": "which is blue", "choices": ["card", "cash", "login"]}, {"letter": "B"})


def test_a_prompt_template(tmp_path: Path) -> None:
    template, task = load_named("prompt_templates", "lettered"), make_lettered()
    contract_checks.verify_prompt_template(template, task, [LETTERS])
    assert find_template_name(task) == "options"  # ours come first where several suit
    backbone = load_backbone_from(save_causal_model(tmp_path / "writer"))
    made = Decoder(task, "lettered", Network(backbone), Prompt.load(None, "lettered"), 64)
    two = {**LETTERS.input, "choices": ["card", "cash"]}
    first, second = made.predict([LETTERS.input, two], run_locally)
    assert set(first.probabilities["/letter"]) == set("ABC")
    assert set(second.probabilities["/letter"]) == set("AB")
    assert sum(second.probabilities["/letter"].values()) == pytest.approx(1)
    none = made.predict([{**LETTERS.input, "choices": []}], run_locally)[0]
    assert none.answer is None


class Stars:
    """A task with the capability of the adapter alone."""

    kind = "stars"
    ordered_labels = ("one", "two", "three")
    labels = ordered_labels

    def text(self, input: Input) -> str:
        return str(input["text"])

    def from_probabilities(self, input: Input, probabilities: Mapping[str, float]) -> Prediction:
        return Prediction({"label": max(probabilities, key=lambda one: probabilities[one])}, {"/label": probabilities})


def test_an_output_adapter(backbone_of: BackboneOf) -> None:
    adapter, task, backbone = load_named("output_adapters", "ordinal"), Stars(), backbone_of("bert")
    stars: Any = task
    assert find_output_adapter_name(stars) == "ordinal"
    assert adapter.parse_labels(adapter.list_output_names(task)) == task.ordered_labels
    head = adapter.build_head("pooled", task, backbone)
    with torch.no_grad():
        head.bias.fill_(1.2)
    made = Encoder(task, "ordinal", Network(backbone, None, head), 64, 0)
    assert [one.answer for one in made.predict([{"text": "hello"}, {"text": "cash"}], run_locally)] == [
        {"label": "two"}
    ] * 2


def test_a_predictor(tmp_path: Path) -> None:
    examples = make_examples()
    echo = load_named("predictors", "echo")
    made = echo(make_task(), tuple((one.input["text"], one.answer) for one in examples))
    with stage_artifact(tmp_path / "fit", {"kind": "fit"}) as part:
        predictor_files.save_predictor(part, made)
    again = predictor_files.load_predictor(tmp_path / "fit", TorchBackbonePool())
    assert again == made
    found = again.predict([one.input for one in examples], run_locally)
    assert [one.answer for one in found] == [one.answer for one in examples]
