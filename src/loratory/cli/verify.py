"""`loratory verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loratory.cli.options import JsonOption, QuietOption, TaskOption, UrlOption

NAME = "verify"
EXAMPLES = (
    "loratory verify runs/tickets/exports/onnx",
    "loratory verify runs/tickets/exports/onnx --url http://localhost:8000",
)


def command(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="An exported folder with certificate.json.", show_default=False)
    ],
    url: UrlOption = None,
    task: TaskOption = None,
    precision: Annotated[
        str, typer.Option("--precision", metavar="NAME", help="With --url: how the server computes, fp32 or bf16.")
    ] = "fp32",
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Check that an exported model answers as the fit that was measured.

    It checks the digest of every file, runs the golden inputs through the exported model, alone and in batches, and
    compares every stage with the fit's: token ids, hidden states, logits, probabilities and answers. The tolerances are
    those of this program, not of the folder. With --url it asks a running server instead. Exit code 0: it is the same
    model; 3: it differs, and the message names the first stage that does; 2: it could not be checked.
    """
    from loratory.api.verification import verify
    from loratory.cli.output import Output

    out = Output(as_json, quiet)
    with out.note_when_slow(f"verifying {folder} ..."):
        made = verify(folder, url=url, task=task, precision=precision)
    measured = made.facts["measured"]
    agreement = measured["label_agreement"]
    out.print(f"verified: {url or folder} ({made.format})")
    for name, value in (
        ("max |dp|", measured["max_dp"]),
        ("99 % of |dp|", measured["q99_dp"]),
        ("in batches", measured["batch_dp"]),
    ):
        if value is not None:
            out.print(f"  {name:<14}{value:.1e}")
    if agreement["of"]:
        out.print(
            f"  {'labels':<14}{agreement['equal']} of {agreement['of']} equal (at least {agreement['at_least']:.1%}, "
            f"{agreement['confidence']:.0%} confidence)"
        )
    if measured["answers_equal"] is not None:
        out.print(f"  {'answers':<14}{measured['answers_equal']} of {measured['answers_compared']} equal")
    for note in made.notes:
        out.note(f"note: {note}")
    out.json(made.facts)
