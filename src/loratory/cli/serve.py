"""`loratory serve`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from loratory.cli.completion import complete_contender, complete_where
from loratory.cli.options import JsonOption, QuietOption

NAME = "serve"
EXAMPLES = (
    "loratory serve runs/tickets",
    "loratory serve runs/tickets -c tfidf --port 9000",
    "loratory serve intent=runs/a pii=runs/b",
)


def command(
    where: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME=]WHERE",
            help="Runs, fits, exported or imported folders. Default: the environment variable MODEL_DIR.",
            show_default=False,
            autocompletion=complete_where,
        ),
    ] = None,
    contender: Annotated[
        str | None,
        typer.Option(
            "--contender",
            "-c",
            metavar="NAME",
            help="Serve this contender of the one run. Default: the recommended one.",
            autocompletion=complete_contender,
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="A YAML file of the server: tasks, keys, limits.")
    ] = None,
    host: Annotated[
        str | None, typer.Option("--host", metavar="ADDRESS", help="Address to listen at. Default: 127.0.0.1.")
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", metavar="PORT", help="Port. Default: 8000. 0: any free port.")
    ] = None,
    keys: Annotated[
        Path | None, typer.Option("--keys", metavar="FILE", help="Require an API key of this file (loratory keys).")
    ] = None,
    adapters: Annotated[
        Path | None,
        typer.Option("--adapters", metavar="FOLDER", help="Clients with an admin key may load tasks from here."),
    ] = None,
    discover: Annotated[
        Path | None,
        typer.Option("--discover", metavar="FOLDER", help="Serve the semantic router's models in this folder."),
    ] = None,
    change: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a key: --set limits.texts=64 (repeatable)."),
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Serve models over HTTP, with a page for a browser.

    One process serves many tasks, and tasks with the same base share one copy of it. When it is ready it prints its
    URL on stdout; with --json it prints one JSON object with the keys url and tasks. After Ctrl-C or SIGTERM it
    answers the requests that it has accepted, and ends.
    """
    from loratory.cli.output import Output
    from loratory.serving.http.log_setup import configure_logging
    from loratory.serving.launcher import load_server_spec, run_server

    out = Output(as_json, quiet)
    given = {"host": host, "keys": keys, "adapters": adapters, "discover": discover}
    changes = [f"{key}={json.dumps(str(value))}" for key, value in given.items() if value is not None]  # "::1" is text
    changes += [f"port={port}"] if port is not None else []
    spec = load_server_spec(config, where or (), [*changes, *(change or ())], contender)
    configure_logging(spec.texts_in_logs, quiet)

    def print_ready(url: str, tasks: list[str]) -> None:
        out.print(f"listening on {url}")
        out.json({"url": url, "tasks": tasks})
        out.note(f"open {url} in a browser to try it; Ctrl-C ends")

    run_server(spec, lambda text: out.note(f"- {text}"), print_ready)
