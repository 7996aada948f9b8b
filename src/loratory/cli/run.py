"""`loratory run`."""

from __future__ import annotations

from loratory.cli.options import DataOption, JsonOption, OutputOption, SetOption, SpecArgument

NAME = "run"


def command(
    spec: SpecArgument,
    data: DataOption = None,
    output: OutputOption = None,
    change: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check and split the examples, fit the ladder, weigh the evidence, report.

    A run that was stopped goes on where it was; finished contenders are kept. A contender that cannot be
    fitted or measured is named, and the others are reported.
    """
    from loratory.cli.output import print_json as print_data
    from loratory.display.progress_screen import ProgressScreen
    from loratory.experiment.spec_loading import load_spec

    parsed = load_spec(spec, data, change or ())  # a mistake is told before the libraries are loaded
    from loratory.evaluation.ladder import format_ladder_lines, make_ladder_table
    from loratory.experiment.run import run_experiment
    from loratory.experiment.run_paths import RunPaths

    place = RunPaths.for_spec(parsed, output)
    with ProgressScreen() as screen:
        ladder = run_experiment(parsed, place, screen)
    screen.console.print(make_ladder_table(ladder))
    for line in format_ladder_lines(ladder):
        screen.console.print(line, markup=False)
    screen.console.print(f"report: {place.folder / 'report.html'}", markup=False)
    if as_json:
        print_data(ladder)
