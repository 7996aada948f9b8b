"""Help texts in errors: the first sentence of an option's description, as a part of another sentence."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import Field
from pydantic.fields import FieldInfo

from loratory.discovery import list_names, load_named
from loratory.specs.data import DataSpec
from loratory.specs.field_descriptions import summarise_field
from loratory.specs.serve import LimitsSpec, ServerSpec
from loratory.specs.training import TrainingSpec

MODELS = (DataSpec, TrainingSpec, ServerSpec, LimitsSpec)


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("Rank of the adapter. Raise it for hard tasks.", "rank of the adapter"),
        ("Focal loss (Lin et al., 2017): 0 is cross-entropy.", "focal loss (Lin et al., 2017): 0 is cross-entropy"),
        ("JSON Schema of the answer.", "JSON Schema of the answer"),
        ("share of the marks", "share of the marks"),
        ("", ""),
    ],
)
def test_the_first_sentence_of_a_help_text(text: str, short: str) -> None:
    field: Any = Field(description=text)
    assert summarise_field(field) == short


def test_every_help_text_of_an_option_is_a_sentence() -> None:
    models = [*MODELS, *(load_named("regimes", name) for name in list_names("regimes"))]
    fields: dict[str, FieldInfo] = {
        f"{model.__name__}.{name}": field for model in models for name, field in model.model_fields.items()
    }
    assert len(fields) > 80
    fragments = [name for name, field in fields.items() if not (field.description or "").endswith(".")]
    assert fragments == []
