"""`loratory stress`."""

from __future__ import annotations

from typing import Annotated

import typer

from loratory.cli.options import (
    ColumnsOption,
    ContenderOption,
    JsonOption,
    LabelledDataOption,
    QuietOption,
    WhereArgument,
)

NAME = "stress"
EXAMPLES = ("loratory stress runs/tickets", "loratory stress runs/tickets --set stress.of=[typos,case]")


def command(
    where: WhereArgument,
    contender: ContenderOption = None,
    data: LabelledDataOption = None,
    column: ColumnsOption = None,
    change: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change an option: --set stress.of=[typos] (repeatable)."),
    ] = None,
    texts: Annotated[int | None, typer.Option("--texts", metavar="N", help="Perturb at most N texts.")] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Perturb texts and count how many answers change.

    The perturbations do not change what a text means: typos, case, punctuation, spacing, polite words before and after
    the text, and Unicode look-alikes. For a run the result is kept in its stress.json, and the reading of its test set
    is recorded.
    """
    from loratory.cli.output import Output
    from loratory.experiment.artifact_lookup import find_fit_folder

    out = Output(as_json, quiet)
    find_fit_folder(where, contender)  # a mistake is told before the libraries are loaded
    from loratory.evaluation.stress_test import format_stress_lines
    from loratory.experiment.inference.stress_run import StressArguments, stress_predictor

    changes = [*(change or ()), *([f"stress.texts={texts}"] if texts is not None else [])]
    with out.progress() as screen:
        made = stress_predictor(where, StressArguments(contender, data, column or (), changes), screen)
    part = made.get("data") or f"the {made['part']} set"
    out.print(
        f"{made['name']} on {made['texts']} texts of {part}, worst first [{made['confidence']:.0%} intervals]",
        *format_stress_lines(made),
    )
    out.json(made)
