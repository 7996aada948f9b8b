"""Texts that join, leave and are given up while others are being written: each is what it is alone."""

from __future__ import annotations

import asyncio
import gc
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from loratory.backbones.forward import capability_probes
from loratory.backbones.forward.capability_probes import probe_joining
from loratory.backbones.forward.causal_backbone import CausalBackbone
from loratory.backbones.forward.execution import run_locally
from loratory.backbones.generation import generator, token_sequence
from loratory.backbones.generation.sequence_batch import join_batches
from loratory.backbones.pool import TorchBackbonePool
from loratory.errors import DeadlineExceeded, UnsupportedTask
from loratory.protocols import (
    EncodeRequest,
    GenerateRequest,
    Generation,
    InferencePlan,
    Network,
    Prediction,
    Sampling,
    ScoreRequest,
    TokenIds,
)
from loratory.serving.engine.batch_worker import EngineLimits
from loratory.serving.engine.capabilities import backbone_of
from loratory.serving.engine.inference_engine import Engine
from loratory.serving.engine.thread_pool import CapacityExceeded
from tiny_models import load_causal_backbone_from, make_random_adapter, save_causal_model

SCHEMA = {
    "type": "object",
    "properties": {"kind": {"enum": ["card", "cash"]}, "note": {"type": "string", "maxLength": 12}},
    "required": ["kind", "note"],
}
WINDOW = 48


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> CausalBackbone:
    return load_causal_backbone_from(save_causal_model(tmp_path_factory.mktemp("qwen"), "qwen2"))


@pytest.fixture(scope="module")
def seedling() -> CausalBackbone:
    backbone = TorchBackbonePool().get_base("seedling")
    assert isinstance(backbone, CausalBackbone)
    return backbone


def end_of(backbone: Any) -> int:
    return int(backbone.tokenizer.tokenizer.eos_token_id)


def prompts(backbone: Any, count: int = 9) -> list[TokenIds]:
    words = ["my card was blocked and", "cash", "please help me with the login, since monday", "what is", "a refund of"]
    return [backbone.tokenizer.encode(f"{words[k % 5]} {k}")[0] for k in range(count)]


def requests_of(backbone: Any, count: int = 9, **more: Any) -> list[GenerateRequest]:
    """Budgets of different sizes, behind prompts of different lengths."""
    ends = frozenset({end_of(backbone)})
    return [
        GenerateRequest(Network(backbone), prompt, 6 + 7 * (k % 4), ends, **more)
        for k, prompt in enumerate(prompts(backbone, count))
    ]


def late(backbone: Any, requests: list[GenerateRequest], every: int = 2) -> list[Generation]:
    """One joins after every few steps."""
    scribe, pens = backbone.create_generator(), [backbone.create_sequence(request) for request in requests]
    for pen in pens:
        assert backbone.can_join_batch(pen.request)
        backbone.add_sequences(scribe, [pen], True)
        for _ in range(every):
            scribe.step()
    while not scribe.is_done:
        scribe.step()
    return [pen.to_generation() for pen in pens]


def same(found: list[Generation], wanted: list[Generation]) -> None:
    for one, other in zip(found, wanted, strict=True):
        assert (one.text, one.ids, one.finish_reason) == (other.text, other.ids, other.finish_reason)
        assert one.token_probabilities == pytest.approx(other.token_probabilities, rel=1e-4, abs=1e-6)


def alone(requests: list[GenerateRequest]) -> list[Generation]:
    return [run_locally([request])[0] for request in requests]


@pytest.mark.parametrize("name", ["qwen", "seedling"])
@pytest.mark.parametrize("every", [0, 1, 5])
def test_who_joins_late_writes_as_alone(name: str, every: int, request: pytest.FixtureRequest) -> None:
    backbone = request.getfixturevalue(name)
    asked = requests_of(backbone)
    same(late(backbone, asked, every), alone(asked))


def test_they_are_written_in_one_pass(qwen: CausalBackbone) -> None:
    sizes: list[int] = []
    hook = qwen.model.register_forward_hook(
        lambda part, args, options, out: sizes.append(len(options["input_ids"])), with_kwargs=True
    )
    assert qwen.capabilities.joining
    sizes.clear()
    try:
        late(qwen, requests_of(qwen, 4), 1)
    finally:
        hook.remove()
    assert sizes[:6] == [1, 1, 1, 2, 1, 3]  # a prompt, a step of one; a prompt, a step of two; ...


def test_several_that_join_at_once_share_their_beginning(qwen: CausalBackbone) -> None:
    before = tuple(20 + k * 7 % 90 for k in range(30))
    asked = [replace(one, prompt=(*before, *one.prompt)) for one in requests_of(qwen, 5)]
    scribe, pens = qwen.create_generator(), [qwen.create_sequence(one) for one in asked]
    qwen.add_sequences(scribe, pens[:1], True)
    for _ in range(3):
        scribe.step()
    qwen.add_sequences(scribe, pens[1:], True)
    while not scribe.is_done:
        scribe.step()
    same([pen.to_generation() for pen in pens], alone(asked))


def test_adapters_schemas_and_ways_of_drawing_are_mixed(qwen: CausalBackbone) -> None:
    guests = [None, make_random_adapter(qwen, seed=1), make_random_adapter(qwen, seed=2)]
    asked = [
        replace(
            one,
            network=Network(qwen, guests[k % 3]),
            max_new_tokens=60,
            schema=SCHEMA if k % 2 else None,
            sampling=Sampling(0.8 * (k % 4 > 1), 0.95, 1.1, seed=k),
        )
        for k, one in enumerate(requests_of(qwen, 12))
    ]
    found = late(qwen, asked, 3)
    same(found, alone(asked))
    assert all(json.loads(one.text)["kind"] in ("card", "cash") for one in found[1::2])


def test_the_precision_of_the_mixture_is_kept(tmp_path: Path) -> None:
    backbone = load_causal_backbone_from(save_causal_model(tmp_path, "llama"))
    backbone.set_precision("bf16")
    asked = [replace(one, network=Network(backbone, make_random_adapter(backbone))) for one in requests_of(backbone, 3)]
    assert all(one.finish_reason in ("end", "length") for one in late(backbone, asked))


def test_who_leaves_takes_its_columns_along(qwen: CausalBackbone) -> None:
    long, *short = requests_of(qwen, 4)
    long = replace(long, prompt=long.prompt * 8, max_new_tokens=3)
    scribe = qwen.create_generator()
    qwen.add_sequences(scribe, [qwen.create_sequence(long)], True)
    for one in short[:2]:
        qwen.add_sequences(
            scribe, [qwen.create_sequence(replace(one, max_new_tokens=40, stop_token_ids=frozenset()))], True
        )
    assert scribe._batches[0].inputs["attention_mask"].shape[1] > len(long.prompt)
    for _ in range(4):
        scribe.step()
    assert len(scribe.sequences) == 3  # one who has ended waits for company
    qwen.add_sequences(scribe, [qwen.create_sequence(short[2])], True)
    (rows,) = scribe._batches
    assert rows.inputs["attention_mask"].shape[1] < len(long.prompt) / 2
    assert len(rows.sequences) == 3


def test_nobody_who_has_gone_is_written_for(qwen: CausalBackbone) -> None:
    asked, waits = requests_of(qwen, 3), [True, True, True]
    scribe = qwen.create_generator()
    pens = [qwen.create_sequence(one, partial(waits.__getitem__, k)) for k, one in enumerate(asked)]
    qwen.add_sequences(scribe, pens[:2], True)
    scribe.step()
    waits[0] = False
    qwen.add_sequences(scribe, pens[2:], True)
    assert [pen for rows in scribe._batches for pen in rows.sequences] == pens[1:]
    while not scribe.is_done:
        scribe.step()
    assert pens[0].to_generation().finish_reason == "abandoned"
    assert len(pens[0].ids) == 2
    same([pen.to_generation() for pen in pens[1:]], alone(asked[1:]))
    waits[:] = [False] * 3
    qwen.add_sequences(scribe, [qwen.create_sequence(asked[0], lambda: False)], True)
    assert scribe.is_done


def test_a_schema_that_fails_on_the_way_fails_alone(qwen: CausalBackbone, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = requests_of(qwen, 2)
    bad = qwen.create_sequence(replace(asked[0], max_new_tokens=40, schema=SCHEMA))
    monkeypatch.setattr(bad.constraint, "compute_allowed_tokens", lambda: 1 / 0)
    monkeypatch.setattr(bad.constraint, "try_accept", lambda token: False)
    scribe, good = qwen.create_generator(), qwen.create_sequence(asked[1])
    qwen.add_sequences(scribe, [bad, good], True)
    while not scribe.is_done:
        scribe.step()
    assert isinstance(bad.error, ZeroDivisionError)
    same([good.to_generation()], alone(asked[1:]))
    monkeypatch.setattr(token_sequence, "MAX_TOKEN_SECONDS", -1.0)
    with pytest.raises(UnsupportedTask, match="takes too long"):
        qwen.generate([replace(asked[0], max_new_tokens=40, schema=SCHEMA)])


@pytest.mark.parametrize("name", ["position_ids", "attention_mask"])
def test_a_wrong_place_in_the_joined_batch_would_be_seen(
    qwen: CausalBackbone, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = join_batches

    def wrong(first: Any, second: Any) -> Any:
        rows = right(first, second)
        rows.inputs[name] = rows.inputs[name].roll(1, 0)
        return rows

    assert probe_joining(qwen.create_scorer(), qwen.run_without_adapters, Network(qwen))
    monkeypatch.setattr(generator, "join_batches", wrong)
    assert not probe_joining(qwen.create_scorer(), qwen.run_without_adapters, Network(qwen))


# --- in the engine


class ScriptedPredictor:
    """A predictor that asks for what it is told to."""

    task: Any = None

    def __init__(self, network: Network, requests: list[Any], max_new_tokens: int = 24) -> None:
        self.network, self.requests, self.max_new_tokens = network, requests, max_new_tokens

    def plan(self, inputs: Any) -> InferencePlan:
        return InferencePlan(
            [self.requests[one["k"]] for one in inputs], lambda made: [Prediction(one, raw=str(one)) for one in made]
        )

    def predict(self, inputs: Any, run: Any) -> Any:
        raise AssertionError("asked in stages")


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = Engine(EngineLimits())
    yield made
    made.close()


def predict_places(engine: Engine, predictor: Any, places: list[int], by: float | None = None) -> Any:
    return engine.predict(predictor, [{"k": k} for k in places], by)


def endless(backbone: CausalBackbone, most: int = 280, heard: Callable[[str], None] | None = None) -> GenerateRequest:
    return GenerateRequest(Network(backbone), prompts(backbone)[0][:4], most, frozenset(), on_token=heard)


def test_the_engine_lets_a_request_join_one_that_is_being_written(qwen: CausalBackbone, engine: Engine) -> None:
    async def both() -> list[str]:
        order: list[str] = []
        pieces: list[str] = []
        long = ScriptedPredictor(Network(qwen), [endless(qwen, heard=pieces.append)])
        short = ScriptedPredictor(Network(qwen), requests_of(qwen, 4))

        async def await_in_order(name: str, work: Any) -> Any:
            made = await work
            order.append(name)
            return made

        first = asyncio.create_task(await_in_order("long", predict_places(engine, long, [0])))
        while len(pieces) < 3:
            await asyncio.sleep(0.001)
        others = await await_in_order("short", predict_places(engine, short, [0, 1, 2, 3]))
        heard = len(pieces)
        (whole,) = await first
        assert heard < len(pieces)
        same([one.answer for one in others], alone(short.requests))
        same([whole.answer], alone([replace(long.requests[0], on_token=None)]))
        return order

    assert asyncio.run(both()) == ["short", "long"]


def test_scores_and_states_have_their_turn_between_steps(qwen: CausalBackbone, engine: Engine) -> None:
    async def both() -> None:
        pieces: list[str] = []
        long = ScriptedPredictor(Network(qwen), [endless(qwen, heard=pieces.append)])
        asked: list[Any] = [
            ScoreRequest(Network(qwen), (5, 6, 7), ((8,), (9,))),
            EncodeRequest(Network(qwen), (5, 6, 7)),
        ]
        quick = ScriptedPredictor(Network(qwen), asked, max_new_tokens=0)
        first = asyncio.create_task(predict_places(engine, long, [0]))
        while len(pieces) < 3:
            await asyncio.sleep(0.001)
        made = await predict_places(engine, quick, [0, 1])
        assert not first.done()
        assert torch.allclose(made[0].answer, run_locally([asked[0]])[0])
        await first

    asyncio.run(both())


def test_more_than_there_is_room_for_wait_their_turn(qwen: CausalBackbone) -> None:
    engine, widest = Engine(EngineLimits(max_sequences=3)), list[int]()
    hook = qwen.model.register_forward_hook(
        lambda part, args, options, out: widest.append(len(options["input_ids"])), with_kwargs=True
    )
    many = ScriptedPredictor(Network(qwen), requests_of(qwen, 9))
    try:
        found = asyncio.run(predict_places(engine, many, list(range(9))))
    finally:
        hook.remove()
        engine.close()
    assert max(widest) <= 3
    same([one.answer for one in found], alone(many.requests))


def test_a_request_that_nobody_waits_for_stops_within_a_few_steps(qwen: CausalBackbone, engine: Engine) -> None:
    async def left() -> int:
        pieces: list[str] = []
        long = ScriptedPredictor(Network(qwen), [endless(qwen, heard=pieces.append)])
        first = asyncio.create_task(predict_places(engine, long, [0]))
        while len(pieces) < 3:
            await asyncio.sleep(0.001)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        at = len(pieces)
        await asyncio.sleep(0.3)
        assert not engine.get_worker(qwen)._scheduler.busy
        return len(pieces) - at

    assert asyncio.run(left()) <= 3


def test_a_deadline_ends_a_text(qwen: CausalBackbone, engine: Engine) -> None:
    with pytest.raises(DeadlineExceeded):
        asyncio.run(
            predict_places(engine, ScriptedPredictor(Network(qwen), [endless(qwen, 300)]), [0], time.monotonic() + 0.05)
        )


def test_admission_counts_what_may_be_written(qwen: CausalBackbone) -> None:
    engine = Engine(EngineLimits(queue_tokens=600, max_sequences=1))

    async def predict_five_times() -> list[Any]:
        long = ScriptedPredictor(Network(qwen), [endless(qwen)], max_new_tokens=280)
        return await asyncio.gather(*(predict_places(engine, long, [0]) for _ in range(5)), return_exceptions=True)

    found = asyncio.run(predict_five_times())
    engine.close()
    assert 1 <= sum(isinstance(one, CapacityExceeded) for one in found) < 4
    assert sum(isinstance(one, list) for one in found) >= 2


def test_one_that_cannot_be_begun_fails_alone(qwen: CausalBackbone, engine: Engine) -> None:
    asked = requests_of(qwen, 3)
    asked[1] = replace(asked[1], schema={"type": "string", "pattern": "(?=a)"})

    async def both() -> list[Any]:
        predictor = ScriptedPredictor(Network(qwen), asked)
        return await asyncio.gather(*(predict_places(engine, predictor, [k]) for k in range(3)), return_exceptions=True)

    found = asyncio.run(both())
    assert isinstance(found[1], UnsupportedTask)
    same([found[0][0].answer, found[2][0].answer], alone([asked[0], asked[2]]))


def test_a_pass_that_fails_fails_those_in_it_and_the_lane_goes_on(
    qwen: CausalBackbone, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = ScriptedPredictor(Network(qwen), requests_of(qwen, 2))
    asyncio.run(predict_places(engine, predictor, [0]))
    with monkeypatch.context() as broken:
        broken.setattr(generator, "build_next_inputs", lambda inputs, tokens: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            asyncio.run(predict_places(engine, predictor, [0, 1]))
    same([one.answer for one in asyncio.run(predict_places(engine, predictor, [0, 1]))], alone(predictor.requests))


@pytest.mark.parametrize("way", ["window", "untried"])
def test_what_cannot_join_is_written_in_whole_batches(
    way: str, tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    more: dict[str, Any] = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": WINDOW}
    backbone = load_causal_backbone_from(
        save_causal_model(tmp_path, "qwen3", use_sliding_window=True, **more)
        if way == "window"
        else save_causal_model(tmp_path, "qwen2")
    )
    if way == "untried":
        monkeypatch.setattr(capability_probes, "PROBE_PROMPTS", ())
        backbone.capabilities = replace(backbone.capabilities, joining=False)
    asked = [replace(one, max_new_tokens=WINDOW) for one in requests_of(backbone, 5)]
    assert not any(backbone.can_join_batch(one) for one in asked)
    assert backbone.can_join_batch(replace(asked[0], max_new_tokens=2)) is (way == "window")

    async def one_by_one() -> list[Any]:
        predictor = ScriptedPredictor(Network(backbone), asked)
        tasks = []
        for k in range(5):
            tasks.append(asyncio.create_task(predict_places(engine, predictor, [k])))
            await asyncio.sleep(0.01)
        return [(await task)[0].answer for task in tasks]

    same(asyncio.run(one_by_one()), alone(asked))


@pytest.mark.parametrize("writes", [True, False])
def test_an_engine_holds_no_backbone_that_nobody_asks(writes: bool, tmp_path: Path) -> None:
    backbone, engine = load_causal_backbone_from(save_causal_model(tmp_path, "llama")), Engine()
    asked: list[Any] = requests_of(backbone, 2)
    scored = [ScoreRequest(Network(backbone), (5, 6, 7), ((8,), (9,)))] * 2
    predictor = ScriptedPredictor(Network(backbone), asked if writes else scored, 24 * writes)
    asyncio.run(predict_places(engine, predictor, [0, 1]))
    assert backbone_of(predictor) is backbone
    time.sleep(0.05)
    del backbone, predictor, asked, scored
    gc.collect()
    assert not engine.list_workers()
    engine.close()
