"""`loratory audit`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loratory.cli.options import JsonOption, QuietOption

if TYPE_CHECKING:
    from loratory.serving.audit_log import VerifiedChain

NAME = "audit"
EXAMPLES = ("loratory audit",)


def command(
    file: Annotated[Path, typer.Argument(metavar="[FILE]", help="The audit log of a server.")] = Path(
        ".loratory/audit.jsonl"
    ),
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Verify that nobody changed the audit log of a server.

    The log records when tasks and keys were added or removed. Each line holds the hash of the line before, and
    FILE.head holds the hash of the last line, so changed, removed and cut lines are found. A line that a crash cut
    short is reported as torn.
    """
    from dataclasses import asdict

    from loratory.cli.output import Output
    from loratory.serving.audit_log import AuditLog

    out = Output(as_json, quiet)
    chain = AuditLog(file).verify_chain()
    out.print(*_describe_chain(chain))
    out.json(asdict(chain))


def _describe_chain(chain: VerifiedChain) -> list[str]:
    when = f", {chain.first} to {chain.last}" if chain.lines else ""
    told = [f"{_count_lines(chain.lines)}{when}; SHA-256 of the last line: {chain.head}"]
    if chain.torn:
        told.append(f"torn: a crash or a full disk cut {_count_lines(chain.torn)} short")
    if chain.beyond is None and chain.lines:
        told.append("there is no .head file beside it: lines that were removed at the end cannot be found")
    if chain.beyond:
        told.append(f"the .head file does not cover the last {_count_lines(chain.beyond)}: a crash came between")
    if len(chain.parts) > 1:
        told.append(f"parts: {', '.join(chain.parts)}")
    return told


def _count_lines(lines: int) -> str:
    return f"{lines} line{'s' if lines != 1 else ''}"
