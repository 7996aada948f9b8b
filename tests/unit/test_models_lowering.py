"""What a schema says about values changes nothing; what it says of them is held, or refused by name."""

from __future__ import annotations

import copy
import datetime
import decimal
import enum
import json
import random
import uuid
from typing import Annotated, Any, Literal

import jsonschema
import pytest
from pydantic import BaseModel, Field, ValidationError

from loratory.backbones.constraints import grammar, schema_limits, schema_support
from loratory.backbones.constraints.json_completion import JsonCompleter, find_shortest_completion
from loratory.backbones.constraints.schema_lowering import lower_schema
from loratory.errors import FieldError, UnsupportedTask
from loratory.predictors.prompt_templates import JsonTemplate
from loratory.schemas import strip_annotations
from loratory.tasks.generate import Generate

ANNOTATIONS: dict[str, Any] = {
    "title": "T",
    "description": "what it is",
    "examples": [{"type": 5}],
    "example": {"pattern": "("},
    "default": 1e300,
    "deprecated": True,
    "readOnly": True,
    "writeOnly": False,
    "$comment": "why",
    "$id": "https://example.org/order",
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "$anchor": "here",
    "discriminator": {"propertyName": "kind", "mapping": {"a": "#/$defs/A"}},
    "xml": {"name": "order"},
    "externalDocs": {"url": "https://example.org"},
    "contentMediaType": "application/json",
    "contentEncoding": "base64",
    "x-order": 3,
    "x-nullable": True,
    "nullable": False,
}
NAMES = (
    "title",
    "format",
    "examples",
    "default",
    "pattern",
    "nullable",
    "x-a",
    "$comment",
    "deprecated",
    "description",
)


def a_schema(chance: random.Random, depth: int = 3) -> dict[str, Any]:
    """A random schema; its properties are called like annotations."""
    kinds = ["enum", "const", "integer", "number", "string", "text", "boolean", "null", "ref"]
    kind = chance.choice(kinds + ["object", "array", "anyOf"] * (depth > 0) * 2)
    if kind == "enum":
        return {"enum": chance.sample(["title", "no", {"title": 1, "x-a": 2}, 7, None], chance.randint(1, 4))}
    if kind == "const":
        return {"const": {"description": "kept", "default": 0}}
    if kind == "text":
        return {"type": "string", "format": chance.choice(["date", "email", "uuid", "time", "password"])}
    if kind == "string":
        return {
            "type": "string",
            **chance.choice([{}, {"minLength": 2}, {"pattern": "^[a-c]{2,4}$"}, {"pattern": "x"}]),
        }
    if kind == "ref":
        return {"$ref": "#/$defs/title"}
    if kind == "object":
        names = chance.sample(NAMES, chance.randint(0, 3))
        properties = {name: a_schema(chance, depth - 1) for name in names}
        needed = [name for name in names if chance.random() < 0.6]
        return {"type": "object", "properties": properties, "required": needed, "additionalProperties": False}
    if kind == "array":
        return {"type": "array", "items": a_schema(chance, depth - 1), "maxItems": chance.randint(0, 3)}
    return {kind: [a_schema(chance, depth - 1) for _ in range(2)]} if kind == "anyOf" else {"type": kind}


def sprinkle(chance: random.Random, schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with annotations in each of its schemas, in any order of keys."""
    made = copy.deepcopy(schema)
    for key in ("properties", "$defs"):
        if key in made:
            made[key] = {name: sprinkle(chance, one) for name, one in made[key].items()}
    if "items" in made:
        made["items"] = sprinkle(chance, made["items"])
    if "anyOf" in made:
        made["anyOf"] = [sprinkle(chance, one) for one in made["anyOf"]]
    told = {key: copy.deepcopy(ANNOTATIONS[key]) for key in chance.sample(sorted(ANNOTATIONS), chance.randint(0, 6))}
    return {**told, **made} if chance.random() < 0.5 else {**made, **told}


def whole(chance: random.Random) -> dict[str, Any]:
    inner = {"type": "object", "properties": {"title": {"type": "integer"}}, "required": ["title"]}
    return {**a_schema(chance), "$defs": {"title": inner}}


def test_annotations_change_nothing() -> None:
    for number in range(300):
        chance = random.Random(number)
        plain = whole(chance)
        told = sprinkle(chance, plain)
        assert strip_annotations(told) == plain
        assert lower_schema(told) == lower_schema(plain)
        schema_limits.check_schema_limits(told)
        assert find_shortest_completion(told) == find_shortest_completion(plain)
        if number % 10 == 0:
            grammar.check_schema(told)
            assert Generate(answer_schema=told).contract() == told


def test_a_property_is_no_annotation() -> None:
    properties = {name: {"type": "boolean"} for name in (*ANNOTATIONS, "format", "pattern", "x-a")}
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    assert lower_schema(schema)["properties"] == properties
    answer = find_shortest_completion(schema)
    assert answer is not None
    assert all(f'"{name}":' in answer for name in properties)


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Part(BaseModel):
    """A part of an order."""

    title: str = Field(description="its title", examples=["lamp"])
    amount: int = Field(1, ge=1, le=99, deprecated=True)
    colour: Colour = Colour.RED
    note: str | None = Field(None, max_length=30)


class Card(BaseModel):
    kind: Literal["card"]
    number: str = Field(pattern=r"^\d{4}$")


class Cash(BaseModel):
    kind: Literal["cash"]
    sum: float = Field(gt=0)


class Order(BaseModel):
    """All that common models hold."""

    id: uuid.UUID
    version: Literal[1, 2]
    mode: Literal["fast"]
    at: datetime.datetime
    day: datetime.date
    hour: datetime.time
    took: datetime.timedelta
    parts: list[Part] = Field(min_length=1, max_length=3)
    pay: Card | Cash = Field(discriminator="kind")
    other: Annotated[int, Field(ge=0)] | str | None = None
    sure: bool = True
    price: decimal.Decimal


def held(schema: dict[str, Any]) -> None:
    schema_limits.check_schema_limits(schema)
    grammar.check_schema(schema)
    assert JsonTemplate().check_support(Generate(answer_schema=schema)) is None


def test_schemas_of_pydantic_are_held() -> None:
    schema = Order.model_json_schema()
    held(schema)
    answer = find_shortest_completion(schema)
    assert answer is not None
    Order.model_validate_json(answer)
    for mode in ("validation", "serialization"):
        held(Part.model_json_schema(mode=mode))


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Any, "no type"),
        (dict[str, int], "additional properties"),
        (tuple[int, str], "'maxItems'|'prefixItems'|items"),
        (set[str], "'uniqueItems'"),
        (Annotated[str, Field(json_schema_extra={"pattern": r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$"})], "looks ahead"),
        (Annotated[int, Field(multiple_of=5)], "'multipleOf'"),
        (list[Any], "no type"),
        (Annotated[str, Field(json_schema_extra={"format": "color"})], "format 'color'"),
        (Annotated[str, Field(pattern="^a", json_schema_extra={"format": "date"})], "beside a pattern"),
        (Annotated[str, Field(min_length=12, json_schema_extra={"format": "date"})], "no text is of this pattern"),
    ],
)
def test_what_pydantic_writes_and_is_not_held_is_refused_by_name(kind: Any, said: str) -> None:
    class Model(BaseModel):
        field: kind

    schema = Model.model_json_schema()
    for check in (schema_support.check_completable, schema_limits.check_schema_limits, grammar.check_schema):
        with pytest.raises(UnsupportedTask, match=said) as caught:
            check(schema)
        assert caught.value.where.startswith("#/properties/field")
    refused = JsonTemplate().check_support(Generate(answer_schema=schema))
    assert refused is not None
    assert "#/properties/field" in refused


@pytest.mark.parametrize(
    ("schema", "said", "remedy"),
    [
        ({"type": "string", "nullable": True}, "'nullable'", r'\[TYPE, "null"\]'),
        ({"type": "string", "format": "iban"}, "format 'iban' is not understood", "write it as a pattern"),
        ({"type": "string", "pattern": "(?=a)"}, "looks ahead", "check it after the answer"),
        ({"type": "string", "pattern": "^ab$", "minLength": 3}, "no text is of this pattern", "change the lengths"),
        ({"$ref": "#/$defs/a", "minLength": 3, "$defs": {"a": {"type": "string"}}}, "'minLength'", "leave it out"),
        ({"allOf": [{"type": "string"}, {"maxLength": 3}]}, "'allOf'|no type", ""),
        ({"type": "integer", "enum": ["a"]}, "of this type", ""),
        ({"anyOf": []}, "anyOf of nothing", ""),
    ],
)
def test_what_is_not_held_is_refused_at_once(schema: dict[str, Any], said: str, remedy: str) -> None:
    with pytest.raises(UnsupportedTask, match=said) as caught:
        grammar.check_schema(schema)
    assert remedy == "" or jsonschema.Draft202012Validator({"pattern": remedy}).is_valid(caught.value.remedy)


STRING, NUMBER = {"type": "string"}, {"type": "number"}


def make_tagged_schema(name: str, **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"kind": {"const": name}, **more}, "required": ["kind"]}


@pytest.mark.parametrize(
    ("branches", "apart"),
    [
        ([STRING, NUMBER], True),
        ([{"type": "integer"}, NUMBER], False),
        ([{"const": 1}, {"const": True}, {"const": "1"}], True),
        ([{"enum": ["a", "b"]}, {"enum": ["b"]}], False),
        ([{"const": "a"}, STRING], False),
        ([{"const": "a"}, NUMBER], True),
        ([make_tagged_schema("a"), make_tagged_schema("b", x=STRING)], True),
        ([make_tagged_schema("a"), make_tagged_schema("a", x=STRING)], False),
        ([make_tagged_schema("a"), {**make_tagged_schema("b"), "required": []}], False),
        ([{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}], True),
        ([{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}], False),
        ([{"anyOf": [STRING, {"type": "null"}]}, NUMBER], True),
        ([{"anyOf": [STRING, NUMBER]}, {"type": "integer"}], False),
        ([{"type": ["string", "null"]}, {"type": ["null", "boolean"]}], False),
    ],
)
def test_one_of_is_held_where_no_value_is_of_two_branches(branches: list[Any], apart: bool) -> None:
    schema = {"oneOf": branches, "$defs": {"a": make_tagged_schema("a"), "b": make_tagged_schema("b")}}
    if apart:
        held(schema)
        answer = find_shortest_completion(schema)
        assert answer is not None
        jsonschema.validate(json.loads(answer), schema)
        return
    with pytest.raises(UnsupportedTask, match="cannot be told apart") as caught:
        grammar.check_schema(schema)
    assert "anyOf" in caught.value.remedy


@pytest.mark.parametrize(
    ("schema", "answer"),
    [
        ({"type": "string", "format": "date"}, '"0001-01-01"'),
        ({"type": ["null", "string"], "format": "uuid", "title": "Id"}, "null"),
        ({"type": "string", "pattern": "b"}, '"b"'),  # it is searched
        ({"type": "string", "pattern": "^b"}, '"b"'),
        ({"type": "string", "pattern": "^b*$", "minLength": 3, "maxLength": 4}, '"bbb"'),
        ({"type": "integer", "format": "int32", "minimum": -(10**12)}, "0"),
        ({"type": "integer", "format": "date"}, "0"),  # it says nothing of numbers
        ({"type": "number", "format": "double"}, "0"),
        ({"type": "string", "enum": ["2024-01-01", 5]}, '"2024-01-01"'),
        ({"allOf": [{"$ref": "#/$defs/a"}], "default": "x", "$defs": {"a": {"type": "null"}}}, "null"),
        ({"$ref": "#/$defs/a", "description": "x", "$defs": {"a": {"type": "null"}}}, "null"),
    ],
)
def test_what_is_held(schema: dict[str, Any], answer: str) -> None:
    held(schema)
    assert find_shortest_completion(schema) == answer


@pytest.mark.parametrize(
    ("begun", "ending"),
    [
        ('"2024-0', '1-01"'),
        ('"2023-02-2', '0"'),
        ('"2024-02-29', '"'),
        ('"2023-02-29', None),
        ('"2024-1', '0-01"'),
        ('"20 ', None),
        ('"2024-02-29"', ""),
        ('"2024-02"', None),
    ],
)
def test_a_begun_format_is_ended(begun: str, ending: str | None) -> None:
    assert JsonCompleter({"type": "string", "format": "date"}).find_completion(begun) == (ending, 0)


def test_answers_in_the_data_are_held_to_formats_and_patterns_too() -> None:
    properties = {"day": {"type": "string", "format": "date"}, "id": {"type": "integer", "format": "int32"}}
    task = Generate(answer_schema={"type": "object", "properties": properties})
    assert task.read({"prompt": "q", "completion": {"day": "2024-02-29", "id": 5}}).answer == {
        "day": "2024-02-29",
        "id": 5,
    }
    with pytest.raises(FieldError, match=r"\.day: '2023-02-29' is not a 'date' \(such as 2024-02-29\)"):
        task.read({"prompt": "q", "completion": {"day": "2023-02-29"}})
    with pytest.raises(FieldError, match=r"\.id: 4294967296 is not a 'int32'"):
        task.read({"prompt": "q", "completion": {"id": 2**32}})
    with pytest.raises(ValidationError, match="no JSON Schema: '\\(' is not a 'regex'"):
        Generate(answer_schema={"type": "string", "pattern": "("})
    told = Generate(answer_schema={"type": "string", "description": None, "title": 5})  # ill-typed, and no matter
    assert told.read({"prompt": "q", "completion": "a"}).answer == "a"
