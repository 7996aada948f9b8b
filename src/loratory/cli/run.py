"""`loratory run`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loratory.cli.options import DataOption, JsonOption, OutputOption, QuietOption, SetOption, SpecArgument

if TYPE_CHECKING:
    from loratory.cli.output import Output
    from loratory.specs.spec import Spec

NAME = "run"
EXAMPLES = ("loratory run spec.yaml", "loratory run spec.yaml --set training.seeds=3 -o runs/three-seeds")
EXIT_GATE_FAILS = 3


def command(
    spec: SpecArgument,
    data: DataOption = None,
    output: OutputOption = None,
    change: SetOption = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="End with exit code 3 where the gate of the spec fails.")
    ] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train and test all contenders, and write a report.

    It checks and splits the examples, trains each contender of the ladder, measures all of them on the test set and
    recommends one. Run the same command again to resume a run that was stopped: finished contenders are reused. A
    contender that fails is reported, and the others continue.
    """
    from loratory.cli.output import Output
    from loratory.experiment.spec_loading import load_spec

    out = Output(as_json, quiet)
    parsed = load_spec(spec, data, change or ())  # a mistake is told before the libraries are loaded
    if strict:
        _require_gate(parsed, spec)
    from loratory.api.runs import run_spec

    with out.progress() as screen:
        run = run_spec(parsed, output, screen)
    out.print(run.ladder.make_table(), *run.format_lines(), f"report: {run.report}")
    out.json(run.to_dict())
    _suggest_commands(out, run.folder)
    if strict and not run.gate_holds:
        out.note("the gate fails, so the exit code is 3 (--strict)")
        raise typer.Exit(EXIT_GATE_FAILS)


def _require_gate(spec: Spec, target: str) -> None:
    from loratory.errors import SpecError

    if spec.gate is None:
        raise SpecError(
            "--strict needs a gate, and this spec has none",
            where=target,
            remedy="add one to the spec, for example: gate: {not_worse_than: {tfidf: 0.0}}; or leave --strict out",
        )


def _suggest_commands(out: Output, folder: Path) -> None:
    out.next(
        f"open {folder / 'report.html'}             (all figures, in a browser)",
        f'loratory predict {folder} "a text"',
        f"loratory serve {folder}",
    )
