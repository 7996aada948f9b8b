"""`loratory gc`."""

from __future__ import annotations

from loratory.cli.options import JsonOption, QuietOption
from loratory.cli.registry_options import ByOption, RegistryOption

NAME = "gc"
EXAMPLES = ("loratory gc",)


def command(
    registry: RegistryOption = None, by: ByOption = None, as_json: JsonOption = False, quiet: QuietOption = False
) -> None:
    """Remove files of the registry that no release in use needs.

    The evidence of retired releases is kept.
    """
    from loratory.api.registry import open_registry
    from loratory.cli.output import Output

    out = Output(as_json, quiet)
    count, size = open_registry(registry).collect(by)
    out.print(f"removed: {count} files, {size / 1e6:.1f} MB")
    out.json({"objects": count, "bytes": size})
