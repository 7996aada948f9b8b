"""`loratory evaluate`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from loratory.cli.options import (
    ColumnsOption,
    ContenderOption,
    JsonOption,
    LabelledDataOption,
    OptionalWhereArgument,
    QuietOption,
    TaskOption,
    UrlOption,
)

if TYPE_CHECKING:
    from pathlib import Path

    from loratory.cli.output import Output

NAME = "evaluate"
EXAMPLES = ("loratory evaluate runs/tickets", "loratory evaluate runs/tickets --data new.csv")


def command(
    where: OptionalWhereArgument = None,
    data: LabelledDataOption = None,
    contender: ContenderOption = None,
    url: UrlOption = None,
    task: TaskOption = None,
    column: ColumnsOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Score a model on labelled examples.

    Without --data it prints the ladder and the verdict of a run again, from its files. With --data it answers the
    examples and prints the scores with their confidence intervals.
    """
    from loratory.cli.output import Output
    from loratory.errors import SpecError
    from loratory.experiment.artifact_lookup import find_fit_folder
    from loratory.experiment.inference import remote

    out = Output(as_json, quiet)
    remote.check_source_options(where, url, contender, task)
    if data is None:
        if where is None:
            raise SpecError("--url needs --data", allowed="labelled examples for the server to answer")
        _print_ladder(where, out)
        return
    if where is not None:
        find_fit_folder(where, contender)  # a mistake is told before the libraries are loaded
        from loratory.experiment.inference.evaluate_on_data import evaluate_on_data

        with out.note_when_slow(f"loading the model and answering {data} ..."):
            scores = evaluate_on_data(where, data, contender, column or ())
    else:
        with remote.open_remote(str(url), task) as answerer:
            scores = remote.evaluate_remote(answerer, data, column or ())
    out.print(*_format_scores(scores))
    out.json(scores)


def _print_ladder(where: Path, out: Output) -> None:
    from loratory.experiment.artifact_lookup import read_ladder

    ladder = read_ladder(where)
    from loratory.evaluation.ladder import format_ladder_lines, make_ladder_table

    out.print(make_ladder_table(ladder), *format_ladder_lines(ladder))
    out.json(ladder)


def describe_test_reads(scores: Mapping[str, Any]) -> str:
    """How often some of these rows were read, and what the largest earlier reading had of them."""
    overlap = scores["test_overlap"]
    if overlap is None:
        return "none of these rows was read before"
    return (
        f"some of these rows were read {scores['test_reads']} times, this time included; the largest earlier reading "
        f"had {overlap['largest']:.0%} of them ({overlap['run']}, {overlap['time']})"
    )


def _format_scores(scores: Mapping[str, Any]) -> list[str]:
    shown = [
        f"{name:<12} {interval['value']:.4f}  [{interval['low']:.4f}, {interval['high']:.4f}]"
        for name, interval in scores["metrics"].items()
    ]
    shown += [f"n            {scores['n']}", f"reads        {describe_test_reads(scores)}"]
    if latency := scores.get("latency_ms"):
        statuses = ", ".join(f"{status} {share:.1%}" for status, share in scores["status"].items())
        shown.append(f"latency      p50 {latency['p50']:.1f} ms, p95 {latency['p95']:.1f} ms")
        shown.append(f"status       {statuses}; by a fallback {scores['fallbacks']:.1%}")
    return shown
