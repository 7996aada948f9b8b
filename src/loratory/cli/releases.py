"""`loratory releases`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from loratory.cli.options import JsonOption, QuietOption
from loratory.cli.registry_options import RegistryOption

if TYPE_CHECKING:
    from loratory.registry.releases import HistoryEntry, Release

NAME = "releases"
EXAMPLES = ("loratory releases", "loratory releases tickets --history", "loratory releases tickets@champion")


def command(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="A name; of NAME@VERSION all facts are shown.", show_default=False),
    ] = None,
    history: Annotated[bool, typer.Option("--history", help="Show every change of the registry in order.")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Check the history, the tables and every file against their hashes.")
    ] = False,
    registry: RegistryOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """List the releases of the registry, and what happened to them."""
    from dataclasses import asdict

    from loratory.api.registry import open_registry
    from loratory.cli.output import Output
    from loratory.registry.releases import parse_reference

    out, opened = Output(as_json, quiet), open_registry(registry)
    if verify:
        chain = opened.verify()
        out.print(f"the registry holds: {chain.entries} changes, {chain.first} to {chain.last}; SHA-256 {chain.head}")
        out.json(asdict(chain))
    elif history:
        entries = opened.history(name)
        out.print(*(_format_entry(one) for one in entries))
        out.json([asdict(one) for one in entries])
    elif name and parse_reference(name):
        release = opened.find(name)
        out.print(*_format_facts(release))
        out.json(release.to_json())
    else:
        found = opened.list_releases(name)
        out.print(*(_format_release(one) for one in found))
        out.json([one.to_json() for one in found])


def _format_release(one: Release) -> str:
    facts = one.contents.facts
    state = "retired" if one.retired_at else ", ".join(one.aliases) or "-"
    return f"{one.reference:<24} {state:<20} {facts['contender']!s:<12} {one.created_at[:16]}  {one.created_by}"


def _format_facts(one: Release) -> list[str]:
    facts = one.contents.facts
    base = facts.get("base")
    told = f"{base['name']} ({base['licence'] or 'licence unknown'})" if isinstance(base, dict) else "-"
    return [
        _format_release(one),
        f"sha256      {one.digest}",
        f"regime      {facts['regime']}, seed {facts['seed']}",
        f"base        {told}",
        f"run         {facts['run']}",
        f"files       {len(one.contents.files)}; evidence of {', '.join(one.contents.evidence) or 'nothing'}",
    ]


def _format_entry(one: HistoryEntry) -> str:
    version = "" if one.version is None else f"@{one.version}"
    shown = {key: value for key, value in one.facts.items() if value not in ("", None) and key != "digest"}
    told = ", ".join(f"{key} {value}" for key, value in shown.items())
    return f"{one.number:>5}  {one.at[:19]}  {one.by:<12} {one.action:<9} {one.name}{version}  {told}"
