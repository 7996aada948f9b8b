"""`loratory schema`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

NAME = "schema"


def command(
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write a file instead of printing."),
    ] = None,
    server: Annotated[
        bool, typer.Option("--server", help="The schema of the file of `loratory serve --config` instead.")
    ] = False,
) -> None:
    """Print the JSON Schema of the spec, with all installed plugins.

    An editor uses it to complete, explain and check the keys. `loratory init` writes it as loratory.schema.json beside
    the spec. After an upgrade or a new plugin, write it again: loratory schema -o loratory.schema.json
    """
    from loratory.artifacts.durable_files import write_text
    from loratory.cli.output import make_console, write_stdout
    from loratory.errors import SpecError
    from loratory.experiment.editor_schema import build_server_schema, collect_known_classes, format_schema
    from loratory.specs.spec_schema import build_spec_schema

    if output is not None and output.is_dir():
        raise SpecError("this is a folder", where=str(output), remedy=f"--output {output / 'loratory.schema.json'}")
    known, problems = collect_known_classes()
    text = format_schema(build_server_schema() if server else build_spec_schema(known))
    screen = make_console()
    for problem in () if server else problems:
        screen.print(f"left out: {problem}", markup=False)
    if output is None:
        write_stdout(text)
        return
    write_text(output, text)
    screen.print(f"wrote {output}", markup=False)
