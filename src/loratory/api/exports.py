"""A model in a form that other programs open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Export:
    """What was written."""

    folders: tuple[Path, ...]
    notes: tuple[str, ...]  # what to know about it
    certificates: Mapping[Path, Mapping[str, Any]] = field(default_factory=dict)  # certificate.json of each folder

    @property
    def folder(self) -> Path:
        """The first folder; most layouts write one."""
        return self.folders[0]


def export(
    source: str | Path,
    output: str | Path | None = None,
    *,
    to: str | Sequence[str] = "peft",
    contender: str | None = None,
    options: Mapping[str, Any] | None = None,
    margin: float | None = None,
    test_texts: bool = True,
) -> Export:
    """Write a model in forms that other programs open, each certified to answer as the fit does.

    Args:
        source: a run's folder, a fit, or an imported folder.
        output: the folder to write; of several formats it holds one folder each. Left out: RUN/exports/<format>. A
            folder that is there is replaced only where the same export made it.
        to: the names of exporters, as a list or "onnx,int8"; `loratory export RUN` lists them.
        contender: which contender of a run; the recommended one when left out.
        options: options of the formats, by name: {"task_name": "pii"}.
        margin: how much of the headline score a quantised form may lose; the spec's evidence: margin when left out.
        test_texts: whether goldens.jsonl may hold texts of the run's test split; without them the certificate rests on
            the texts that we wrote.

    Raises:
        SpecError: an unknown format or option.
        ArtifactError: the folder holds no model, or the output belongs to somebody else.
        UnsupportedTask: the format does not suit the model.
        ParityError: a form does not answer as the fit; it leaves nothing under its name.
    """
    from loratory.experiment.export_fit import ExportRequest, export_fit

    request = ExportRequest(
        Path(source).expanduser(),
        contender,
        split_format_names(to),
        None if output is None else Path(output).expanduser(),
        options or {},
        margin,
        test_texts,
    )
    done = export_fit(request)
    certificates = {folder: one.values for folder, one in done.certificates.items()}
    return Export(tuple(done.folders), tuple(done.notes), certificates)


def split_format_names(to: str | Sequence[str]) -> tuple[str, ...]:
    """Each name once, in their order; raises SpecError for none."""
    from loratory.errors import SpecError

    given = to.split(",") if isinstance(to, str) else to
    names = tuple(dict.fromkeys(name.strip() for name in given if name.strip()))
    if not names:
        raise SpecError("no format is named", where="--to", remedy="loratory export RUN lists the formats")
    return names
