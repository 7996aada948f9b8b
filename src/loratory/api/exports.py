"""A model in a form that other programs open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Export:
    """What was written."""

    folders: tuple[Path, ...]
    notes: tuple[str, ...]  # what to know about it

    @property
    def folder(self) -> Path:
        """The first folder; most layouts write one."""
        return self.folders[0]


def export(
    source: str | Path,
    output: str | Path,
    *,
    layout: str = "stock",
    contender: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> Export:
    """Write a model in a form that other programs open.

    Args:
        source: a run's folder, a fit, or an imported folder.
        output: the folder to write. One that is there is replaced only where the same export made it.
        layout: the name of an exporter; `loratory export RUN` lists them.
        contender: which contender of a run; the recommended one when left out.
        options: options of the layout, by name: {"task_name": "pii"}.

    Raises:
        SpecError: an unknown layout or option.
        ArtifactError: the folder holds no model, or the output belongs to somebody else.
        UnsupportedTask: the layout does not suit the model.
    """
    from loratory.experiment.export_fit import ExportRequest, export_fit

    request = ExportRequest(Path(source).expanduser(), contender, layout, Path(output).expanduser(), options or {})
    done = export_fit(request)
    return Export(tuple(done.folders), tuple(done.notes))
