"""How good a model is on labelled examples, and how it answers to harmless changes of texts."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loratory.api.named_columns import NamedColumns
from loratory.api.scores import Score, flatten_scores, make_frame
from loratory.data.readers.in_memory import is_table, is_table_of_parts, write_table
from loratory.protocols import Predictor

if TYPE_CHECKING:
    from pandas import DataFrame

TABLE_SOURCE = "a table in memory"  # how the ledger of test reads calls examples that are no file


@dataclass(frozen=True)
class Evaluation:
    """Scores of a model on labelled examples, with confidence intervals over groups of near-duplicates."""

    n: int  # examples
    scores: Mapping[str, Score]  # of the whole ("accuracy") and of labels ("recall/FRAUD")
    test_reads: int  # how often some of these examples were evaluated, this time included
    facts: Mapping[str, Any]  # all of it as plain data

    def to_pandas(self) -> DataFrame:
        """A DataFrame with a row for each score: value, low, high. Raises MissingExtra without pandas."""
        rows = [{"score": name, "value": s.value, "low": s.low, "high": s.high} for name, s in self.scores.items()]
        return make_frame(rows).set_index("score")

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain data."""
        return dict(self.facts)

    def __str__(self) -> str:
        whole = [f"{name:<16} {score}" for name, score in self.scores.items() if "/" not in name]
        return "\n".join([*whole, f"{'n':<16} {self.n}"])

    def _repr_html_(self) -> str:
        from loratory.api.notebook_html import render_scores

        return render_scores({name: score for name, score in self.scores.items() if "/" not in name}, self.n)


@dataclass(frozen=True)
class StressRow:
    """What one harmless change of the texts does."""

    name: str  # of the perturbation
    texts: int  # that it changed
    scores: Mapping[str, Score]  # flips: the share of answers that change; and the scores before and after
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class StressResult:
    """How many answers change with harmless changes of the texts, the worst change first."""

    contender: str
    texts: int
    rows: tuple[StressRow, ...]
    facts: Mapping[str, Any]

    def to_pandas(self) -> DataFrame:
        """A DataFrame with a row for each perturbation. Raises MissingExtra without pandas."""
        rows = [{"perturbation": row.name, "texts": row.texts, **flatten_scores(row.scores)} for row in self.rows]
        return make_frame(rows).set_index("perturbation")

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain data."""
        return dict(self.facts)

    def __str__(self) -> str:
        from loratory.evaluation.stress_test import format_stress_lines

        return "\n".join(format_stress_lines(self.facts))


def evaluate_predictor(predictor: Predictor, folder: Path, data: object, columns: NamedColumns) -> Evaluation:
    """Score a predictor, whose artifact is `folder`, on labelled examples. Raises DataError."""
    from loratory.data.splitting.ledger import TestReader
    from loratory.experiment.inference.evaluate_on_data import score_predictor

    named = columns.to_arguments(predictor.task.kind)
    with _on_disk(data) as (path, said):
        reader = TestReader(folder.parent.name, str(folder.resolve()), f"evaluate: {said}")
        facts = score_predictor(predictor, path, named, reader)
    facts = {"artifact": str(folder), **facts, "data": said}
    scores = {name: Score(one["value"], one["low"], one["high"]) for name, one in facts["metrics"].items()}
    scores |= {name: Score(value) for name, value in facts["per_label"].items()}
    return Evaluation(facts["n"], scores, facts["test_reads"], facts)


def stress_folder(
    source: Path,
    contender: str | None,
    data: object,
    columns: NamedColumns,
    progress: bool | None,
    options: Mapping[str, Any],
) -> StressResult:
    """Put a contender of a run, or a fit, under stress. Raises SpecError and UnsupportedTask."""
    from loratory.display.progress import show_progress
    from loratory.experiment.inference.stress_run import StressArguments, stress_predictor

    changes = [f"stress.{name}={json.dumps(value)}" for name, value in options.items()]
    with show_progress(progress) as on_event, _on_disk(data) as (file, _):
        arguments = StressArguments(contender, file or None, columns.to_arguments(""), changes)
        facts = stress_predictor(source, arguments, on_event)
    rows = tuple(_read_stress_row(row) for row in facts["perturbations"])
    return StressResult(facts["name"], facts["texts"], rows, facts)


def _read_stress_row(row: Mapping[str, Any]) -> StressRow:
    scores = {
        name: Score(one["value"], one.get("low"), one.get("high"))
        for name, one in row.items()
        if isinstance(one, Mapping) and "value" in one
    }
    return StressRow(row["name"], row["texts"], scores, row)


@contextmanager
def _on_disk(data: object) -> Iterator[tuple[str, str]]:
    """A path of the examples, and what they are called; a table is written to a folder that goes away again."""
    if data is None or not (is_table(data) or is_table_of_parts(data)):
        yield ("" if data is None else str(data), str(data))
        return
    with tempfile.TemporaryDirectory(prefix="loratory-") as folder:
        yield str(write_table(data, Path(folder))), TABLE_SOURCE
