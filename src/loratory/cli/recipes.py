"""`loratory recipes`."""

from __future__ import annotations

from loratory.cli.options import JsonOption

NAME = "recipes"


def command(as_json: JsonOption = False) -> None:
    """List the recipes: a spec with sample data, or with the place where its data is."""
    from loratory.cli.output import make_console, print_json
    from loratory.experiment.recipes import list_recipes

    rows = list_recipes()
    if as_json:
        print_json(rows)
        return
    screen = make_console()
    for row in rows:
        screen.print(f"{row['name']:<14} {row['about']}", markup=False)
    screen.print(
        "\nloratory run NAME runs one; loratory init --recipe NAME copies its spec here to change it.", markup=False
    )
