"""`loratory serve`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

NAME = "serve"


def command(
    where: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME=]WHERE",
            help="Runs, fits or imported folders; the environment's MODEL_DIR when there is none.",
            show_default=False,
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="A server's YAML: tasks, roles, keys, limits.")
    ] = None,
    host: Annotated[str | None, typer.Option("--host", metavar="ADDRESS", help="127.0.0.1 when left out.")] = None,
    port: Annotated[int | None, typer.Option("--port", metavar="PORT", help="8000 when left out; 0: any.")] = None,
    keys: Annotated[
        Path | None, typer.Option("--keys", metavar="FILE", help="The file of loratory keys: who may ask.")
    ] = None,
    adapters: Annotated[
        Path | None, typer.Option("--adapters", metavar="FOLDER", help="From where it may load while it runs.")
    ] = None,
    discover: Annotated[
        Path | None, typer.Option("--discover", metavar="FOLDER", help="Serve the router's models that lie there.")
    ] = None,
    change: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change one key: --set limits.texts=64 (repeatable)."),
    ] = None,
) -> None:
    """Answer over HTTP, with a page at /: many tasks, one copy of each base.

    SIGTERM or Ctrl-C: what was accepted is answered, then it ends.
    """
    from loratory.cli.output import make_console
    from loratory.serving.http.log_setup import configure_logging
    from loratory.serving.launcher import load_server_spec, run_server

    asked = {"host": host, "keys": keys, "adapters": adapters, "discover": discover}
    given = [f"{key}={json.dumps(str(value))}" for key, value in asked.items() if value is not None]  # "::1" is text
    given += [f"port={port}"] if port is not None else []
    spec = load_server_spec(config, where or (), [*given, *(change or ())])
    screen = make_console()
    configure_logging(spec.texts_in_logs)
    run_server(spec, lambda text: screen.print(f"- {text}", markup=False))
