"""`loratory audit`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loratory.cli.options import JsonOption

NAME = "audit"


def command(
    file: Annotated[Path, typer.Argument(metavar="[FILE]", help="What a server, or loratory keys, wrote down.")] = Path(
        ".loratory/audit.jsonl"
    ),
    as_json: JsonOption = False,
) -> None:
    """Check that nobody changed what was written down of loads, unloads and keys.

    It tells how many lines there are, from when to when, and the hash of the last one: lines that are cut off at the
    end break no chain.
    """
    from dataclasses import asdict

    from loratory.cli.printing import data, write
    from loratory.serving.audit import Audit

    chain = Audit(file).chain()
    if as_json:
        data(asdict(chain))
    else:
        when = f", {chain.first} to {chain.last}" if chain.lines else ""
        write(f"{chain.lines} line{'s' if chain.lines != 1 else ''}{when}; the last line's SHA-256: {chain.head}\n")
