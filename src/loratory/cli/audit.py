"""`loratory audit`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loratory.cli.options import JsonOption

if TYPE_CHECKING:
    from loratory.serving.audit_log import VerifiedChain

NAME = "audit"


def command(
    file: Annotated[Path, typer.Argument(metavar="[FILE]", help="What a server, or loratory keys, wrote down.")] = Path(
        ".loratory/audit.jsonl"
    ),
    as_json: JsonOption = False,
) -> None:
    """Check that nobody changed what was written down of loads, unloads and keys.

    It tells how many lines there are, from when to when, and the hash of the last one. Lines that were cut off at the
    end are missed by FILE.head, which knows the last one; what a crash left of a line is told as that.
    """
    from dataclasses import asdict

    from loratory.cli.output import print_json, write_stdout
    from loratory.serving.audit_log import AuditLog

    chain = AuditLog(file).verify_chain()
    if as_json:
        print_json(asdict(chain))
    else:
        write_stdout("\n".join(_describe_chain(chain)) + "\n")


def _describe_chain(chain: VerifiedChain) -> list[str]:
    when = f", {chain.first} to {chain.last}" if chain.lines else ""
    told = [f"{_count_lines(chain.lines)}{when}; the last line's SHA-256: {chain.head}"]
    if chain.torn:
        told.append(f"torn: {_count_lines(chain.torn)}, cut short by a crash or a full disk while it was written")
    if chain.beyond is None and chain.lines:
        told.append("there is no head beside it: lines that were cut off at the end would not be missed")
    if chain.beyond:
        told.append(
            f"the head does not know the last {_count_lines(chain.beyond)}: a crash or a full disk came between"
        )
    if len(chain.parts) > 1:
        told.append(f"parts: {', '.join(chain.parts)}")
    return told


def _count_lines(lines: int) -> str:
    return f"{lines} line{'s' if lines != 1 else ''}"
