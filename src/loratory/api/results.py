"""A finished run as values: its ladder, its verdict, and the models in it."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from loratory.api.scores import Score, flatten_scores, make_frame
from loratory.errors import ArtifactError, suggest_nearest

if TYPE_CHECKING:
    from pandas import DataFrame

    from loratory.api.exports import Export
    from loratory.api.models import Model
    from loratory.evaluation.ladder_table import LadderTable

TEXT_WIDTH = 110  # characters of a ladder as text


@dataclass(frozen=True)
class LadderRow:
    """One contender: how good it is on the test set, and what it costs."""

    name: str
    regime: str
    base: str | None
    start: str | None  # the contender that it starts from
    status: str  # "fitted", "failed", or "pruned": stopped by racing
    failure: str | None  # why it failed
    recommended: bool
    scores: Mapping[str, Score]  # by name: "accuracy", "recall/FRAUD"; empty for a contender that failed
    gate_holds: bool | None  # None: the run has no gate
    train_seconds: float | None
    latency_ms: float | None  # the median for one text on this machine
    trained_parameters: int | None
    facts: Mapping[str, Any]  # the row of ladder.json

    def to_dict(self) -> dict[str, Any]:
        """One flat row: the scores of the whole test set, each with `_low` and `_high`, and the costs."""
        return {
            "contender": self.name,
            "regime": self.regime,
            "base": self.base,
            "status": self.status,
            "recommended": self.recommended,
            **flatten_scores({name: one for name, one in self.scores.items() if "/" not in name}),
            "gate_holds": self.gate_holds,
            "latency_ms": self.latency_ms,
            "train_seconds": self.train_seconds,
            "trained_parameters": self.trained_parameters,
        }


class Ladder(Sequence[LadderRow]):
    """The contenders of a run, simplest first. `ladder["lora"]` is a row by its name."""

    def __init__(self, facts: Mapping[str, Any]) -> None:
        self.facts = facts
        self.headline: str = facts["headline"]
        self._rows = tuple(_read_row(row, facts["verdict"]["recommended"]) for row in facts["contenders"])

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the contenders, in their order."""
        return tuple(row.name for row in self._rows)

    @overload
    def __getitem__(self, place: int | str) -> LadderRow: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[LadderRow, ...]: ...
    def __getitem__(self, place: int | str | slice) -> LadderRow | tuple[LadderRow, ...]:
        if not isinstance(place, str):
            return self._rows[place]
        if place not in self.names:
            raise ArtifactError(
                f"the run has no contender {place!r}{suggest_nearest(place, self.names)}", allowed=", ".join(self.names)
            )
        return self._rows[self.names.index(place)]

    def __iter__(self) -> Iterator[LadderRow]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def to_dicts(self) -> list[dict[str, Any]]:
        """A flat row for each contender; every row has the same keys."""
        rows = [row.to_dict() for row in self._rows]
        keys = dict.fromkeys(key for row in rows for key in row)
        return [{key: row.get(key) for key in keys} for row in rows]

    def to_pandas(self) -> DataFrame:
        """A DataFrame with a row for each contender, indexed by its name. Raises MissingExtra without pandas."""
        return make_frame(self.to_dicts()).set_index("contender")

    def make_table(self) -> LadderTable:
        """The ladder as a renderable of rich, which chooses its columns by the width of the terminal."""
        from loratory.evaluation.ladder import make_ladder_table

        return make_ladder_table(self.facts)

    def __str__(self) -> str:
        from rich.console import Console

        page = io.StringIO()
        Console(file=page, width=TEXT_WIDTH, color_system=None).print(self.make_table())
        return page.getvalue().rstrip()

    def __repr__(self) -> str:
        return f"<Ladder of {', '.join(self.names)}>"

    def _repr_html_(self) -> str:
        from loratory.api.notebook_html import render_ladder

        return render_ladder(self.facts)


@dataclass(frozen=True)
class Verdict:
    """What a run recommends, and how sure that is."""

    headline: str  # the answer in one sentence
    case: str  # which kind of answer it is; docs/evidence.md lists them
    recommended: str | None  # a contender's name; None where none could be fitted
    best: str | None  # the contender with the best score on validation
    fine_tune: bool | None  # whether fine-tuning is worth it; None where it cannot be said
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]
    gate_holds: bool | None  # of the recommended contender; None: the run has no gate
    facts: Mapping[str, Any]  # verdict.json

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Verdict:
        """The verdict of a ladder.json."""
        gate = facts["gate"]
        return cls(
            facts["headline"],
            facts["case"],
            facts["recommended"],
            facts["best"],
            facts["fine_tune"],
            tuple(facts["reason"]),
            tuple(facts["warnings"]),
            None if gate is None else bool(gate["holds"]),
            facts,
        )

    def __str__(self) -> str:
        return "\n".join([self.headline, *self.reasons, *(f"Warning: {one}" for one in self.warnings)])

    def _repr_html_(self) -> str:
        from loratory.api.notebook_html import render_verdict

        return render_verdict(self.facts)


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, its evidence and its models."""

    folder: Path
    facts: Mapping[str, Any]  # ladder.json

    @property
    def name(self) -> str:
        """The name of the run."""
        return str(self.facts["name"])

    @cached_property
    def ladder(self) -> Ladder:
        """The contenders with their scores and costs."""
        return Ladder(self.facts)

    @cached_property
    def verdict(self) -> Verdict:
        """What is recommended, why, and with which warnings."""
        return Verdict.from_facts(self.facts["verdict"])

    @property
    def gate_holds(self) -> bool | None:
        """Whether the recommended contender passes the gate; None where the spec has none."""
        return self.verdict.gate_holds

    @property
    def report(self) -> Path:
        """The report: one HTML file that needs no network."""
        return self.folder / "report.html"

    @cached_property
    def best(self) -> Model:
        """The recommended contender, ready to answer. Raises ArtifactError where none could be fitted."""
        return self.model()

    def model(self, contender: str | None = None) -> Model:
        """A contender of the run, the recommended one when left out. Raises ArtifactError for an unknown name."""
        from loratory.api.models import load

        return load(self.folder, contender)

    def export(
        self,
        output: str | Path | None = None,
        *,
        to: str | Sequence[str] = "peft",
        contender: str | None = None,
        options: Mapping[str, Any] | None = None,
        margin: float | None = None,
    ) -> Export:
        """Write a contender in forms that other programs open, each with its certificate; as `loratory.export`."""
        from loratory.api.exports import export

        return export(self.folder, output, to=to, contender=contender, options=options, margin=margin)

    def to_dict(self) -> dict[str, Any]:
        """The whole evidence as plain data: ladder.json."""
        return dict(self.facts)

    def format_lines(self) -> list[str]:
        """The verdict in words: headline, reasons, the gate, warnings."""
        from loratory.evaluation.ladder import format_ladder_lines

        return format_ladder_lines(self.facts)

    def __str__(self) -> str:
        return "\n".join([str(self.ladder), "", *self.format_lines()])

    def __repr__(self) -> str:
        return f"<Run {self.name!r} in {self.folder}: {self.verdict.headline}>"

    def _repr_html_(self) -> str:
        from loratory.api.notebook_html import render_run

        return render_run(self.facts, str(self.report))


def _read_row(row: Mapping[str, Any], recommended: str | None) -> LadderRow:
    gate = row.get("gate")
    return LadderRow(
        row["name"],
        row["regime"],
        row["base"],
        row.get("start"),
        row["status"],
        row.get("failure"),
        row["name"] == recommended,
        _read_scores(row.get("metrics", {})),
        bool(gate["holds"]) if gate else None,
        row.get("train_seconds"),
        (row.get("latency_ms") or {}).get("p50"),
        (row.get("parameters") or {}).get("trained"),
        row,
    )


def _read_scores(metrics: Mapping[str, Any]) -> dict[str, Score]:
    """The scores of a row; those of a label are called `recall/LABEL`."""
    scores: dict[str, Score] = {}
    for name, metric in metrics.items():
        if "mean" in metric:
            scores[name] = Score(metric["mean"], metric.get("low"), metric.get("high"))
        else:
            scores |= {
                f"{kind}/{label}": Score(value)
                for label, own in metric.items()
                if isinstance(own, Mapping)
                for kind, value in own.items()
                if isinstance(value, float)
            }
    return scores
