"""The command line: a file per verb. It parses, calls an experiment, prints results on stdout and notes on stderr."""

from __future__ import annotations

import io
import os
import sys
import warnings
from collections.abc import Sequence
from typing import NoReturn

import typer

from loratory.cli import (
    audit,
    bases,
    check,
    discover,
    doctor,
    evaluate,
    export,
    gate,
    gc,
    import_command,
    init,
    keys,
    predict,
    promote,
    recipes,
    redact,
    register,
    releases,
    report,
    retire,
    rollback,
    run,
    schema,
    serve,
    stress,
    train,
    verify,
)
from loratory.cli.error_handler import report_failure

PROGRAM = "loratory"

EPILOG = """\
Results go to stdout; progress and notes go to stderr. With --json a verb prints
JSON alone on stdout.

\b
First steps:
  loratory init messages.csv     write spec.yaml for your examples
  loratory check spec.yaml       look for problems in the examples
  loratory run spec.yaml         train, test and report
  loratory predict runs/NAME "a text"
  loratory serve runs/NAME

\b
Exit codes:
  0    done
  1    a question of the program was not answered
  2    a mistake: the message says how to correct it
  3    run --strict: the gate fails; export, verify: not the measured model
  70   an error in loratory itself; a report is written to a file
  130  stopped with Ctrl-C; the same command resumes a run
"""

app = typer.Typer(
    name=PROGRAM,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: the same on every terminal, in a file and in docs/cli.md
    context_settings={"max_content_width": 100, "help_option_names": ["-h", "--help"]},
    help="Train a small language model from labelled examples and one YAML file, measure it, export it and serve it.",
    epilog=EPILOG,
)
VERBS = (  # in the order in which a newcomer meets them
    recipes,
    bases,
    init,
    check,
    run,
    report,
    predict,
    redact,
    evaluate,
    serve,
    export,
    verify,
    register,
    releases,
    gate,
    promote,
    rollback,
    retire,
    gc,
    train,
    stress,
    import_command,
    keys,
    audit,
    discover,
    schema,
    doctor,
)


def format_examples(examples: Sequence[str]) -> str:
    """The end of a verb's help, whose lines are not wrapped again."""
    return "\n".join(["\b", "Examples:" if len(examples) > 1 else "Example:", *(f"  {one}" for one in examples)])


for verb in VERBS:
    app.command(verb.NAME, epilog=format_examples(verb.EXAMPLES))(verb.command)


@app.callback(invoke_without_command=True)
def _version(version: bool = typer.Option(False, "--version", help="Print the version.", is_eager=True)) -> None:
    if version:
        from loratory import __version__

        typer.echo(__version__)
        raise typer.Exit


def main() -> NoReturn:
    """Run the command line. Whatever ends it, a person reads why, and the exit code says whose error it is.

    The exit codes are those of EPILOG.
    """
    _configure_process()
    try:
        app(prog_name=PROGRAM, standalone_mode=True)  # completion asks for the name, too
    except SystemExit:
        raise
    except BaseException as problem:  # a panic of Rust is no Exception
        sys.exit(report_failure(problem, sys.argv[1:]))
    sys.exit(0)


def _configure_process() -> None:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    if not sys.warnoptions:
        warnings.simplefilter("ignore", FutureWarning)  # of libraries, to their own users
    if isinstance(sys.stdout, io.TextIOWrapper):  # JSON is UTF-8 on every system; half a surrogate pair is escaped
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
