"""`run` offline: group requests by trunk and execute them here. A server adds waiting for company."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from loratory.errors import Late
from loratory.protocols import Encode

if TYPE_CHECKING:
    from torch import Tensor


def run_here(requests: Sequence[Encode], by: float | None = None) -> list[Tensor]:
    """Execute requests of any trunks, adapters and heads; raises Late when `by` (monotonic seconds) is past."""
    groups: dict[str, list[int]] = {}
    for i, request in enumerate(requests):
        groups.setdefault(request.network.trunk.digest, []).append(i)
    out: dict[int, Tensor] = {}
    for places in groups.values():
        trunk = requests[places[0]].network.trunk
        out.update(zip(places, trunk.encode([requests[i] for i in places], lambda _: in_time(by)), strict=True))
        if not in_time(by):
            raise Late
    return [out[i] for i in range(len(requests))]


def in_time(by: float | None) -> bool:
    """Whether the deadline has not passed."""
    return by is None or time.monotonic() < by
