"""`run` offline: group requests by backbone and execute them here. A server adds waiting for company."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from loratory.errors import DeadlineExceeded
from loratory.protocols import Backbone, EncodeRequest, GenerateRequest, InferenceRequest, ScoreRequest

# A request's kind -> what does it.
METHODS: Mapping[type[InferenceRequest], Callable[[Backbone], Callable[..., list[Any]]]] = {
    EncodeRequest: lambda backbone: backbone.encode,
    ScoreRequest: lambda backbone: backbone.score,
    GenerateRequest: lambda backbone: backbone.generate,
}


def run_locally(requests: Sequence[InferenceRequest], deadline: float | None = None) -> list[Any]:
    """Execute requests of any backbones, adapters and heads; raises DeadlineExceeded when `deadline`
    (monotonic seconds) is past.
    """
    out: dict[int, Any] = {}
    for do, places in group_by_backbone(requests):
        out.update(zip(places, do([requests[i] for i in places], lambda _: is_in_time(deadline)), strict=True))
        if not is_in_time(deadline):
            raise DeadlineExceeded
    return [out[i] for i in range(len(requests))]


def group_by_backbone(requests: Sequence[InferenceRequest]) -> list[tuple[Callable[..., list[Any]], list[int]]]:
    """What does the work of each backbone and kind of request, and the places of those requests."""
    groups: dict[tuple[str, type[InferenceRequest]], list[int]] = {}
    for place, request in enumerate(requests):
        groups.setdefault((request.network.backbone.digest, type(request)), []).append(place)
    return [(METHODS[kind](requests[places[0]].network.backbone), places) for (_, kind), places in groups.items()]


def is_in_time(by: float | None) -> bool:
    """Whether the deadline has not passed."""
    return by is None or time.monotonic() < by
