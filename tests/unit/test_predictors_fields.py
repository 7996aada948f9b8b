"""How sure a writer was of each field, against products worked out by hand."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loratory.measures.answer_checks import iterate_leaves
from loratory.predictors.field_probabilities import compute_field_probabilities, iterate_values
from loratory.schemas import to_compact_json

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12)


@given(VALUES)
def test_spans_name_and_place_every_value(value: Any) -> None:
    text = to_compact_json(value)
    found = list(iterate_values(text))
    assert {pointer: inner for pointer, inner, _, _ in found} == dict(iterate_leaves(value))
    assert all(json.loads(text[start:stop]) == inner for _, inner, start, stop in found)


def test_the_probability_of_a_value_is_that_of_its_tokens() -> None:
    tokens = ['{"', 'kind":"', "ca", 'rd",', '"count":', "1", "2}"]
    odds = [0.5, 0.4, 0.8, 0.9, 0.3, 0.7, 0.6]
    ends = [len("".join(tokens[: k + 1])) for k in range(len(tokens))]
    found = compute_field_probabilities("".join(tokens), ends, odds)
    assert found["/kind"] == pytest.approx({"card": 0.4 * 0.8 * 0.9})  # the quotes belong to the value
    assert found["/count"] == pytest.approx({"12": 0.7 * 0.6})
