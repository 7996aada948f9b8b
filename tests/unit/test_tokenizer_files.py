"""tokenizer.json and tokenizer_config.json of a form, as readers in other languages go by them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from loratory.errors import ArtifactError, ParityError
from loratory.exporting.certificates.goldens import Golden
from loratory.exporting.certificates.tokenizer_files import check_tokenizer_files
from tiny_models import make_word_piece_tokenizer

FACTS: dict[str, Any] = {"head": "pooled", "pad_id": 0, "files": {"tokenizer": "merged/tokenizer.json"}}
TEXTS = ("hello", "my card", "")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A form's folder with an honest tokenizer."""
    make_word_piece_tokenizer().save_pretrained(tmp_path / "merged")
    return tmp_path


def make_goldens() -> list[Golden]:
    tokenizer = make_word_piece_tokenizer()
    return [
        Golden(
            text or "empty", "test", text, None, tuple(tokenizer(text)["input_ids"]), (), None, None, None, None, False
        )
        for text in TEXTS
    ]


def change(file: Path, **values: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text(encoding="utf-8")), **values}), encoding="utf-8")


def check(folder: Path, **facts: Any) -> None:
    check_tokenizer_files(folder, {**FACTS, **facts}, make_goldens(), "here")


def test_honest_files_pass(folder: Path) -> None:
    check(folder)


def test_other_ids_of_tokenizer_json_are_refused_at_tokens(folder: Path) -> None:
    change(folder / "merged" / "tokenizer.json", post_processor=None)
    with pytest.raises(ParityError, match="hello") as caught:
        check(folder)
    assert caught.value.stage == "tokens"


def test_an_encoder_that_is_padded_on_the_left_is_refused_at_batch(folder: Path) -> None:
    change(folder / "merged" / "tokenizer_config.json", padding_side="left")
    with pytest.raises(ParityError, match="pads on the left") as caught:
        check(folder)
    assert caught.value.stage == "batch"


@pytest.mark.parametrize("facts", [{"head": "writer"}, {"files": None}])
def test_writers_and_forms_without_such_files_pass(folder: Path, facts: dict[str, Any]) -> None:
    change(folder / "merged" / "tokenizer_config.json", padding_side="left")
    check(folder, **facts)


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_a_torn_file_is_an_error_of_the_folder(folder: Path, name: str) -> None:
    (folder / "merged" / name).write_text('{"padding_side": ', encoding="utf-8")
    with pytest.raises(ArtifactError, match="cannot be read"):
        check(folder)
