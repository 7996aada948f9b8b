"""`loratory evaluate`."""

from __future__ import annotations

from typing import Annotated

import typer

from loratory.cli.options import ContenderOption, JsonOption, WhereArgument

NAME = "evaluate"


def command(
    where: WhereArgument,
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="DATA", help="Labelled examples; of a run, its own test rows when left out."),
    ] = None,
    contender: ContenderOption = None,
    column: Annotated[
        list[str] | None,
        typer.Option("--column", metavar="NAME=COLUMN", help="Column of a task's field: label=category (repeatable)."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Score a predictor on labelled examples, or show a run's ladder and verdict again."""
    from loratory.cli.printing import console
    from loratory.cli.printing import data as print_data
    from loratory.flows.opening import fit_folder, read_ladder

    screen = console()
    if data is None:
        ladder = read_ladder(where)
        from loratory.evaluation.ladder import lines, table

        screen.print(table(ladder))
        for line in lines(ladder):
            screen.print(line, markup=False)
        if as_json:
            print_data(ladder)
        return
    fit_folder(where, contender)  # a mistake is told before the libraries are loaded
    from loratory.flows.evaluate import on_data

    scores = on_data(where, data, contender, column or ())
    for name, interval in scores["metrics"].items():
        screen.print(
            f"{name:<12} {interval['value']:.4f}  [{interval['low']:.4f}, {interval['high']:.4f}]", markup=False
        )
    screen.print(f"n            {scores['n']}", markup=False)
    if as_json:
        print_data(scores)
