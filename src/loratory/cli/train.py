"""`loratory train`."""

from __future__ import annotations

from typing import Annotated

import typer

from loratory.cli.options import DataOption, JsonOption, OutputOption, SetOption, SpecArgument

NAME = "train"


def command(
    spec: SpecArgument,
    contender: Annotated[
        list[str] | None,
        typer.Option("--contender", "-c", metavar="NAME", help="Only these (repeatable); all when left out."),
    ] = None,
    data: DataOption = None,
    output: OutputOption = None,
    change: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fit contenders of a spec and show their validation scores; the test set is not read."""
    from loratory.cli.output import print_json as print_data
    from loratory.display.progress_screen import ProgressScreen
    from loratory.experiment.spec_loading import load_spec

    parsed = load_spec(spec, data, change or ())  # a mistake is told before the libraries are loaded
    from loratory.experiment.run_paths import RunPaths
    from loratory.experiment.train import train_contenders

    with ProgressScreen() as screen:
        rows = train_contenders(parsed, RunPaths.for_spec(parsed, output), contender or (), screen)
    for row in rows:
        screen.console.print(
            f"{row['contender']:<16} {row['headline']} {row['score']:.4f} on validation, {row['folder']}", markup=False
        )
    if as_json:
        print_data(rows)
