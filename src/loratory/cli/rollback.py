"""`loratory rollback`."""

from __future__ import annotations

from loratory.cli.options import JsonOption, QuietOption
from loratory.cli.registry_options import ByOption, NameArgument, ReasonOption, RegistryOption

NAME = "rollback"
EXAMPLES = ("loratory rollback tickets --reason 'wrong answers on refunds'",)


def command(
    name: NameArgument,
    registry: RegistryOption = None,
    by: ByOption = None,
    reason: ReasonOption = "",
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make the release that was champion before the champion again.

    Twice in a row goes two back: it never returns to the release that was left.
    """
    from loratory.api.registry import rollback
    from loratory.cli.output import Output

    out = Output(as_json, quiet)
    made = rollback(name, registry=registry, by=by, reason=reason)
    out.print(f"rolled back: {made.reference} is champion")
    out.json(made.to_json())
