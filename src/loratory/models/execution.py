"""`run` offline: group requests by trunk and execute them here. A server adds waiting for company."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from loratory.errors import Late
from loratory.protocols import Encode, Request, Score, Write

WORK = {Encode: "encode", Score: "score", Write: "write"}  # a request's kind -> the trunk's method


def run_here(requests: Sequence[Request], by: float | None = None) -> list[Any]:
    """Execute requests of any trunks, adapters and heads; raises Late when `by` (monotonic seconds) is past."""
    out: dict[int, Any] = {}
    for do, places in by_work(requests):
        out.update(zip(places, do([requests[i] for i in places], lambda _: in_time(by)), strict=True))
        if not in_time(by):
            raise Late
    return [out[i] for i in range(len(requests))]


def by_work(requests: Sequence[Request]) -> list[tuple[Callable[..., list[Any]], list[int]]]:
    """What does the work of each trunk and kind of request, and the places of those requests."""
    groups: dict[tuple[str, str], list[int]] = {}
    for place, request in enumerate(requests):
        groups.setdefault((request.network.trunk.digest, WORK[type(request)]), []).append(place)
    return [(getattr(requests[places[0]].network.trunk, work), places) for (_, work), places in groups.items()]


def in_time(by: float | None) -> bool:
    """Whether the deadline has not passed."""
    return by is None or time.monotonic() < by
