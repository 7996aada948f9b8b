"""Bases: what there is, and which one the texts ask for."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from loratory.api.named_columns import NamedColumns
from loratory.api.spec_sources import SpecSource
from loratory.specs.spec import Spec

if TYPE_CHECKING:
    from loratory.experiment.base_suggestions import BaseSuggestion


def bases() -> list[dict[str, Any]]:
    """The catalogue of bases, and what of it is on this machine. No network is asked.

    Returns:
        Of each base: name, kind (encoder or causal), parameters, bytes, licence, languages, language_count, cased,
        window (tokens), origin, note, embedded, here, digest, revision,
        folder, problem. A fact that is not known is None.
    """
    from loratory.backbones.loading.base_catalogue import describe_catalogue_base, read_catalogue

    return [describe_catalogue_base(base) for base in read_catalogue()]


def get_base(name: str) -> dict[str, Any]:
    """Make a base ready on this machine: an embedded one is checked, a hub id is fetched and checked.

    Args:
        name: an embedded base, a hub id (owner/model, or owner/model@revision), or a folder.

    Returns:
        name, folder, digest (of weights, tokenizer and configuration), bytes (of the weights), revision.

    Raises:
        BaseModelError: the base is unknown, cannot be fetched, or is unsafe to load.
        MissingExtra: the package of an embedded base is not installed.
    """
    from loratory.backbones.loading.base_catalogue import fetch_base

    found = fetch_base(name)
    facts = {"folder": str(found.folder), "digest": found.digest, "bytes": found.bytes, "revision": found.revision}
    return {"name": name, **facts}


def suggest_base(
    source: object,
    *,
    data: object = None,
    text: str | None = None,
    label: str | None = None,
    group: str | None = None,
    **changes: Any,
) -> BaseSuggestion:
    """Measure what the train texts ask of a base: language, capital letters, length, kind of answer.

    Nothing is changed or fitted.

    Args: as those of `loratory.run`.

    Raises:
        SpecError, DataError: the spec or the examples are wrong.
        BaseModelError: the first base of the ladder, whose tokenizer is measured, cannot be read.
    """
    with TemporaryDirectory(prefix="loratory-") as folder:
        columns = NamedColumns(text, label, {"group": group})
        return suggest_base_for_spec(SpecSource(source, data, columns, changes).read(Path(folder)))


def suggest_base_for_spec(spec: Spec) -> BaseSuggestion:
    """As `suggest_base`, for a parsed spec."""
    from loratory.data.preparation import prepare_data
    from loratory.experiment.base_suggestions import suggest_spec_base

    return suggest_spec_base(spec, prepare_data(spec.task, spec.data, spec.folder).parts.train)
