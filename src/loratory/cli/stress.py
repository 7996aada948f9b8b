"""`loratory stress`."""

from __future__ import annotations

from typing import Annotated

import typer

from loratory.cli.options import ContenderOption, JsonOption, WhereArgument

NAME = "stress"


def command(
    where: WhereArgument,
    contender: ContenderOption = None,
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="DATA", help="Labelled examples; of a run, its own test rows when left out."),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option("--column", metavar="NAME=COLUMN", help="Column of a task's field: label=category (repeatable)."),
    ] = None,
    change: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change one key: --set stress.of=[typos] (repeatable)."),
    ] = None,
    texts: Annotated[int | None, typer.Option("--texts", metavar="N", help="So many texts at most.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Change texts harmlessly and say how many answers change with them.

    Typos, case, punctuation, spacing, harmless words before and behind, Unicode look-alikes. On a run's own rows the
    figures are kept in its stress.json, and reading its test rows is noted.
    """
    from loratory.cli.output import print_json as print_data
    from loratory.display.progress_screen import ProgressScreen
    from loratory.experiment.artifact_lookup import find_fit_folder

    find_fit_folder(where, contender)  # a mistake is told before the libraries are loaded
    from loratory.evaluation.stress_test import format_stress_lines
    from loratory.experiment.inference.stress_run import StressArguments, stress_predictor

    changes = [*(change or ()), *([f"stress.texts={texts}"] if texts is not None else [])]
    with ProgressScreen() as screen:
        made = stress_predictor(where, StressArguments(contender, data, column or (), changes), screen)
    part = made.get("data") or f"the {made['part']} rows"
    screen.console.print(
        f"{made['name']} on {made['texts']} texts of {part}, worst first [{made['confidence']:.0%} intervals]",
        markup=False,
    )
    for line in format_stress_lines(made):
        screen.console.print(line, markup=False)
    if as_json:
        print_data(made)
