"""The JSON Schema for editors says what the parser says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from loratory.discovery import list_names, load_named
from loratory.errors import SpecError
from loratory.experiment.spec_loading import find_recipe_folder, load_spec
from loratory.specs.spec_schema import KnownClasses, build_spec_schema
from loratory.specs.yaml_files import load_yaml
from loratory.specs.yaml_writer import dump_yaml

SMALL: dict[str, Any] = {"name": "a", "data": "x.csv", "ladder": ["lora"]}


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    return build_spec_schema(
        KnownClasses(*({name: load_named(g, name) for name in list_names(g)} for g in ("tasks", "regimes")))
    )


@pytest.fixture(scope="module")
def validator(made: dict[str, Any]) -> Draft202012Validator:
    Draft202012Validator.check_schema(made)
    return Draft202012Validator(made)


def parses(folder: Path, values: Any) -> bool:
    file = folder / "s.yaml"
    file.write_text(dump_yaml(values), encoding="utf-8")
    try:
        load_spec(str(file))
    except SpecError:
        return False
    return True


GOOD = [
    {},
    {"lora": None, "training": {"epochs": 3}},
    {"ladder": ["rules", "zero-shot", {"b": {"regime": "full"}}, {"l": {"regime": "lora", "rank": 3, "base": "m"}}]},
    {"ladder": [{"head": None}, {"lora": {"layers": "top-2", "loss": {"class_weights": {"A": 2.0}}}}]},
    {"ladder": [{"lora": {"regime": "full", "head": "stock"}}]},
    {"data": {"path": "x", "text": "a", "label": "b.c", "split": {"test": 0.3}}, "task": {"labels": ["A", "B"]}},
    {"gate": {"not_worse_than": {"lora": 0.0}, "accuracy": {"at_least": 0.5}}},
]
BAD = [
    {"trainig": {}},
    {"name": "a/b"},
    {"name": 3},
    {"ladder": []},
    {"ladder": ["lorra"]},
    {"ladder": [{"m": {"rank": 2}}]},
    {"ladder": [{"m": {"regime": "lora", "rank": 0}}]},
    {"ladder": [{"lora": {"rnk": 2}}]},
    {"ladder": [{"lora": {"regime": "full", "rank": 2}}]},
    {"ladder": [{"tfidf": {"base": "m"}}]},
    {"ladder": [{"a": {"regime": "lora"}, "b": {"regime": "lora"}}]},
    {"data": {"path": "x", "lbl": "y"}},
    {"data": {"text": "y"}},
    {"data": {"path": "x", "split": {"test": 1.5}}},
    {"training": {"epochs": 0}},
    {"lora": {"loss": {"focal_gama": 1}}},
    {"gate": {"recall": {"A": 0.5}}},
    {"task": {"kind": "clasify"}},
]


@pytest.mark.parametrize("change", GOOD, ids=str)
def test_what_the_parser_takes_the_schema_takes(
    change: dict[str, Any], validator: Draft202012Validator, tmp_path: Path
) -> None:
    assert parses(tmp_path, SMALL | change)
    assert [error.message for error in validator.iter_errors(SMALL | change)] == []


@pytest.mark.parametrize("change", BAD, ids=str)
def test_what_the_parser_refuses_the_schema_refuses(
    change: dict[str, Any], validator: Draft202012Validator, tmp_path: Path
) -> None:
    assert not parses(tmp_path, SMALL | change)
    assert not validator.is_valid(SMALL | change)


@pytest.mark.parametrize("recipe", list_names("recipes"))
def test_every_recipe_is_valid(recipe: str, validator: Draft202012Validator) -> None:
    values, _ = load_yaml(find_recipe_folder(recipe) / "spec.yaml")
    assert [error.message for error in validator.iter_errors(values)] == []


def test_every_key_says_what_it_means(made: dict[str, Any]) -> None:
    for key, value in made["properties"].items():
        assert value.get("description"), key
