"""Many adapters on one backbone: nobody is answered by another's, whatever is replaced meanwhile, and served =
offline.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import itertools
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from loratory.backbones.forward.encoder_backbone import EncoderBackbone
from loratory.backbones.forward.execution import run_locally
from loratory.predictors.calibrated import CalibratedPredictor, OperatingPoint
from loratory.predictors.encoder import Encoder
from loratory.predictors.output_adapters import load_output_adapter
from loratory.protocols import Adapter, Input, Network, Prediction
from loratory.serving.engine.batch_worker import EngineLimits
from loratory.serving.engine.capabilities import backbone_of
from loratory.serving.engine.fallback_chain import StagedAnswer, answer_inputs
from loratory.serving.engine.inference_engine import Engine
from loratory.serving.engine.service_registry import FallbackStage, Service, ServiceRegistry
from loratory.tasks.classify import Classify
from loratory.tasks.tag import Tag
from tiny_models import load_backbone_from, make_corpus, make_random_adapter, save_base

TASKS = 32
TOLERANCE = 1e-4
SWAPS = 20.0  # a second
TEXTS = (*make_corpus()[::6], "hello", "cash", "what now, my card was blocked; the login code is late since monday")


@dataclass
class Home:
    """One base twice: what is served, and what answers offline meanwhile (a backbone belongs to one thread at a
    time).
    """

    served: EncoderBackbone
    offline: EncoderBackbone
    whole: Sequence[Adapter]  # on all layers, of some ranks
    top: Sequence[Adapter]  # on the last layer alone


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("sentinels") / "base"
    return save_base(place, "bert", hidden_size=64, intermediate_size=96)


@pytest.fixture(scope="module")
def home(folder: Path) -> Home:
    backbone = load_backbone_from(folder)
    pattern, _ = backbone.find_layers()
    top = [
        make_random_adapter(backbone, rank, seed, layers_to_transform=[1], layers_pattern=pattern)
        for rank, seed in ((2, 5), (4, 6))
    ]
    assert {adapter.first_layer for adapter in top} == {1}
    return Home(load_backbone_from(folder), backbone, [make_random_adapter(backbone, rank) for rank in (2, 4, 8)], top)


def vary_adapter(adapter: Adapter, seed: int) -> Adapter:
    """A fresh adapter of the same shape."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {name: torch.randn(t.shape, generator=generator) * 0.2 for name, t in adapter.tensors.items()}
    return dataclasses.replace(adapter, tensors=tensors, digest=f"{adapter.digest}/{seed}")


def build_random_head(form: str, kind: str, task: Any, backbone: EncoderBackbone, seed: int) -> nn.Module:
    """A head with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = load_output_adapter(form).build_head(kind, task, backbone)
        for name, weight in head.named_parameters():
            if name != "log_scale":
                nn.init.normal_(weight, std=1.0)
    return head.eval().requires_grad_(False)


@dataclass(frozen=True)
class Pair:
    """One predictor, to be served and to answer offline."""

    served: Any
    offline: Any


def pair(home: Home, task: Any, adapter: Adapter | None, seed: int, kind: str = "pooled") -> Pair:
    form = "spans" if isinstance(task, Tag) else "labels"
    head = build_random_head(form, kind, task, home.offline, seed)
    both = [Encoder(task, form, Network(backbone, adapter, head), 40, 0) for backbone in (home.served, home.offline)]
    return Pair(*both)


def classify(name: str, count: int) -> Classify:
    """Labels that say whose they are."""
    return Classify(labels=tuple(f"{name}.{number}" for number in range(count)))


def offline(predictor: Any, text: str) -> Prediction:
    """Alone, unshared."""
    (made,) = predictor.predict([{"text": text}], run_locally)
    return made  # type: ignore[no-any-return]


def differ(one: Prediction, other: Prediction) -> float:
    """The largest difference of probabilities; infinity where they are of other labels, or places."""
    if one.probabilities.keys() != other.probabilities.keys() or (one.answer is None) != (other.answer is None):
        return float("inf")
    most = 0.0
    for place, odds in one.probabilities.items():
        if odds.keys() != other.probabilities[place].keys():
            return float("inf")
        most = max(most, *(abs(odds[label] - share) for label, share in other.probabilities[place].items()))
    return most


# -- hot replacement
@dataclass
class Sentinels:
    """Tasks whose versions come and go; what each of them answers offline is kept under its release."""

    home: Home
    board: ServiceRegistry = field(default_factory=lambda: ServiceRegistry({}, {}))
    right: dict[str, Mapping[str, Prediction]] = field(default_factory=dict)
    versions: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def renew(self, number: int) -> None:
        """A version of a task that nobody has seen, in place of the one that there is."""
        version = next(self.versions)
        release = f"task-{number}/{version}"
        shapes = [*self.home.whole, *self.home.top, None]
        shape = shapes[(number + version) % len(shapes)]
        adapter = vary_adapter(shape, version) if shape else None
        made = pair(self.home, classify(release, 2 + number % 7), adapter, version)
        known = made.offline.predict([{"text": text} for text in TEXTS], run_locally)
        self.right[release] = dict(zip(TEXTS, known, strict=True))
        name = f"task-{number}"
        self.board.register(Service(name, (FallbackStage("lora", made.served, release),)))

    def check(self, name: str, text: str, one: StagedAnswer) -> None:
        release, label = one.stage.release, (one.prediction.answer or {}).get("label", "")
        assert release.startswith(f"{name}/")
        assert label.startswith(f"{release}."), f"{name} was answered by another: {label} instead of {release}"
        assert differ(one.prediction, self.right[release][text]) < TOLERANCE


async def clients(engine: Engine, sentinels: Sentinels, count: int, most: int) -> int:
    """Ask for random tasks until there are `most` answers; how many there were."""
    answered = 0

    async def client(seed: int) -> None:
        nonlocal answered
        chance = random.Random(seed)
        while answered < most:
            service = sentinels.board.get(f"task-{chance.randrange(TASKS)}")
            assert service is not None
            texts = chance.choices(TEXTS, k=chance.randint(1, 3))
            made = await answer_inputs(engine, service, [{"text": text} for text in texts], time.monotonic() + 30)
            assert len(made) == len(texts)
            for text, one in zip(texts, made, strict=True):
                sentinels.check(service.name, text, one)
            answered += len(made)

    await asyncio.gather(*(client(seed) for seed in range(count)))
    return answered


def replaced_under_load(home: Home, most: int) -> tuple[int, int]:
    """Answers, and versions that came while they were given."""
    sentinels = Sentinels(home)
    for number in range(TASKS):
        sentinels.renew(number)

    async def run() -> int:
        engine = Engine(EngineLimits())

        async def replace() -> None:
            started = time.monotonic()
            for count, number in enumerate(itertools.cycle(random.Random(1).sample(range(TASKS), TASKS))):
                await asyncio.sleep(max(started + count / SWAPS - time.monotonic(), 0))
                sentinels.renew(number)

        swapping = asyncio.create_task(replace())
        try:
            return await clients(engine, sentinels, 16, most)
        finally:
            swapping.cancel()
            engine.close()

    answered = asyncio.run(run())
    return answered, len(sentinels.right) - TASKS


def test_nobody_is_answered_by_another(home: Home) -> None:
    answered, swaps = replaced_under_load(home, 3_000)
    assert answered >= 3_000
    assert swaps >= 10
    gc.collect()
    layer = next(module for module in home.served._multi_lora.adapted_model.modules() if hasattr(module, "deltas"))
    assert len(layer.deltas) <= TASKS + 1  # those that were replaced have left


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_nobody_is_answered_by_another_100_000_times(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    started = time.monotonic()
    answered, swaps = replaced_under_load(home, 100_000)
    seconds = time.monotonic() - started
    with capsys.disabled():
        print(f"\n{answered} answers, {swaps} replacements, {seconds:.0f} s")  # noqa: T201
    assert answered >= 100_000
    assert swaps >= 0.5 * SWAPS * seconds


# -- served = offline
def everybody(home: Home) -> dict[str, Pair]:
    """A predictor of each kind, some of them on the top layer alone."""
    whole, top = home.whole, home.top
    tags = Tag(labels=("A", "B"), whole_words=False)
    plain = {
        "pooled": pair(home, classify("pooled", 3), vary_adapter(whole[0], 1), 1),
        "stock": pair(home, classify("stock", 5), vary_adapter(whole[1], 2), 2, "stock"),
        "tag": pair(home, tags, vary_adapter(whole[2], 3), 3),
        "tag-stock": pair(home, tags, vary_adapter(whole[0], 4), 4, "stock"),
        "head": pair(home, classify("head", 4), None, 5),
        "head-tag": pair(home, tags, None, 6),
        "top": pair(home, classify("top", 2), vary_adapter(top[0], 7), 7),
        "top-other": pair(home, classify("top-other", 6), vary_adapter(top[1], 8), 8),
        "top-tag": pair(home, tags, vary_adapter(top[1], 9), 9),
    }
    return plain | {f"{name} operated": calibrate_pair(plain[name]) for name in ("pooled", "stock", "top")}


def calibrate_pair(one: Pair) -> Pair:
    point = OperatingPoint(1.7, {one.served.task.labels[0]: 0.4}, "energy", 1.0)
    return Pair(CalibratedPredictor(one.served, point), CalibratedPredictor(one.offline, point))


def predict_through_engine(
    pairs: Mapping[str, Pair], texts: Sequence[str], together: bool
) -> dict[tuple[str, str], Prediction]:
    """Through an engine: all at once, or one after another."""

    async def run() -> dict[tuple[str, str], Prediction]:
        engine = Engine(EngineLimits(batch_tokens=4096))
        order = [(name, text) for text in texts for name in pairs]
        random.Random(2).shuffle(order)

        async def one(name: str, text: str) -> Prediction:
            inputs: list[Input] = [{"text": text}]
            (made,) = await engine.predict(pairs[name].served, inputs, None)
            return made

        if together:
            made = await asyncio.gather(*(one(*each) for each in order))
        else:
            made = [await one(*each) for each in order]
        (lane,) = engine.list_workers().values()
        assert (lane.batches < len(order) / 4) if together else (lane.batches >= len(order) - 1)
        engine.close()
        return dict(zip(order, made, strict=True))

    return asyncio.run(run())


@pytest.mark.parametrize("together", [False, True])
def test_served_is_offline(home: Home, together: bool) -> None:
    pairs = everybody(home)
    answers = []
    for (name, text), made in predict_through_engine(pairs, TEXTS, together).items():
        right = offline(pairs[name].offline, text)
        assert differ(made, right) < TOLERANCE, (name, text)
        assert made.answer == right.answer, (name, text)
        assert made.reason == right.reason
        answers.append(made.answer)
    assert None in answers  # some of what is operated abstains, so that is compared, too
    assert any(answer and answer.get("spans") for answer in answers)


def test_texts_that_tasks_share_are_computed_once_below_and_answered_alike(home: Home) -> None:
    pairs = {name: one for name, one in everybody(home).items() if "top" in name or "head" in name}
    backbone = home.served
    rows = [backbone.tokenizer.encode(text)[0] for text in TEXTS for _ in pairs]
    guests = [find_adapter(one.served) for _ in TEXTS for one in pairs.values()]
    assert backbone._has_shared_texts(rows, guests)
    floors = backbone._multi_lora.layer_split
    assert floors is not None
    below = floors.capture_layer_inputs
    entered: list[int] = []

    def noting(layers: Any, inputs: Any) -> Any:
        entered.append(len(inputs["input_ids"]))
        return below(layers, inputs)

    floors.capture_layer_inputs = noting  # type: ignore[method-assign]
    try:
        found = predict_through_engine(pairs, TEXTS, together=True)
    finally:
        del floors.capture_layer_inputs
    assert entered
    assert sum(entered) < len(found)
    for (name, text), made in found.items():
        assert differ(made, offline(pairs[name].offline, text)) < TOLERANCE, (name, text)


def find_adapter(predictor: Any) -> Adapter | None:
    while hasattr(predictor, "predictor"):
        predictor = predictor.predictor
    return predictor.network.adapter  # type: ignore[no-any-return]


def test_an_adapter_that_needs_peft_is_answered_alike_beside_the_others(home: Home) -> None:
    """It is on the embeddings, which the skeleton cannot seat."""
    adapter = make_random_adapter(home.offline, 2, 3, target_modules=["word_embeddings"])
    pairs = {**everybody(home), "embeddings": pair(home, classify("embeddings", 3), adapter, 11)}
    assert not home.served._multi_lora.can_mix(adapter)
    for (name, text), made in predict_through_engine(pairs, TEXTS[:6], together=True).items():
        assert differ(made, offline(pairs[name].offline, text)) < TOLERANCE, (name, text)


def test_in_bf16_the_labels_stay(folder: Path, home: Home) -> None:
    half = Home(load_backbone_from(folder), home.offline, home.whole, home.top)
    half.served.set_precision("bf16")
    pairs = everybody(half)
    assert all(backbone_of(one.served) is half.served for one in pairs.values())
    found = predict_through_engine(pairs, TEXTS, together=True)
    alike = [made.answer == offline(pairs[name].offline, text).answer for (name, text), made in found.items()]
    apart = [differ(made, offline(pairs[name].offline, text)) for (name, text), made in found.items()]
    assert max(apart) > TOLERANCE  # it does compute in bf16
    assert sum(alike) / len(alike) >= 0.9
