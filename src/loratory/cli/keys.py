"""`loratory keys`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loratory.cli.completion import complete_key_action
from loratory.cli.options import JsonOption, QuietOption

NAME = "keys"
EXAMPLES = ("loratory keys add alice", "loratory serve runs/tickets --keys keys.json")


def command(
    action: Annotated[
        str,
        typer.Argument(
            metavar="ACTION", help="add, revoke or list.", show_default=False, autocompletion=complete_key_action
        ),
    ],
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="The name of the key's owner.", show_default=False)
    ] = None,
    file: Annotated[Path, typer.Option("--file", metavar="FILE", help="The file of the hashed keys.")] = Path(
        "keys.json"
    ),
    admin: Annotated[bool, typer.Option("--admin", help="The key may also load and unload tasks.")] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Create, revoke and list the API keys of a server.

    A new key is printed once. The file holds only its hash.
    """
    from loratory.cli.output import Output
    from loratory.serving.key_administration import add_key, list_keys, revoke_key

    out = Output(as_json, quiet)
    if action == "list":
        found = list_keys(file)
        out.print(*(f"{key['name']}  {' '.join(key['scopes'])}" for key in found))
        out.json(found)
    elif action == "revoke":
        revoke_key(file, name)
        out.print(f"revoked: {name}; a running server stops accepting it within a second")
        out.json({"revoked": name})
    else:
        secret = add_key(action, file, name, admin)
        out.print(secret)
        out.json({"name": name, "key": secret})
