"""`loratory retire`."""

from __future__ import annotations

from loratory.cli.options import JsonOption, QuietOption
from loratory.cli.registry_options import ByOption, ReasonOption, RegistryOption, ReleaseArgument

NAME = "retire"
EXAMPLES = ("loratory retire tickets@1", "loratory gc")


def command(
    release: ReleaseArgument,
    registry: RegistryOption = None,
    by: ByOption = None,
    reason: ReasonOption = "",
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Take a release out of use.

    Its evidence stays; loratory gc removes its files. A champion, or a release to which a rollback comes back, is kept.
    """
    from loratory.api.registry import open_registry
    from loratory.cli.output import Output

    out = Output(as_json, quiet)
    made = open_registry(registry).retire(release, by, reason)
    out.print(f"retired: {made.reference}")
    out.json(made.to_json())
