"""`--set training.seeds=3`: changes to a spec's plain values from the command line."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml

from loratory.errors import SpecError


def overridden(values: dict[str, Any], changes: Iterable[str]) -> dict[str, Any]:
    """A copy of the values with each KEY.PATH=VALUE applied; VALUE is YAML."""
    made = yaml.safe_load(yaml.safe_dump(values))
    for change in changes:
        key, equals, text = change.partition("=")
        if not equals or not key:
            raise SpecError(f"{change!r} is no change", where="--set", allowed="KEY=VALUE, such as training.seeds=3")
        inner = made
        *path, last = key.split(".")
        for part in path:
            inner = inner.setdefault(part, {})
            if not isinstance(inner, dict):
                raise SpecError(f"{part!r} holds no keys", where=f"--set {key}")
        inner[last] = yaml.safe_load(text)
    return dict(made)
