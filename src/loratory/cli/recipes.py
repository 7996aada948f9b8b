"""`loratory recipes`."""

from __future__ import annotations

from loratory.cli.options import JsonOption, QuietOption

NAME = "recipes"
EXAMPLES = ("loratory recipes", "loratory run risk-triage")


def command(as_json: JsonOption = False, quiet: QuietOption = False) -> None:
    """List the recipes: specs that you can run at once.

    A recipe is a spec with its data, or with the place where its data is.
    """
    from loratory.api.runs import recipes
    from loratory.cli.output import Output

    out = Output(as_json, quiet)
    found = recipes()
    out.print(*(f"{recipe.name:<14} {recipe.about}" for recipe in found))
    out.json([{"name": recipe.name, "about": recipe.about, "spec": str(recipe.spec)} for recipe in found])
    out.next("loratory run NAME              (run a recipe)", "loratory init --recipe NAME    (copy its spec)")
