"""Written answers are of their formats and patterns, whatever the model says and however tight the budget is."""

from __future__ import annotations

import json
import random
import re
from typing import Any

import jsonschema
import pytest

from loratory.backbones.forward.execution import run_locally
from loratory.errors import UnsupportedTask
from loratory.formats import FORMATS, matches_format
from loratory.protocols import GenerateRequest, Network, Sampling, TokenIds
from tiny_models import load_causal_backbone_from, save_causal_model

CHECKER = jsonschema.Draft202012Validator.FORMAT_CHECKER  # the library's own, where it knows a format
PATTERNS = ["^[A-Z]{2}\\d{3}$", "x-\\d+", "^(?:red|green)", "(ab)+$", "^[^ ,]{3,5}$", "\\S\\s\\S", "ä|ö"]


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load_causal_backbone_from(save_causal_model(tmp_path_factory.mktemp("formats"), "qwen2"))


def make_request(backbone: Any, schema: Any, most: int, sampling: Sampling) -> GenerateRequest:
    prompt: TokenIds = (5, 9, 14, 23)
    end = backbone.tokenizer.tokenizer.convert_tokens_to_ids("<|im_end|>")
    return GenerateRequest(Network(backbone), prompt, most, frozenset({end}), schema, sampling)


def shortest_budget(backbone: Any, schema: Any) -> int:
    return len(backbone.create_sequence(make_request(backbone, schema, 300, Sampling())).constraint.completion) + 1


def a_text(chance: random.Random) -> dict[str, Any]:
    if chance.random() < 0.5:
        return {"type": chance.choice(["string", ["string", "null"]]), "format": chance.choice(list(FORMATS))}
    sizes = chance.choice([{}, {"maxLength": 12}, {"minLength": 5}, {"minLength": 5, "maxLength": 6}])
    pattern = chance.choice(PATTERNS)
    return {"type": "string", "pattern": pattern, **(sizes if pattern[0] != "^" else {})}


def a_schema(chance: random.Random) -> dict[str, Any]:
    """A list or an object of texts with formats and patterns, and something behind them."""
    parts: dict[str, Any] = {name: a_text(chance) for name in chance.sample(["day", "mail", "ß"], chance.randint(1, 2))}
    parts["last"] = chance.choice(
        [{"type": "boolean"}, {"type": "string"}, {"anyOf": [a_text(chance), {"type": "null"}]}]
    )
    made = {
        "type": "object",
        "properties": parts,
        "required": chance.sample(list(parts), chance.randint(1, len(parts))),
    }
    return made if chance.random() < 0.7 else {"type": "array", "items": a_text(chance), "minItems": 1, "maxItems": 3}


def check(text: str, schema: Any) -> None:
    value = json.loads(text)
    jsonschema.validate(value, schema, format_checker=CHECKER)
    ours = jsonschema.FormatChecker(formats=())
    for name in FORMATS:
        ours.checks(name)(lambda one, name=name: matches_format(name, one))
    jsonschema.validate(value, schema, format_checker=ours)


@pytest.mark.parametrize("part", range(4))
def test_every_written_answer_validates(writer: Any, part: int) -> None:
    requests = []
    for number in range(part * 20, (part + 1) * 20):
        chance = random.Random(number)
        schema = a_schema(chance)
        spare = chance.choice([0, 1, 3, 20])  # tokens beyond the shortest answer
        how = chance.choice([Sampling(), Sampling(1.3, seed=number), Sampling(1.0, 0.9, 1.4, number)])
        requests.append(make_request(writer, schema, shortest_budget(writer, schema) + spare, how))
    for request, found in zip(requests, run_locally(requests), strict=True):
        assert found.finish_reason == "end", (request.schema, found.text)
        assert len(found.ids) + 1 <= request.max_new_tokens
        check(found.text, request.schema)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_written_whole(writer: Any, name: str) -> None:
    schema = {"type": "string", "format": name}
    least = shortest_budget(writer, schema)
    requests = [
        make_request(writer, schema, least + spare, sampling)
        for spare in (0, 2, 40)
        for sampling in (Sampling(), Sampling(1.5, seed=spare))
    ]
    for found in run_locally(requests):
        check(found.text, schema)
    with pytest.raises(UnsupportedTask, match=f"takes {least} tokens and the budget is {least - 1}"):
        writer.create_sequence(make_request(writer, schema, least - 1, Sampling()))


def test_annotations_leave_every_token_as_it_is(writer: Any) -> None:
    for number in range(12):
        schema = a_schema(random.Random(number))
        told = {"title": "T", **schema, "$comment": "c", "examples": [1], "x-a": {"type": 5}, "deprecated": True}
        for inner in told.get("properties", {}).values():
            inner |= {"description": "d", "default": 1e300}
        requests = [make_request(writer, one, 60, Sampling(1.2, seed=number)) for one in (schema, told)]
        plain, other = run_locally(requests)
        assert (plain.ids, plain.token_probabilities) == (other.ids, other.token_probabilities)


def test_the_pattern_is_searched(writer: Any) -> None:
    schema = {"type": "string", "pattern": "b\\d", "maxLength": 30}
    found = run_locally([make_request(writer, schema, 40, Sampling(1.4, seed=seed)) for seed in range(8)])
    texts = [json.loads(one.text) for one in found]
    assert all(re.search("b\\d", text) for text in texts)
    assert any(not re.fullmatch("b\\d", text) for text in texts)
