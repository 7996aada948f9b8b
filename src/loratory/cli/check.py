"""`loratory check`."""

from __future__ import annotations

from loratory.cli.options import DataOption, JsonOption, SetOption, SpecArgument

NAME = "check"


def command(spec: SpecArgument, data: DataOption = None, change: SetOption = None, as_json: JsonOption = False) -> None:
    """Read, group, split and inspect the examples, and refuse what `run` would refuse.

    Nothing is trained or written.
    """
    from loratory.cli.output import MAX_LINE_CHARACTERS
    from loratory.cli.output import print_json as print_data
    from loratory.display.progress_screen import ProgressScreen
    from loratory.experiment.spec_loading import load_spec

    parsed = load_spec(spec, data, change or ())  # a mistake is told before the libraries are loaded
    from loratory.data.quality.quality_report import format_quality_lines
    from loratory.errors import shorten
    from loratory.experiment.steps.preflight import check_spec

    with ProgressScreen() as screen:
        split = check_spec(parsed, screen)
    for line in format_quality_lines(split.quality):
        screen.console.print(shorten(line, MAX_LINE_CHARACTERS), markup=False)
    if as_json:
        print_data(split.quality)
