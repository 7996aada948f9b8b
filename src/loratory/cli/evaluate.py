"""`loratory evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loratory.cli.options import JsonOption

NAME = "evaluate"


def command(
    where: Annotated[Path, typer.Argument(help="A run, a fit's folder, or an imported folder.", show_default=False)],
    data: Annotated[
        str | None, typer.Option("--data", help="Labelled examples; of a run, its own test rows when left out.")
    ] = None,
    contender: Annotated[
        str | None, typer.Option("--contender", "-c", help="Of a run: this one, not the recommended.")
    ] = None,
    column: Annotated[
        list[str] | None, typer.Option("--column", help="TASK_COLUMN=FILE_COLUMN, such as label=category (repeatable).")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Score a predictor on labelled examples, or show a run's ladder and verdict again."""
    from loratory.cli.printing import console
    from loratory.cli.printing import data as print_data
    from loratory.evaluation.ladder import lines, table
    from loratory.flows.evaluate import on_data
    from loratory.flows.opening import read_ladder

    screen = console()
    if data is None:
        ladder = read_ladder(where)
        screen.print(table(ladder))
        for line in lines(ladder):
            screen.print(line, markup=False)
        if as_json:
            print_data(ladder)
        return
    scores = on_data(where, data, contender, column or ())
    for name, interval in scores["metrics"].items():
        screen.print(
            f"{name:<12} {interval['value']:.4f}  [{interval['low']:.4f}, {interval['high']:.4f}]", markup=False
        )
    screen.print(f"n            {scores['n']}", markup=False)
    if as_json:
        print_data(scores)
