"""Text token by token: greedy as transformers' own, drawn by seed, and never out of its schema or its budget."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

import jsonschema
import pytest
import torch
import transformers

from loratory.backbones.constraints.grammar import TokenConstraint
from loratory.backbones.constraints.json_completion import find_shortest_completion
from loratory.backbones.forward.execution import run_locally
from loratory.backbones.generation import token_sequence
from loratory.errors import UnsupportedTask
from loratory.protocols import GenerateRequest, Network, Sampling, TokenIds
from loratory.schemas import to_compact_json
from tiny_models import CAUSAL_FAMILIES, load_causal_backbone_from, make_random_adapter, save_causal_model

PROMPTS: tuple[TokenIds, ...] = ((5, 6, 7, 8, 9), (11, 12), (40, 41, 42, 43, 44, 45, 46, 47, 48), (30,))


@pytest.fixture(scope="module", params=CAUSAL_FAMILIES)
def writer(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = save_causal_model(tmp_path_factory.mktemp("writer"), request.param)
    return folder, load_causal_backbone_from(folder)


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load_causal_backbone_from(save_causal_model(tmp_path_factory.mktemp("qwen"), "qwen2"))


def end_of(backbone: Any) -> int:
    return int(backbone.tokenizer.tokenizer.convert_tokens_to_ids("<|im_end|>"))


def make_request(backbone: Any, prompt: TokenIds = PROMPTS[0], most: int = 24, **more: Any) -> GenerateRequest:
    return GenerateRequest(Network(backbone), prompt, most, frozenset({end_of(backbone)}), **more)


def test_greedy_text_is_that_of_generate_token_by_token(writer: Any) -> None:
    folder, backbone = writer
    stock: Any = transformers.AutoModelForCausalLM.from_pretrained(folder)
    stock.eval()
    found = run_locally([make_request(backbone, prompt) for prompt in PROMPTS])
    for prompt, got in zip(PROMPTS, found, strict=True):
        ids = torch.tensor([prompt])
        options = {"max_new_tokens": 24, "do_sample": False, "eos_token_id": end_of(backbone), "pad_token_id": 0}
        whole = stock.generate(ids, attention_mask=torch.ones_like(ids), **options)[0, len(prompt) :].tolist()
        assert list(got.ids) == [token for token in whole if token != end_of(backbone)]
        assert got.finish_reason == ("end" if end_of(backbone) in whole else "length")


def test_the_repetition_penalty_is_that_of_generate(writer: Any) -> None:
    folder, backbone = writer
    stock: Any = transformers.AutoModelForCausalLM.from_pretrained(folder)
    stock.eval()
    (got,) = run_locally([make_request(backbone, sampling=Sampling(repetition_penalty=1.7))])
    ids = torch.tensor([PROMPTS[0]])
    options = {"max_new_tokens": 24, "do_sample": False, "eos_token_id": end_of(backbone), "pad_token_id": 0}
    whole = stock.generate(ids, attention_mask=torch.ones_like(ids), repetition_penalty=1.7, **options)
    assert list(got.ids) == [t for t in whole[0, len(PROMPTS[0]) :].tolist() if t != end_of(backbone)]


def test_a_neighbour_and_its_adapter_change_nothing(qwen: Any) -> None:
    guests = [None, make_random_adapter(qwen, seed=1), make_random_adapter(qwen, seed=2)]
    ends = frozenset({end_of(qwen)})
    requests = [
        GenerateRequest(Network(qwen, guest), prompt, most, ends, sampling=Sampling(0.9, 0.95, seed=k))
        for k, (guest, prompt, most) in enumerate(zip(guests, PROMPTS, (5, 30, 12), strict=False))
    ]
    together = run_locally(requests)
    assert [one.ids for one in together] == [run_locally([request])[0].ids for request in requests]
    assert len({one.ids[:5] for one in together}) == 3


def test_drawing_goes_by_the_seed(qwen: Any) -> None:
    def drawn(**sampling: Any) -> TokenIds:
        found: TokenIds = run_locally([make_request(qwen, sampling=Sampling(**sampling))])[0].ids
        return found

    assert drawn(temperature=1.0, seed=1) == drawn(temperature=1.0, seed=1)
    assert len({drawn(temperature=1.0, seed=seed) for seed in range(4)}) == 4
    assert drawn(temperature=1.0, top_p=1e-9, seed=3) == drawn()


def test_a_stop_string_ends_the_text_before_it(qwen: Any) -> None:
    (whole,) = run_locally([make_request(qwen)])
    stop = whole.text[3:5]
    (cut,) = run_locally([make_request(qwen, stop_strings=(stop,))])
    assert cut.finish_reason == "stop"
    assert cut.text == whole.text.partition(stop)[0]


@pytest.mark.parametrize("schema", [None, {"type": "object", "properties": {"ß": {"type": "string", "maxLength": 9}}}])
def test_a_listener_hears_the_text_piece_by_piece(qwen: Any, schema: Any) -> None:
    heard: list[list[str]] = [[], [], []]
    requests = [
        make_request(qwen, prompt, most=40, schema=schema, sampling=Sampling(1.2, seed=k), on_token=heard[k].append)
        for k, prompt in enumerate(PROMPTS[:3])
    ]
    found = run_locally(requests)
    assert ["".join(pieces) for pieces in heard] == [one.text for one in found]
    assert [one.text for one in found] == [qwen.tokenizer.decode(one.ids) for one in found]
    assert all(len(pieces) > 1 for pieces in heard)
    deaf = [replace(request, on_token=None) for request in requests]
    assert deaf == requests
    assert run_locally(deaf) == found


def test_a_listener_hears_nothing_of_a_stop_string(qwen: Any) -> None:
    (whole,) = run_locally([make_request(qwen)])
    stop, heard = whole.text[3:6], list[str]()
    (cut,) = run_locally([make_request(qwen, stop_strings=("never", stop), on_token=heard.append)])
    assert "".join(heard) == cut.text == whole.text.partition(stop)[0]
    assert cut.finish_reason == "stop"


def test_a_listener_that_raises_loses_its_request_alone(qwen: Any) -> None:
    def refuse(piece: str) -> None:
        raise BrokenPipeError

    heard: list[str] = []
    lost, kept = run_locally(
        [make_request(qwen, on_token=refuse), make_request(qwen, PROMPTS[2], on_token=heard.append)]
    )
    assert (lost.finish_reason, lost.text) == ("abandoned", "")
    assert len(lost.ids) < 4
    assert kept.ids == run_locally([make_request(qwen, PROMPTS[2])])[0].ids
    assert "".join(heard) == kept.text


def test_an_abandoned_request_is_told_no_more(qwen: Any) -> None:
    heard: list[str] = []
    (left,) = qwen.generate([make_request(qwen, on_token=heard.append)], lambda place: len(heard) < 3)
    assert left.finish_reason == "abandoned"
    assert len(heard) == 3
    assert left.text == "".join(heard)


def test_an_abandoned_request_is_not_worked_on(qwen: Any) -> None:
    requests = [make_request(qwen, most=20), make_request(qwen, most=20)]
    steps: list[int] = []

    def alive(place: int) -> bool:
        steps.append(place)
        return place == 0 or len(steps) < 12

    kept, left = qwen.generate(requests, alive)
    assert kept.ids == run_locally([requests[0]])[0].ids
    assert left.finish_reason == "abandoned"
    assert len(left.ids) < 20


# --- contracts


def a_schema(chance: random.Random, depth: int) -> dict[str, Any]:
    """A random schema of what can be promised."""
    kinds = ["enum", "integer", "number", "string", "boolean", "null"] + ["object", "array", "anyOf"] * (depth > 0)
    kind = chance.choice(kinds)
    if kind == "enum":
        return {"enum": chance.sample(["FRAUD", "FRAUD_2", "no", "ä", 'q"', 7, -1, True, None], chance.randint(1, 4))}
    if kind in ("integer", "number"):
        low, high = sorted(chance.sample(range(-500, 5000), 2))
        bounds = {"minimum": low} if chance.random() < 0.7 else {}
        return {"type": kind, **bounds, **({"maximum": high} if chance.random() < 0.7 else {})}
    if kind == "string":
        low = chance.randint(0, 4)
        return {"type": kind, "minLength": low, "maxLength": low + chance.randint(0, 8)} if chance.random() < 0.8 else {
            "type": kind
        }  # fmt: skip
    if kind == "object":
        names = chance.sample(["a", "sum", "label", "ref no", "ß"], chance.randint(0, 3))
        needed = [name for name in names if chance.random() < 0.7]
        properties = {name: a_schema(chance, depth - 1) for name in names}
        return {"type": kind, "properties": properties, "required": needed, "additionalProperties": False}
    if kind == "array":
        low = chance.randint(0, 2)
        items = {"items": a_schema(chance, depth - 1), "minItems": low}
        return {"type": kind, **items, **({"maxItems": low + chance.randint(0, 2)} if chance.random() < 0.6 else {})}
    return {kind: [a_schema(chance, depth - 1) for _ in range(2)]} if kind == "anyOf" else {"type": kind}


@pytest.mark.parametrize("part", range(8))
def test_a_thousand_random_schemas_are_answered_within_their_budget_or_refused(qwen: Any, part: int) -> None:
    """Random weights draw at a high temperature, so the model is of no help."""
    requests, schemas, refused = [], [], []
    for number in range(part * 125, (part + 1) * 125):
        chance = random.Random(number)
        schema = a_schema(chance, 3)
        request = make_request(
            qwen, most=chance.choice([4, 12, 40, 90]), schema=schema, sampling=Sampling(1.3, seed=number)
        )
        try:
            qwen.create_constraint(request)
            requests.append(request)
            schemas.append(schema)
        except UnsupportedTask as problem:
            refused.append(str(problem))
    assert all("tokens and the budget is" in said for said in refused)
    for request, schema, got in zip(requests, schemas, run_locally(requests), strict=True):
        assert got.finish_reason == "end", (schema, got.text)
        assert len(got.ids) + 1 <= request.max_new_tokens
        jsonschema.validate(json.loads(got.text), schema)
    assert len(refused) < 40


def test_a_likeliest_token_that_is_allowed_is_taken_as_under_the_mask(
    qwen: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = [make_request(qwen, most=90, schema=a_schema(random.Random(number), 3)) for number in range(40)]
    masks: list[int] = []

    def count_mask(self: TokenConstraint, plain: Any = TokenConstraint.compute_allowed_tokens) -> Any:
        masks.append(1)
        return plain(self)

    monkeypatch.setattr(TokenConstraint, "compute_allowed_tokens", count_mask)
    monkeypatch.setattr(token_sequence, "SURE_PROBABILITY", 0.0)  # a random model is never sure
    found = run_locally(requests)
    fewer = len(masks)
    masks.clear()
    monkeypatch.setattr(TokenConstraint, "try_accept", lambda self, token: False)
    assert [one.ids for one in run_locally(requests)] == [one.ids for one in found]
    assert fewer < len(masks)


def test_answers_of_one_schema_are_written_side_by_side_as_alone(qwen: Any) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "integer"}}, "required": ["a"]}
    requests = [make_request(qwen, prompt, schema=schema, sampling=Sampling(1.3)) for prompt in PROMPTS]
    together = [one.text for one in run_locally(requests)]
    assert together == [run_locally([request])[0].text for request in requests]
    assert len(set(together)) == len(PROMPTS)


@torch.no_grad()
@pytest.mark.parametrize("schema", [None, {"enum": ["card", "cash", "login"]}, {"type": "string", "minLength": 4}])
def test_odds_are_those_among_the_tokens_that_are_allowed(qwen: Any, schema: Any) -> None:
    request = make_request(qwen, most=16, schema=schema, sampling=Sampling(1.5, repetition_penalty=1.3, seed=3))
    (got,) = run_locally([request])
    guide = qwen.create_constraint(request)
    narrowed = 0
    for place, (token, odds) in enumerate(zip(got.ids, got.token_probabilities, strict=True)):
        ids = torch.tensor([[*request.prompt, *got.ids[:place]]])
        chances = qwen.full_model(input_ids=ids).logits[0, -1].double().softmax(-1)
        share = 1.0
        if guide is not None:
            share = float(chances[guide.compute_allowed_tokens()].sum())
            assert guide.try_accept_allowed(token) or guide.force_token() == token
        narrowed += share < 0.99
        assert odds == pytest.approx(float(chances[token]) / share, rel=1e-4)
    assert bool(narrowed) is (schema is not None)


def test_what_must_come_next_is_certain(qwen: Any) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}
    (got,) = run_locally([make_request(qwen, schema=schema)])
    assert got.token_probabilities[0] == 1.0
    assert all(0 < odds <= 1 for odds in got.token_probabilities)


def test_a_budget_that_cannot_hold_the_shortest_answer_is_refused(qwen: Any) -> None:
    schema = {"type": "string", "minLength": 30}
    with pytest.raises(UnsupportedTask, match="the budget is 10"):
        run_locally([make_request(qwen, most=10, schema=schema)])
    (got,) = run_locally([make_request(qwen, most=40, schema=schema)])
    assert len(json.loads(got.text)) >= 30


def test_what_cannot_be_promised_is_refused_before_anything_is_written(qwen: Any) -> None:
    with pytest.raises(UnsupportedTask, match="pattern"):
        run_locally([make_request(qwen, schema={"type": "string", "pattern": "(?=a)"})])


def test_the_end_is_as_near_as_was_said(qwen: Any) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    least = len(qwen.create_constraint(make_request(qwen, schema=schema)).completion) + 1
    (got,) = run_locally([make_request(qwen, most=least, schema=schema)])
    assert got.text == find_shortest_completion(schema) == to_compact_json({"a": ""})
