"""`loratory keys`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

NAME = "keys"


def command(
    action: Annotated[str, typer.Argument(metavar="ACTION", help="add, revoke or list.", show_default=False)],
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Whose key it is.", show_default=False)] = None,
    file: Annotated[Path, typer.Option("--file", metavar="FILE", help="Where hashes of keys are kept.")] = Path(
        "keys.json"
    ),
    admin: Annotated[bool, typer.Option("--admin", help="It may load and unload, too.")] = False,
) -> None:
    """Make, revoke and list the API keys of a server. A key is shown once; the file holds its hash."""
    from loratory.cli.output import make_console, write_stdout
    from loratory.serving.key_administration import add_key, list_keys, revoke_key

    if action == "list":
        for line in list_keys(file):
            write_stdout(f"{line}\n")
    elif action == "revoke":
        revoke_key(file, name)
        make_console().print(f"revoked: {name}; a running server forgets it within a second", markup=False)
    else:
        write_stdout(f"{add_key(action, file, name, admin)}\n")
