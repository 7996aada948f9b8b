"""`loratory evaluate`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from loratory.cli.options import ContenderOption, JsonOption, OptionalWhereArgument, TaskOption, UrlOption

if TYPE_CHECKING:
    from rich.console import Console

NAME = "evaluate"


def command(
    where: OptionalWhereArgument = None,
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="DATA", help="Labelled examples; of a run, its own test rows when left out."),
    ] = None,
    contender: ContenderOption = None,
    url: UrlOption = None,
    task: TaskOption = None,
    column: Annotated[
        list[str] | None,
        typer.Option("--column", metavar="NAME=COLUMN", help="Column of a task's field: label=category (repeatable)."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Score a predictor on labelled examples, or show a run's ladder and verdict again."""
    from loratory.cli.output import make_console
    from loratory.cli.output import print_json as print_data
    from loratory.errors import SpecError
    from loratory.experiment.artifact_lookup import find_fit_folder, read_ladder
    from loratory.experiment.inference import remote

    remote.check_source_options(where, url, contender, task)
    screen = make_console()
    if data is None:
        if where is None:
            raise SpecError("--url is given without --data", allowed="labelled examples that the server has to answer")
        ladder = read_ladder(where)
        from loratory.evaluation.ladder import format_ladder_lines, make_ladder_table

        screen.print(make_ladder_table(ladder))
        for line in format_ladder_lines(ladder):
            screen.print(line, markup=False)
        if as_json:
            print_data(ladder)
        return
    if where is not None:
        find_fit_folder(where, contender)  # a mistake is told before the libraries are loaded
        from loratory.experiment.inference.evaluate_on_data import evaluate_on_data

        scores = evaluate_on_data(where, data, contender, column or ())
    else:
        with remote.open_remote(str(url), task) as answerer:
            scores = remote.evaluate_remote(answerer, data, column or ())
    _print_scores(scores, screen)
    if as_json:
        print_data(scores)


def describe_test_reads(scores: Mapping[str, Any]) -> str:
    """How often some of these rows were read, and what the largest earlier reading had of them."""
    overlap = scores["test_overlap"]
    if overlap is None:
        return "none of these rows was read before"
    return (
        f"{scores['test_reads']} of these rows or some of them, this one included; the largest earlier one had "
        f"{overlap['largest']:.0%} of them ({overlap['run']}, {overlap['time']})"
    )


def _print_scores(scores: Mapping[str, Any], screen: Console) -> None:
    for name, interval in scores["metrics"].items():
        screen.print(
            f"{name:<12} {interval['value']:.4f}  [{interval['low']:.4f}, {interval['high']:.4f}]", markup=False
        )
    screen.print(f"n            {scores['n']}", markup=False)
    screen.print(f"reads        {describe_test_reads(scores)}", markup=False)
    if latency := scores.get("latency_ms"):
        said = ", ".join(f"{status} {share:.1%}" for status, share in scores["status"].items())
        screen.print(f"latency      p50 {latency['p50']:.1f} ms, p95 {latency['p95']:.1f} ms", markup=False)
        screen.print(f"status       {said}; by a fallback {scores['fallbacks']:.1%}", markup=False)
