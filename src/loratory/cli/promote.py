"""`loratory promote`."""

from __future__ import annotations

from typing import Annotated

import typer

from loratory.cli.options import JsonOption, QuietOption
from loratory.cli.registry_options import ByOption, ReasonOption, RegistryOption, ReleaseArgument

NAME = "promote"
EXAMPLES = ("loratory promote tickets@3 --to staging", "loratory promote tickets@3 --to champion")


def command(
    release: ReleaseArgument,
    to: Annotated[str, typer.Option("--to", metavar="ALIAS", help="staging, canary, champion or challenger.")],
    registry: RegistryOption = None,
    by: ByOption = None,
    reason: ReasonOption = "",
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Promote a release, if its evidence holds what is required.

    A champion has to have been in staging. The exit code is 3 where a demand is not met; nothing is then changed.
    """
    from loratory.api.registry import promote
    from loratory.cli.output import Output

    out = Output(as_json, quiet)
    with out.note_when_slow(f"weighing {release} ..."):
        found = promote(release, to, registry=registry, by=by, reason=reason)
    out.print(*(f"holds  {one.says}" for one in found.lines), f"promoted: {release} is {to}")
    out.json({"release": release, "alias": to, "gate": found.to_json()})
