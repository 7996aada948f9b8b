"""The command line: a file per verb; parses, calls a flow, prints. Data goes to stdout, everything else to stderr."""

from __future__ import annotations

import io
import os
import sys
import warnings
from typing import NoReturn

import typer

from loratory.cli import (
    audit,
    check,
    discover,
    doctor,
    evaluate,
    export,
    import_command,
    init,
    keys,
    predict,
    recipes,
    redact,
    report,
    run,
    schema,
    serve,
    stress,
    train,
)
from loratory.cli.error_handler import report_failure

app = typer.Typer(
    name="loratory",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: the same on every terminal, in a file and in docs/cli.md
    context_settings={"max_content_width": 100, "help_option_names": ["-h", "--help"]},
    help="From labelled examples and one short YAML to a small language model that is proven, exported and served.",
)
VERBS = (
    init,
    check,
    run,
    train,
    evaluate,
    stress,
    predict,
    redact,
    import_command,
    export,
    discover,
    serve,
    keys,
    audit,
    report,
    recipes,
    schema,
    doctor,
)
for verb in VERBS:
    app.command(verb.NAME)(verb.command)


@app.callback(invoke_without_command=True)
def _version(version: bool = typer.Option(False, "--version", help="Print the version.", is_eager=True)) -> None:
    if version:
        from loratory import __version__

        typer.echo(__version__)
        raise typer.Exit


def main() -> NoReturn:
    """Run the command line; whatever ends it, the last words are for a person and the exit code says whose error it is.

    2: a mistake that can be mended; 70: an error of ours, with a report in a file; 130: Ctrl-C.
    """
    _configure_process()
    try:
        app(standalone_mode=True)
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
