"""What every regime and every predictor promises, whoever wrote it: parametrized over what is discovered."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import asdict
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel, ValidationError
from typing_extensions import get_protocol_members

from loratory import discovery
from loratory.artifacts.manifests import stage_artifact
from loratory.backbones.forward.encoder_backbone import EncoderBackbone
from loratory.backbones.forward.execution import run_locally
from loratory.backbones.pool import TorchBackbonePool
from loratory.discovery import list_names, load_named
from loratory.errors import SpecError
from loratory.predictors import predictor_files
from loratory.protocols import (
    CONTENDER,
    NOTHING,
    FileOptions,
    FitContext,
    Labelled,
    Prediction,
    Predictor,
    Regime,
    Start,
    Task,
    TrainSet,
    make_contender_kind,
    predict_and_score,
)
from loratory.regimes.full import Full
from loratory.regimes.head import Head
from loratory.regimes.lora import Lora
from loratory.regimes.majority import Majority
from loratory.regimes.prompted import Prompted
from loratory.regimes.prototype import Prototype
from loratory.regimes.qlora import Qlora
from loratory.regimes.tfidf import Tfidf
from loratory.regimes.zero_shot import ZeroShot
from loratory.tasks.classify import Classify
from loratory.tasks.generate import Generate
from loratory.tasks.tag import Tag
from tiny_models import (
    TEXTS,
    BackboneOf,
    BasePathOf,
    load_backbone_from,
    make_context,
    make_examples,
    make_task,
    make_train_set,
    save_base,
    save_causal_model,
)

REGIMES = list_names("regimes")
BASES = ("nothing", "encoder", "causal", "nli")
CONTENDERS = tuple(make_contender_kind(kind) for kind in list_names("predictors"))
ANY_TASK = ("majority",)  # need no capability of a task
UNTAUGHT = ("majority", "zero-shot", "prompted")  # learn nothing from texts
NLI = {0: "contradiction", 1: "neutral", 2: "entailment"}
ODD = ("", "a", "\ud800 x", "card " * 500, "日本語 😀", "\0", *TEXTS, "my card " * 3)


@pytest.fixture(scope="module")
def starts(
    base_path_of: BasePathOf, backbone_of: BackboneOf, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Start]:
    """A start of each kind; of other contenders the predictors that the quickest regimes make."""
    folder = tmp_path_factory.mktemp("nli") / "bert"
    save_base(folder, "bert", kind="AutoModelForSequenceClassification", id2label=NLI)
    writer = load_backbone_from(save_causal_model(tmp_path_factory.mktemp("writer"), "qwen3"))
    made: dict[str, Start] = {"nothing": None, "encoder": backbone_of("bert"), "causal": writer}
    made["nli"] = load_backbone_from(folder)
    for name, start in STARTED_BY.items():
        fitted = load_named("regimes", name)().fit(make_task(), make_train_set(), made[start], make_context(epochs=1))
        made[make_contender_kind(predictor_kind_of(fitted))] = fitted
    return made


STARTED_BY = {
    "majority": "nothing",
    "rules": "nothing",
    "tfidf": "nothing",
    "prototype": "encoder",
    "prompted": "causal",
}
TASKS: tuple[Any, ...] = (Classify(labels=("a", "b")), Classify(), Tag(labels=("NAME",)), Generate())


def predictor_kind_of(predictor: Predictor) -> str:
    return next(name for name in list_names("predictors") if load_named("predictors", name) is type(predictor))


def list_supported_starts(name: str, kinds: tuple[str, ...]) -> list[tuple[str, str]]:
    regime = load_named("regimes", name)()
    return [(name, start) for start in kinds if regime.check_support(make_task(), start) is None]


def pairs() -> list[tuple[str, str]]:
    """Every regime with every base that it can start from."""
    return [pair for name in REGIMES for pair in list_supported_starts(name, BASES)]


def contender_pairs() -> list[Any]:
    """Every regime with every contender that it can start from and that the fixture has."""
    given = ("constant", "label_rules", "linear", "encoder", "decoder")
    found = [pair for name in REGIMES for pair in list_supported_starts(name, tuple(map(make_contender_kind, given)))]
    return [
        pytest.param(*pair, marks=[pytest.mark.slow] if pair == ("full", "contender:decoder") else []) for pair in found
    ]


@pytest.mark.parametrize("name", REGIMES)
def test_options_are_frozen_and_closed(name: str) -> None:
    regime: Any = load_named("regimes", name)
    assert issubclass(regime, BaseModel)
    made = regime()
    assert isinstance(regime.adapts, bool)
    assert isinstance(regime.seeded, bool)
    assert set(regime.starts) <= {*BASES, CONTENDER}
    assert regime.starts
    assert get_protocol_members(Regime) <= set(dir(regime))
    assert regime.tunable is None or isinstance(getattr(made, regime.tunable), float)
    if isinstance(made, FileOptions):
        assert set(made.file_options) <= set(regime.model_fields)
    with pytest.raises(ValidationError, match="Extra"):
        regime(no_such_option=1)
    for field, about in regime.model_fields.items():
        with pytest.raises(ValidationError):
            setattr(made, field, 1)
        assert about.description or field == "loss", f"{name}: {field} has no help"
    assert regime.model_validate_json(made.model_dump_json()) == made


@pytest.mark.parametrize("name", REGIMES)
def test_objections(name: str) -> None:
    regime: Any = load_named("regimes", name)
    for start in BASES:
        objection = regime().check_support(make_task(), start)
        assert objection is None or (start not in regime.starts) or CONTENDER in regime.starts
        assert (objection is None) <= (start in regime.starts)
        assert objection is None or name in objection
    objections = [regime().check_support(make_task(), start) for start in CONTENDERS]
    assert (None in objections) == (CONTENDER in regime.starts)

    class Unlabelled:
        kind = "draw"

    assert not isinstance(Unlabelled(), Labelled)
    said = regime().check_support(Unlabelled(), regime.starts[0])
    assert said is None if name in ANY_TASK else "draw" in said


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.kind)
@pytest.mark.parametrize("name", REGIMES)
def test_every_task_and_every_start_is_answered(name: str, task: Task) -> None:
    """Also a task whose labels are open yet; where it is supported, the kind of predictor is known."""
    regime: Any = load_named("regimes", name)()
    for start in (*BASES, *CONTENDERS, "no-such-start"):
        objection = regime.check_support(task, start)
        assert objection is None or (isinstance(objection, str) and objection)
        assert start != "no-such-start" or objection
        if objection is None:
            assert regime.predictor_kind(task, start) in list_names("predictors")


@pytest.mark.parametrize(("name", "start"), [*pairs(), *contender_pairs()])
def test_a_fit_answers_is_saved_and_is_loaded(name: str, start: str, starts: dict[str, Start], tmp_path: Path) -> None:
    task, taught = make_task(), make_train_set()
    events: list[str] = []
    surrounding = make_context(epochs=2, report=lambda event: events.append(json.dumps(asdict(event))))
    regime: Any = load_named("regimes", name)()
    made = regime.fit(task, taught, starts[start], surrounding)
    assert made.task == task
    assert predictor_kind_of(made) == regime.predictor_kind(task, start)

    inputs = [{"text": text} for text in ODD]
    predictions = made.predict(inputs, run_locally)
    check(task, predictions, len(inputs))
    assert made.predict([], run_locally) == []
    size = made.count_parameters()
    assert 0 <= size.trained <= size.total
    assert size.total > 0

    pool = TorchBackbonePool()
    for backbone in starts.values():
        if isinstance(backbone, EncoderBackbone):
            pool._backbones[backbone.digest] = backbone
    with stage_artifact(tmp_path / "fit", {}) as part:
        predictor_files.save_predictor(part, made)
    again = predictor_files.load_predictor(tmp_path / "fit", pool)
    assert again.predict(inputs, run_locally) == predictions
    assert again.count_parameters() == size
    for file in (tmp_path / "fit").rglob("*"):
        assert file.suffix in ("", ".json", ".safetensors", ".md", ".jinja", ".yaml"), f"{file.name}: what is that?"


def check(task: Classify, predictions: list[Prediction], count: int) -> None:
    """Every label has a probability, they sum to 1, and the answer is the first of the most probable."""
    assert len(predictions) == count
    for prediction in predictions:
        odds = prediction.probabilities["/label"]
        assert tuple(odds) == task.labels
        assert all(0 <= p <= 1 and math.isfinite(p) for p in odds.values())
        assert sum(odds.values()) == pytest.approx(1, abs=1e-6)
        assert prediction.answer == {"label": max(odds, key=odds.__getitem__)}
        assert prediction.reason is None


@pytest.mark.parametrize(("name", "start"), pairs())
def test_a_neighbour_changes_no_answer(name: str, start: str, starts: dict[str, Start]) -> None:
    """One text at a time, all at once, and twice in one batch: the same odds."""
    made = load_named("regimes", name)().fit(make_task(), make_train_set(), starts[start], make_context(epochs=1))
    inputs = [{"text": text} for text in ODD]
    together = made.predict(inputs, run_locally)
    alone = [made.predict([one], run_locally)[0] for one in inputs]
    for one, other in zip(together, alone, strict=True):
        assert one.probabilities["/label"] == pytest.approx(other.probabilities["/label"], abs=1e-5)
    twice = made.predict([inputs[-1], *inputs, inputs[-1]], run_locally)
    assert twice[0].probabilities["/label"] == pytest.approx(twice[-1].probabilities["/label"], abs=1e-6)


def taught_pairs() -> list[Any]:
    """The pairs that learn; of those that learn to write, in many epochs, one is quick enough for every run."""
    slow = [
        pair for pair in pairs() if pair[1] == "causal" and load_named("regimes", pair[0]).adapts and pair[0] != "lora"
    ]
    marks = {pair: [pytest.mark.slow] for pair in slow}
    return [pytest.param(*pair, marks=marks.get(pair, [])) for pair in pairs() if pair[0] not in UNTAUGHT]


@pytest.mark.parametrize(("name", "start"), taught_pairs())
def test_a_regime_that_learns_beats_chance_on_what_it_saw(name: str, start: str, starts: dict[str, Start]) -> None:
    task, taught = make_task(), make_train_set()
    regime: Any = load_named("regimes", name)
    writing = start == "causal" and regime.adapts  # a random model learns to write at a higher rate, in more epochs
    options = {"learning_rate": 4e-3} if writing else {}
    made = regime(**options).fit(task, taught, starts[start], make_context(epochs=40 if writing else 4))
    accuracy = task.summarise(predict_and_score(made, taught.train, run_locally).sum_counts())["accuracy"]
    assert accuracy > 0.5


@pytest.mark.parametrize("name", REGIMES)
def test_a_regime_without_seeds_gives_one_fit(name: str, starts: dict[str, Start]) -> None:
    regime: Any = load_named("regimes", name)
    start, few = starts[regime.starts[0]], make_train_set()
    taught = TrainSet(tuple(few.train) * 3, few.validation)  # more than one batch: a seed decides their order
    one, other = (
        regime().fit(make_task(), taught, start, make_context(seed=seed, epochs=1)).predict(inputs_of(), run_locally)
        for seed in (1, 2)
    )
    assert (one == other) != regime.seeded


def inputs_of() -> list[dict[str, str]]:
    return [{"text": text} for text in TEXTS]


@pytest.mark.parametrize("name", REGIMES)
def test_two_labels_and_labels_that_train_lacks(name: str, starts: dict[str, Start]) -> None:
    regime: Any = load_named("regimes", name)
    start = starts[regime.starts[0]]
    for task in (make_task(("card", "cash")), make_task(("absent", "card", "cash", "Z é/~1"))):
        made = regime().fit(task, make_train_set(("card", "cash")), start, make_context(epochs=1))
        check(task, made.predict(inputs_of(), run_locally), len(TEXTS))


# ---- a third party's regime, and what importing costs
class FirstLabel(BaseModel):
    """A stranger's regime, exactly the protocol: always the first label."""

    model_config = {"frozen": True, "extra": "forbid"}
    adapts: ClassVar[bool] = False
    tunable: ClassVar[str | None] = None
    seeded: ClassVar[bool] = False
    starts: ClassVar[tuple[str, ...]] = (NOTHING,)

    def check_support(self, task: Task, start: str) -> str | None:
        return None if isinstance(task, Labelled) and start == NOTHING else "first-label needs labels"

    def predictor_kind(self, task: Task, start: str) -> str:
        return "label_rules"

    def fit(self, task: Labelled, train_set: TrainSet, start: Start, context: FitContext) -> Predictor:
        from loratory.predictors.label_rules import LabelRules

        labels = task.labels or ()
        return LabelRules(task, (), ({label: float(label == labels[0]) for label in labels},))


# a type checker sees whether the protocol is met
OF_LABELS: tuple[Regime[Labelled], ...] = (FirstLabel(), Tfidf(), ZeroShot())
OF_TASKS: tuple[Regime[Task], ...] = (Majority(), Prototype(), Head(), Lora(), Qlora(), Full(), Prompted())


def test_a_third_partys_regime_is_found_by_its_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("first-label", f"{__name__}:FirstLabel", "loratory.regimes")
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])
    known = {**discovery._find_entry_points("regimes"), "first-label": point}
    monkeypatch.setattr(discovery, "_find_entry_points", lambda group: known if group == "regimes" else {})
    assert "first-label" in list_names("regimes")
    made = load_named("regimes", "first-label")().fit(make_task(), make_train_set(), None, make_context())
    assert [p.answer for p in made.predict(inputs_of(), run_locally)] == [{"label": "card"}] * len(TEXTS)
    with pytest.raises(SpecError, match="did you mean 'first-label'"):
        load_named("regimes", "frist-label")


LIGHT = """
import sys
{statement}
heavy = [m for m in ("torch", "transformers", "sklearn", "peft", "pyarrow", "scipy", "matplotlib") if m in sys.modules]
assert not heavy, heavy
"""
STATEMENTS = {
    "protocols": (
        "import loratory.protocols, loratory.errors, loratory.artifacts.manifests, "
        "loratory.measures.classification_metrics"
    ),
    "specs": "import loratory.specs.spec, loratory.specs.training",
    "tasks and regimes' options": (
        "from loratory.discovery import load_named, list_names\n"
        "for group in ('tasks', 'regimes', 'objectives'):\n"
        "    for name in list_names(group):\n"
        "        kind = load_named(group, name); kind.model_json_schema(); kind()\n"
        "        if group == 'regimes':\n"
        "            from loratory.tasks.classify import Classify\n"
        "            kind().check_support(Classify(), 'encoder') or kind().predictor_kind(Classify(), 'encoder')"
    ),
    "--help": (
        "from loratory.cli import main\n"
        "sys.argv = ['loratory', '--help']\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as end:\n"
        "    assert not end.code, end.code"
    ),
}


@pytest.mark.parametrize("what", STATEMENTS)
def test_light_things_load_no_heavy_library(what: str) -> None:
    code = LIGHT.format(statement=STATEMENTS[what])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_light_check_can_fail() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIGHT.format(statement="import scipy")], capture_output=True, check=False
    )
    assert done.returncode != 0


def test_examples_of_the_toy_task_are_its_own() -> None:
    task = make_task()
    assert all(task.label_of(example.answer) in (task.labels or ()) for example in make_examples())
