from __future__ import annotations

from pathlib import Path

import pytest

from loratory.errors import ArtifactError
from loratory.evaluation.prediction_rows import read_predictions, write_predictions
from loratory.protocols import Example, Prediction, ScoredPredictions

AWKWARD = ScoredPredictions(
    [
        Example({"text": "naïve \u2028 'quoted' \x00 🎉"}, {"label": "a"}, "g1", 0.1, "f.csv:2"),
        Example({"text": ""}, None),
    ],
    [
        Prediction({"label": "a"}, {"/label": {"a": 0.1 + 0.2, "b": 5e-324}}, None, "raw", "lora"),
        Prediction(None, {}, "abstained"),
    ],
    [{"n": 1.0, "reward": 1.0, "log_loss": 1 / 3}, {"n": 1.0, "reward": 0.0}],
)


def test_what_is_read_is_what_was_written_to_the_last_bit(tmp_path: Path) -> None:
    write_predictions(tmp_path / "test_predictions.parquet", AWKWARD)
    assert read_predictions(tmp_path / "test_predictions.parquet") == AWKWARD


def test_the_file_has_a_row_for_every_example_and_columns_that_people_can_query(tmp_path: Path) -> None:
    import pyarrow.parquet as parquet

    write_predictions(tmp_path / "test_predictions.parquet", AWKWARD)
    table = parquet.read_table(tmp_path / "test_predictions.parquet")
    assert set(table.column_names) >= {
        "id",
        "group",
        "input",
        "expected",
        "answer",
        "reason",
        "confidence",
        "probabilities",
        "raw",
        "answered_by",
        "counts",
    }
    assert table["confidence"].to_pylist() == [0.1 + 0.2, 0.0]
    assert table["answer"].to_pylist() == ['{"label":"a"}', None]


def test_no_examples_are_rows_too(tmp_path: Path) -> None:
    write_predictions(tmp_path / "none.parquet", ScoredPredictions([], [], []))
    assert read_predictions(tmp_path / "none.parquet") == ScoredPredictions([], [], [])


@pytest.mark.parametrize("content", [None, b"not parquet"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "test_predictions.parquet").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"test_predictions\.parquet"):
        read_predictions(tmp_path / "test_predictions.parquet")
