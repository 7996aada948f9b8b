"""`loratory gate`."""

from __future__ import annotations

from loratory.cli.options import JsonOption, QuietOption
from loratory.cli.registry_options import RegistryOption, ReleaseArgument

NAME = "gate"
EXAMPLES = ("loratory gate tickets@3",)


def command(
    release: ReleaseArgument, registry: RegistryOption = None, as_json: JsonOption = False, quiet: QuietOption = False
) -> None:
    """Explain every demand on a release before you promote it.

    The demands are those of the spec's gate, and the comparison with the champion on the test texts of both. All is
    computed from the answers that the release keeps. The exit code is 3 where a demand is not met.
    """
    import typer

    from loratory.api.registry import gate
    from loratory.cli.output import Output

    out = Output(as_json, quiet)
    with out.note_when_slow(f"weighing {release} ..."):
        found = gate(release, registry=registry)
    out.print(*(f"{'holds' if one.holds else 'fails'}  {one.says}" for one in found.lines))
    if not found.lines:
        out.print("the spec has no gate and there is no champion: nothing is required")
    out.json(found.to_json())
    if not found.holds:
        raise typer.Exit(3)
