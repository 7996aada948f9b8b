"""`loratory check`."""

from __future__ import annotations

from loratory.cli.options import DataOption, JsonOption, QuietOption, SetOption, SpecArgument

NAME = "check"
EXAMPLES = ("loratory check spec.yaml",)


def command(
    spec: SpecArgument,
    data: DataOption = None,
    change: SetOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Check a spec and its examples before you train.

    It reads and splits the examples, and prints duplicates, leaks between the parts, suspected wrong labels and
    warnings. It ends with an error for everything that `loratory run` would refuse. It trains and writes nothing.
    """
    from loratory.cli.output import Output
    from loratory.experiment.spec_loading import load_spec

    out = Output(as_json, quiet)
    parsed = load_spec(spec, data, change or ())  # a mistake is told before the libraries are loaded
    from loratory.data.quality.quality_report import format_quality_lines
    from loratory.display.console import MAX_LINE_CHARACTERS
    from loratory.errors import shorten
    from loratory.experiment.steps.preflight import check_spec

    with out.progress() as screen:
        split = check_spec(parsed, screen)
    out.print(*(shorten(line, MAX_LINE_CHARACTERS) for line in format_quality_lines(split.quality)))
    out.json(split.quality)
    out.next(f"loratory run {spec}")
