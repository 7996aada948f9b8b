"""What is known of a request beside what it asks and gets."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any


@dataclass(eq=False)
class RequestContext:
    """One request: deadlines count from when it had arrived (monotonic), and the log is told the facts."""

    arrived_at: float = field(default_factory=time.monotonic)
    body_bytes: int = 0  # bytes of its body
    log_fields: dict[str, Any] = field(default_factory=dict)  # task, contender, why another answered
