"""What clients are told of names that may be paths."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


@cache
def public_base_name(name: str) -> str:
    """A base as clients may know it: `org/name` of a hub as it is, and of a path on this machine the last part."""
    if HUB_ID.fullmatch(name) and not Path(name).is_dir():
        return name
    return next((part for part in reversed(re.split(r"[/\\]", name)) if part not in ("", ".", "..", "~")), "base")
