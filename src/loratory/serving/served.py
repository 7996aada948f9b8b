"""What is known of a request beside what it asks and gets."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any


@dataclass(eq=False)
class Served:
    """One request: deadlines count from when it had arrived (monotonic), and the log is told the facts."""

    arrived: float = field(default_factory=time.monotonic)
    size: int = 0  # bytes of its body
    facts: dict[str, Any] = field(default_factory=dict)  # task, contender, why another answered
