"""`loratory doctor`."""

from __future__ import annotations

from typing import Annotated

import typer

from loratory.cli.options import JsonOption, QuietOption

NAME = "doctor"
EXAMPLES = ("loratory doctor",)


def command(
    again: Annotated[bool, typer.Option("--again", help="Measure again. Default: use the kept measurement.")] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show versions, the speed of this machine, and defaults.

    It measures the hardware once and keeps the result. It prints what the value `auto` in a spec means on this
    machine.
    """
    from loratory.cli.output import Output

    out = Output(as_json, quiet)
    from loratory.experiment.hardware_report import examine_machine, explain_findings

    with out.note_when_slow("measuring this machine, about half a minute ..."):
        found = examine_machine(again)
    out.print(*(f"{name:<16} {value}" for name, value in explain_findings(found)))
    out.json(found)
