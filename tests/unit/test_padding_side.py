"""A tokenizer_config.json that has readers pad on the left: no number of ours would show it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from loratory.errors import ArtifactError, ParityError
from loratory.exporting.certificates.form_facts import check_padding_side

FACTS: dict[str, Any] = {"head": "pooled", "files": {"tokenizer": "merged/tokenizer.json"}}


def write_config(folder: Path, text: str) -> Path:
    (folder / "merged").mkdir()
    (folder / "merged" / "tokenizer_config.json").write_text(text, encoding="utf-8")
    return folder


def test_an_encoder_that_is_padded_on_the_left_is_refused_at_batch(tmp_path: Path) -> None:
    with pytest.raises(ParityError, match="pads on the left") as caught:
        check_padding_side(write_config(tmp_path, '{"padding_side": "left"}'), FACTS, "here")
    assert caught.value.stage == "batch"


@pytest.mark.parametrize(
    ("values", "facts"),
    [
        ({"padding_side": "right"}, FACTS),
        ({}, FACTS),
        ({"padding_side": "left"}, {**FACTS, "head": "writer"}),  # decoders are padded so
        ({"padding_side": "left"}, {**FACTS, "files": None}),
    ],
)
def test_the_other_side_and_other_models_pass(tmp_path: Path, values: dict[str, str], facts: dict[str, Any]) -> None:
    check_padding_side(write_config(tmp_path, json.dumps(values)), facts, "here")


def test_a_torn_file_is_an_error_of_the_folder(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="cannot be read"):
        check_padding_side(write_config(tmp_path, '{"padding_side": '), FACTS, "here")
