"""`loratory run`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from loratory.cli.options import DataOption, JsonOption, OutputOption, QuietOption, SetOption, SpecArgument

if TYPE_CHECKING:
    from collections.abc import Mapping

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
    from loratory.evaluation.ladder import format_ladder_lines, make_ladder_table
    from loratory.experiment.run import run_experiment
    from loratory.experiment.run_paths import RunPaths

    place = RunPaths.for_spec(parsed, output)
    with out.progress() as screen:
        ladder = run_experiment(parsed, place, screen)
    out.print(make_ladder_table(ladder), *format_ladder_lines(ladder), f"report: {place.folder / 'report.html'}")
    out.json(ladder)
    _suggest_commands(out, place.folder)
    if strict and not gate_holds(ladder):
        out.note("the gate fails, so the exit code is 3 (--strict)")
        raise typer.Exit(EXIT_GATE_FAILS)


def gate_holds(ladder: Mapping[str, Any]) -> bool:
    """Whether the recommended contender passes the gate; False where no contender was recommended."""
    gate = ladder["verdict"]["gate"]
    return bool(gate and gate["holds"])


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
