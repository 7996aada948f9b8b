"""Where the progress of a call is shown: in a notebook, on a terminal, or nowhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from loratory.protocols.events import Event, EventListener


def ignore_event(event: Event) -> None:
    """A listener that shows nothing."""


@contextmanager
def show_progress(show: bool | None) -> Iterator[EventListener]:
    """A listener for the events of a run.

    show: True always shows them, False never; None shows them in a notebook and on a terminal.
    """
    if show is False:
        yield ignore_event
    elif is_notebook():
        from loratory.display.notebook_progress import NotebookProgress

        with NotebookProgress() as notebook:
            yield notebook
    elif show or (sys.stderr is not None and sys.stderr.isatty()):
        from loratory.display.progress_screen import ProgressScreen

        with ProgressScreen() as screen:
            yield screen
    else:
        yield ignore_event


def is_notebook() -> bool:
    """Whether this process is the kernel of a notebook: it has IPython loaded, with a front end that shows HTML."""
    module = sys.modules.get("IPython")
    shell = module.get_ipython() if module is not None else None
    return shell is not None and getattr(shell, "kernel", None) is not None
