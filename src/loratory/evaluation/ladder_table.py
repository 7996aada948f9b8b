"""The ladder's table for a terminal: as many columns as there is room for, the least important left out first."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from loratory.evaluation.table_cells import build_cells, format_confidence, select_columns

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.table import Table

DROPPABLE_COLUMNS = (
    "trained",
    "macro_f1",
    "surprise",
    "leak_rate",
    "f2",
    "gate",
    "train",
    "p50",
    "against",
)  # in this order
UNLIMITED_WIDTH = 10_000  # characters: a width at which no table is squeezed


@dataclass(frozen=True)
class LadderTable:
    """A renderable: rich tells it the width when it is printed."""

    ladder: Mapping[str, Any]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.measure import Measurement

        made = self.build_table()
        for count in range(1, len(DROPPABLE_COLUMNS) + 1):
            if Measurement.get(console, options.update(max_width=UNLIMITED_WIDTH), made).maximum <= options.max_width:
                break
            made = self.build_table(DROPPABLE_COLUMNS[:count])
        yield made

    def build_table(self, dropped_columns: Collection[str] = ()) -> Table:
        """The table without these columns; a star marks the recommended contender, with colour or without."""
        from rich.box import SIMPLE_HEAD
        from rich.table import Table
        from rich.text import Text

        shown = [head for head in select_columns(self.ladder) if head.key not in dropped_columns]
        left_out = [head.title for head in select_columns(self.ladder) if head.key in dropped_columns]
        made = Table(
            title=Text(self._make_title()),
            title_justify="left",
            caption=Text(f"columns left out (the terminal is narrow): {', '.join(left_out)}") if left_out else None,
            caption_justify="left",
            box=SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
            pad_edge=False,
        )
        rows = [(contender["name"], build_cells(self.ladder, contender)) for contender in self.ladder["contenders"]]
        longest = max((len(row["name"]) for _, row in rows), default=0)
        for head in shown:
            least = longest if head.key == "name" else None
            made.add_column(head.title, justify="right" if head.number else "left", no_wrap=True, min_width=least)
        for name, row in rows:
            style = "bold" if name == self.ladder["verdict"]["recommended"] else ""
            made.add_row(*(Text(row[head.key]) for head in shown), style=style)  # Text: a name may look like markup
        return made

    def _make_title(self) -> str:
        verdict = self.ladder["verdict"]
        nothing = verdict["case"] == "nothing-learnt"
        star = "; * best on validation" if nothing else "; * recommended" if verdict["recommended"] else ""
        return (
            f"{self.ladder['name']}: mean over seeds "
            f"[{format_confidence(self.ladder['evidence']['confidence'])} interval]{star}"
        )
