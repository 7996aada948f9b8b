"""The commands that a reader of the report runs next, with the run's own folder and contender."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class NextCommand:
    """What a reader may want to do, and the lines that do it, ready to be copied."""

    purpose: str
    lines: str


def list_next_commands(folder: Path, contender: str) -> Sequence[NextCommand]:
    """Commands for a shell, and Python; folder and contender are quoted for each."""
    where, name = shlex.quote(str(folder)), shlex.quote(contender)
    return (
        NextCommand("Answer one text", f'loratory predict {where} -c {name} "your text here"'),
        NextCommand("Answer every row of a file", f"loratory predict {where} -c {name} --file new.csv -o answers.csv"),
        NextCommand("Serve it: an HTTP interface, and a page to try it", f"loratory serve {where} -c {name}"),
        NextCommand("See in which formats other programs can open it", f"loratory export {where} -c {name}"),
        NextCommand(
            "Use it in Python",
            "import loratory\n\n"
            f"model = loratory.load({str(folder)!r}, contender={contender!r})\n"
            'print(model.predict("your text here"))',
        ),
    )
