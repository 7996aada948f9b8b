"""`loratory schema`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loratory.cli.options import JsonOption, QuietOption

NAME = "schema"
EXAMPLES = ("loratory schema -o loratory.schema.json", "loratory schema --server -o server.schema.json")


def command(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write this file instead of printing.")
    ] = None,
    server: Annotated[
        bool, typer.Option("--server", help="The schema of the file of loratory serve --config instead.")
    ] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Print the JSON Schema of the spec, with all installed plugins.

    An editor uses it to complete, explain and check the keys. `loratory init` writes it as loratory.schema.json beside
    the spec. Write that file again after an upgrade, or when you install a plugin.
    """
    from loratory.artifacts.durable_files import write_text
    from loratory.cli.output import Output, write_stdout
    from loratory.errors import SpecError
    from loratory.experiment.editor_schema import (
        SCHEMA_FILE,
        build_server_schema,
        collect_known_classes,
        format_schema,
    )
    from loratory.specs.spec_schema import build_spec_schema

    out = Output(as_json, quiet)
    if output is not None and output.is_dir():
        raise SpecError("this is a folder", where=str(output), remedy=f"--output {output / SCHEMA_FILE}")
    known, problems = collect_known_classes()
    text = format_schema(build_server_schema() if server else build_spec_schema(known))
    for problem in () if server else problems:
        out.note(f"left out: {problem}")
    if output is None:
        write_stdout(text)
        return
    write_text(output, text)
    out.print(f"wrote {output}")
    out.json({"file": str(output)})
