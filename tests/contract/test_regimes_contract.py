"""What every regime and every predictor promises, whoever wrote it: parametrized over what is discovered."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from loratory import discovery
from loratory.artifacts.manifests import staging
from loratory.discovery import find, names
from loratory.errors import SpecError
from loratory.models.execution import run_here
from loratory.models.trunks import Pool, TorchTrunk
from loratory.predictors import store
from loratory.protocols import Labelled, Lessons, Prediction, answer
from loratory.tasks.classify import Classify
from tiny import TEXTS, Bases, Trunks, context, examples, lessons, save_base, save_writer, toy_task, trunk_in

REGIMES = names("regimes")
STARTS = {"nothing", "encoder", "causal", "nli"}
ANY_TASK = ("majority",)  # need no capability of a task
UNTAUGHT = ("majority", "zero-shot", "prompted")  # learn nothing from texts
NLI = {0: "contradiction", 1: "neutral", 2: "entailment"}
ODD = ("", "a", "\ud800 x", "card " * 500, "日本語 😀", "\0", *TEXTS, "my card " * 3)


@pytest.fixture(scope="module")
def starts(base_of: Bases, trunk_of: Trunks, tmp_path_factory: pytest.TempPathFactory) -> dict[str, TorchTrunk | None]:
    """A start of each kind."""
    folder = tmp_path_factory.mktemp("nli") / "bert"
    save_base(folder, "bert", kind="AutoModelForSequenceClassification", id2label=NLI)
    writer = trunk_in(save_writer(tmp_path_factory.mktemp("writer"), "qwen3"))
    return {"nothing": None, "encoder": trunk_of("bert"), "causal": writer, "nli": trunk_in(folder)}


def pairs() -> list[tuple[str, str]]:
    return [(name, start) for name in REGIMES for start in find("regimes", name).starts]


@pytest.mark.parametrize("name", REGIMES)
def test_options_are_frozen_and_closed(name: str) -> None:
    regime: Any = find("regimes", name)
    assert issubclass(regime, BaseModel)
    made = regime()
    assert isinstance(regime.adapts, bool)
    assert isinstance(regime.seeded, bool)
    assert set(regime.starts) <= STARTS
    assert regime.starts
    assert regime.tunable is None or isinstance(getattr(made, regime.tunable), float)
    with pytest.raises(ValidationError, match="Extra"):
        regime(no_such_option=1)
    for field, about in regime.model_fields.items():
        with pytest.raises(ValidationError):
            setattr(made, field, 1)
        assert about.description or field == "loss", f"{name}: {field} has no help"
    assert regime.model_validate_json(made.model_dump_json()) == made


@pytest.mark.parametrize("name", REGIMES)
def test_objections(name: str) -> None:
    regime: Any = find("regimes", name)
    for start in STARTS:
        objection = regime().objection(toy_task(), start)
        assert (objection is None) == (start in regime.starts)
        assert objection is None or name in objection

    class Unlabelled:
        kind = "draw"

    assert not isinstance(Unlabelled(), Labelled)
    said = regime().objection(Unlabelled(), regime.starts[0])
    assert said is None if name in ANY_TASK else "draw" in said


@pytest.mark.parametrize(("name", "start"), pairs())
def test_a_fit_answers_is_saved_and_is_loaded(
    name: str, start: str, starts: dict[str, TorchTrunk | None], tmp_path: Path
) -> None:
    task, taught = toy_task(), lessons()
    events: list[str] = []
    surrounding = context(epochs=2, report=lambda event, values: events.append(json.dumps(dict(values))))
    made = find("regimes", name)().fit(task, taught, starts[start], surrounding)
    assert made.task == task

    inputs = [{"text": text} for text in ODD]
    predictions = made.predict(inputs, run_here)
    check(task, predictions, len(inputs))
    assert made.predict([], run_here) == []
    size = made.size()
    assert 0 <= size.trained <= size.total
    assert size.total > 0

    trunk = starts[start]
    pool = Pool()
    if trunk is not None:
        pool._known[trunk.digest] = trunk
    with staging(tmp_path / "fit", {}) as part:
        store.write(part, made)
    again = store.read(tmp_path / "fit", pool)
    assert again.predict(inputs, run_here) == predictions
    assert again.size() == size
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
        assert prediction.why is None


@pytest.mark.parametrize(("name", "start"), pairs())
def test_a_neighbour_changes_no_answer(name: str, start: str, starts: dict[str, TorchTrunk | None]) -> None:
    """One text at a time, all at once, and twice in one batch: the same odds."""
    made = find("regimes", name)().fit(toy_task(), lessons(), starts[start], context(epochs=1))
    inputs = [{"text": text} for text in ODD]
    together = made.predict(inputs, run_here)
    alone = [made.predict([one], run_here)[0] for one in inputs]
    for one, other in zip(together, alone, strict=True):
        assert one.probabilities["/label"] == pytest.approx(other.probabilities["/label"], abs=1e-5)
    twice = made.predict([inputs[-1], *inputs, inputs[-1]], run_here)
    assert twice[0].probabilities["/label"] == pytest.approx(twice[-1].probabilities["/label"], abs=1e-6)


def taught_pairs() -> list[Any]:
    """The pairs that learn; of those that learn to write, in many epochs, one is quick enough for every run."""
    slow = [pair for pair in pairs() if pair[1] == "causal" and find("regimes", pair[0]).adapts and pair[0] != "lora"]
    marks = {pair: [pytest.mark.slow] for pair in slow}
    return [pytest.param(*pair, marks=marks.get(pair, [])) for pair in pairs() if pair[0] not in UNTAUGHT]


@pytest.mark.parametrize(("name", "start"), taught_pairs())
def test_a_regime_that_learns_beats_chance_on_what_it_saw(
    name: str, start: str, starts: dict[str, TorchTrunk | None]
) -> None:
    task, taught = toy_task(), lessons()
    regime: Any = find("regimes", name)
    writing = start == "causal" and regime.adapts  # a random model learns to write at a higher rate, in more epochs
    options = {"learning_rate": 4e-3} if writing else {}
    made = regime(**options).fit(task, taught, starts[start], context(epochs=40 if writing else 4))
    accuracy = task.summarise(answer(made, taught.train, run_here).totals())["accuracy"]
    assert accuracy > 0.5


@pytest.mark.parametrize("name", REGIMES)
def test_a_regime_without_seeds_gives_one_fit(name: str, starts: dict[str, TorchTrunk | None]) -> None:
    regime: Any = find("regimes", name)
    start = starts[regime.starts[0]]
    one, other = (
        regime().fit(toy_task(), lessons(), start, context(seed=seed, epochs=1)).predict(inputs_of(), run_here)
        for seed in (1, 2)
    )
    assert (one == other) != regime.seeded


def inputs_of() -> list[dict[str, str]]:
    return [{"text": text} for text in TEXTS]


@pytest.mark.parametrize("name", REGIMES)
def test_two_labels_and_labels_that_train_lacks(name: str, starts: dict[str, TorchTrunk | None]) -> None:
    regime: Any = find("regimes", name)
    start = starts[regime.starts[0]]
    for task in (toy_task(("card", "cash")), toy_task(("absent", "card", "cash", "Z é/~1"))):
        made = regime().fit(task, lessons(("card", "cash")), start, context(epochs=1))
        check(task, made.predict(inputs_of(), run_here), len(TEXTS))


# ---- a third party's regime, and what importing costs
class FirstLabel(BaseModel):
    """A stranger's regime: always the first label."""

    model_config = {"frozen": True, "extra": "forbid"}

    def fit(self, task: Any, lessons: Lessons, start: Any, context: Any) -> Any:
        from loratory.predictors.patterns import Patterns

        return Patterns(task, (), ({label: float(label == task.labels[0]) for label in task.labels},))


def test_a_third_partys_regime_is_found_by_its_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("first-label", f"{__name__}:FirstLabel", "loratory.regimes")
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])
    known = {**discovery._points("regimes"), "first-label": point}
    monkeypatch.setattr(discovery, "_points", lambda group: known if group == "regimes" else {})
    assert "first-label" in names("regimes")
    made = find("regimes", "first-label")().fit(toy_task(), lessons(), None, context())
    assert [p.answer for p in made.predict(inputs_of(), run_here)] == [{"label": "card"}] * len(TEXTS)
    with pytest.raises(SpecError, match="did you mean 'first-label'"):
        find("regimes", "frist-label")


LIGHT = """
import sys
{statement}
heavy = [m for m in ("torch", "transformers", "sklearn", "peft", "pyarrow", "scipy", "matplotlib") if m in sys.modules]
assert not heavy, heavy
"""
STATEMENTS = {
    "protocols": "import loratory.protocols, loratory.errors, loratory.artifacts.manifests, loratory.measures.labels",
    "specs": "import loratory.specs.frame, loratory.specs.training",
    "tasks and regimes' options": (
        "from loratory.discovery import find, names\n"
        "for group in ('tasks', 'regimes'):\n"
        "    for name in names(group):\n"
        "        kind = find(group, name); kind.model_json_schema(); kind()\n"
        "        if group == 'regimes':\n"
        "            from loratory.tasks.classify import Classify\n"
        "            kind().objection(Classify(), 'encoder')"
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
    task = toy_task()
    assert all(task.label_of(example.answer) in (task.labels or ()) for example in examples())
