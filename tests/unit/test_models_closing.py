"""The shortest end of what has been begun: whatever the schema, and wherever the text stops."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loratory.backbones.constraints.json_completion import (
    JsonCompleter,
    find_shortest_completion,
    is_plain_text,
)
from loratory.backbones.constraints.schema_support import check_completable
from loratory.errors import UnsupportedTask
from loratory.schemas import to_compact_json

BOUNDS = st.integers(-2000, 2000)
PAIR = {"type": "object", "properties": {"a": {"type": "null"}, "b": {"type": "boolean"}}, "required": ["b"]}
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=6)
NAMES = st.sampled_from(["a", "ab", "label", "sum of it", "ß", 'q"t', "x/y~z"])


def make_bounded_schemas(kind: str) -> st.SearchStrategy[dict[str, Any]]:
    def write_bounds(pair: tuple[int | None, int | None]) -> dict[str, Any]:
        low, high = pair
        if low is not None and high is not None and low > high:
            low, high = high, low
        found = {"type": kind} | ({"minimum": low} if low is not None else {})
        return found | ({"maximum": high} if high is not None else {})

    return st.tuples(st.none() | BOUNDS, st.none() | BOUNDS).map(write_bounds)


def make_sized_schemas(kind: str, least: str, most: str, **more: Any) -> st.SearchStrategy[dict[str, Any]]:
    def write_sizes(pair: tuple[int, int]) -> dict[str, Any]:
        return {"type": kind, least: min(pair), most: max(pair), **more}

    return st.tuples(st.integers(0, 4), st.integers(0, 4)).map(write_sizes)


LEAVES = st.one_of(
    make_bounded_schemas("integer"),
    make_bounded_schemas("number"),
    make_sized_schemas("string", "minLength", "maxLength"),
    st.just({"type": "string"}),
    st.just({"type": "boolean"}),
    st.just({"type": ["null", "boolean"]}),
    st.lists(st.one_of(TEXT, BOUNDS, st.booleans()), min_size=1, max_size=4).map(lambda values: {"enum": values}),
    st.just({"const": {"k": [1, "two"]}}),
)


def above(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    def an_object(parts: tuple[dict[str, dict[str, Any]], int]) -> dict[str, Any]:
        properties, chosen = parts
        needed = [name for i, name in enumerate(properties) if chosen >> i & 1]
        return {"type": "object", "properties": properties, "required": needed, "additionalProperties": False}

    return st.one_of(
        st.tuples(st.dictionaries(NAMES, inner, max_size=3), st.integers(0, 7)).map(an_object),
        st.tuples(inner, st.integers(0, 2), st.integers(0, 2)).map(
            lambda p: {"type": "array", "items": p[0], "minItems": min(p[1:]), "maxItems": max(p[1:])}
        ),
        st.lists(inner, min_size=1, max_size=3).map(lambda some: {"anyOf": some}),
    )


SCHEMAS = st.recursive(LEAVES, above, max_leaves=6)


def an_answer(schema: dict[str, Any], draw: Any) -> Any:
    """A random answer of a schema, its properties in order."""
    if "enum" in schema:
        return draw(st.sampled_from(schema["enum"]))
    if "const" in schema:
        return schema["const"]
    if "anyOf" in schema:
        return an_answer(draw(st.sampled_from(schema["anyOf"])), draw)
    kind = schema["type"]
    if isinstance(kind, list):
        return draw(st.sampled_from([None, True]))
    if kind == "object":
        names = [n for n in schema["properties"] if n in schema["required"] or draw(st.booleans())]
        return {name: an_answer(schema["properties"][name], draw) for name in names}
    if kind == "array":
        count = draw(st.integers(schema["minItems"], schema["maxItems"]))
        return [an_answer(schema["items"], draw) for _ in range(count)]
    if kind == "string":
        return draw(st.text(min_size=schema.get("minLength", 0), max_size=schema.get("maxLength", 8)))
    if kind == "boolean":
        return draw(st.booleans())
    low = schema.get("minimum", schema.get("maximum", 0) - 5000)
    return draw(st.integers(low, schema.get("maximum", low + 5000)))


def right(text: str, schema: dict[str, Any]) -> bool:
    try:
        jsonschema.validate(json.loads(text), schema)
    except (ValueError, jsonschema.ValidationError):
        return False
    return True


@given(SCHEMAS, st.data())
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_beginning_of_an_answer_has_an_end_and_no_longer_one_than_its_own(
    schema: dict[str, Any], data: st.DataObject
) -> None:
    check_completable(schema)
    whole = to_compact_json(an_answer(schema, data.draw))
    cut = data.draw(st.integers(0, len(whole)))
    ending = find_shortest_completion(schema, whole[:cut])
    assert ending is not None, whole[:cut]
    assert len(ending) <= len(whole) - cut
    assert right(whole[:cut] + ending, schema), whole[:cut] + ending
    for k in range(len(ending)):  # step by step the way to the end never gets longer
        rest = find_shortest_completion(schema, whole[:cut] + ending[:k])
        assert rest is not None
        assert len(rest) <= len(ending) - k


@given(SCHEMAS, st.text('{}[]",:0123456789-.eatrufls\\n', max_size=12))
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_is_ended_is_an_answer_and_what_begins_none_is_known(schema: dict[str, Any], text: str) -> None:
    ending = find_shortest_completion(schema, text)
    assert ending is None or right(text + ending, schema), text + str(ending)


@given(SCHEMAS, st.data())
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_plain_characters_within_the_room_leave_the_end_as_it_is(schema: dict[str, Any], data: st.DataObject) -> None:
    shape = {"type": "object", "properties": {"a": {"type": "string", "maxLength": 9}, "b": schema}, "required": ["b"]}
    ends, whole = JsonCompleter(shape), to_compact_json({"a": "kept", "b": an_answer(schema, data.draw)})
    begun = whole[: data.draw(st.integers(0, len(whole)))]
    ending, room = ends.find_completion(begun)
    more = data.draw(
        st.text(st.characters(codec="utf-8"), max_size=int(min(room, 6))).filter(lambda t: not t or is_plain_text(t))
    )
    assert ends.find_completion(begun + more) == (ending, room - len(more))


@pytest.mark.parametrize(("text", "room"), [('"', 0), ('"ab', 3), ('"abcde', 0), ('"ab\\', 0), ('"ab"', 0), ("", 0)])
def test_room_is_in_open_strings_that_are_long_enough(text: str, room: float) -> None:
    assert JsonCompleter({"type": "string", "minLength": 2, "maxLength": 5}).find_completion(text)[1] == room


def test_there_is_no_room_where_a_text_can_be_read_in_two_ways() -> None:
    schema = {"anyOf": [{"type": "string"}, {"enum": ["yes"]}]}
    assert JsonCompleter(schema).find_completion('"ye') == ('"', 0)
    assert JsonCompleter(schema).find_completion('"yet') == ('"', float("inf"))


@pytest.mark.parametrize(
    ("schema", "text", "ending"),
    [
        ({"type": "integer", "minimum": 10}, "", "10"),
        ({"type": "integer", "minimum": 10}, "2", "0"),
        ({"type": "integer", "maximum": -3}, "", "-3"),
        ({"type": "integer", "minimum": 5, "maximum": 19}, "1", "0"),
        ({"type": "string", "minLength": 3}, '"x', 'aa"'),
        ({"type": "string"}, '"\\', 'n"'),
        ({"type": "string"}, '"\\u12', '1f"'),
        ({"type": "number", "exclusiveMinimum": 0, "maximum": 0.5}, "", "0.5"),
        (PAIR, '{"a', '":null,"b":true}'),
        ({"type": "object", "properties": {"a": {"type": "null"}}, "required": []}, "{", "}"),
        ({"enum": ["FRAUD", "FRAUD_2"]}, '"FRAUD', '"'),
    ],
)  # fmt: skip
def test_endings(schema: dict[str, Any], text: str, ending: str) -> None:
    assert find_shortest_completion(schema, text) == ending


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "string", "pattern": "(?=a)b"}, "pattern"),
        ({"type": "object", "properties": {}, "additionalProperties": True}, "no end"),
        ({"type": "object", "properties": {}, "required": ["a"]}, "not described"),
        ({"type": "array"}, "items"),
        ({"type": "array", "items": {"type": "null"}, "minItems": 3, "maxItems": 1}, "above"),
        ({"$ref": "#/$defs/t", "$defs": {"t": {"type": "array", "items": {"$ref": "#/$defs/t"}}}}, "holds itself"),
        ({"$ref": "#/$defs/gone"}, "nowhere"),
        ({"$ref": "http://x.example/s"}, "outside"),
        ({"enum": []}, "nothing"),
        ({"type": "integer", "minimum": 3, "maximum": 2}, "no number"),
        ({"type": "date"}, "not understood"),
        ([], "no schema"),
        ({}, "no type"),
    ],
)
def test_what_cannot_be_promised_is_refused_with_its_place(schema: Any, said: str) -> None:
    with pytest.raises(UnsupportedTask, match=said) as caught:
        check_completable(schema)
    assert caught.value.where.startswith("#")


def test_a_reference_is_followed() -> None:
    schema = {
        "$defs": {"flag": {"enum": ["yes", "no"]}},
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/flag"}},
        "required": ["a"],
    }
    check_completable(schema)
    assert find_shortest_completion(schema, '{"a":"y') == 'es"}'
