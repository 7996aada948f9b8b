"""What kind of start a contender has, known before anything is fitted."""

from __future__ import annotations

from collections.abc import Callable

from loratory.protocols import NOTHING, StartKind, make_contender_kind
from loratory.specs.spec import Contender, Spec


def contender_start_kind(spec: Spec, contender: Contender, base_kind: Callable[[str], str]) -> StartKind:
    """The kind of what a contender starts from; `base_kind` gives that of a base by name."""
    if contender.start is None:
        return base_kind(contender.base) if contender.base else NOTHING
    start = next(one for one in spec.ladder if one.name == contender.start)
    return make_contender_kind(start.options.predictor_kind(spec.task, contender_start_kind(spec, start, base_kind)))
