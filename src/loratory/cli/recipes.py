"""`loratory recipes`."""

from __future__ import annotations

from loratory.cli.options import JsonOption, QuietOption

NAME = "recipes"
EXAMPLES = ("loratory recipes", "loratory run risk-triage")


def command(as_json: JsonOption = False, quiet: QuietOption = False) -> None:
    """List the recipes: specs that you can run at once.

    A recipe is a spec with its data, or with the place where its data is.
    """
    from loratory.cli.output import Output
    from loratory.experiment.recipes import list_recipes

    out = Output(as_json, quiet)
    rows = list_recipes()
    out.print(*(f"{row['name']:<14} {row['about']}" for row in rows))
    out.json(rows)
    out.next("loratory run NAME              (run a recipe)", "loratory init --recipe NAME    (copy its spec)")
