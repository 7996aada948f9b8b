"""`loratory keys`: who may ask a server."""

from __future__ import annotations

from pathlib import Path

from loratory.artifacts.locks import held
from loratory.errors import SpecError, nearest
from loratory.serving.audit import Audit
from loratory.serving.keys import SCOPES, Keys
from loratory.specs.frame import NAME, NAMED
from loratory.specs.serve import ServerSpec

ACTIONS = ("add", "revoke", "list")


def add(action: str, file: Path, name: str | None, admin: bool) -> str:
    """A new secret, whose hash is now in the file. Raises SpecError and DataError."""
    if action != "add":
        raise SpecError(f"{action!r} is no action{nearest(action, ACTIONS)}", allowed=", ".join(ACTIONS))
    name = _named(name)
    with held(file):  # of commands that run at the same time, each adds to what the others wrote
        keys = Keys.read(file) if file.exists() else Keys({})
        secret = keys.add(name, frozenset(SCOPES if admin else SCOPES[:1]))
        keys.write(file)
    _note("key added", name, file)
    return secret


def revoke(file: Path, name: str | None) -> None:
    """Raises SpecError and DataError."""
    with held(file):
        keys = Keys.read(file)
        keys.drop(_named(name))
        keys.write(file)
    _note("key revoked", name, file)


def listed(file: Path) -> list[str]:
    """A line for each key. Raises DataError."""
    return [f"{key.name}  {' '.join(sorted(key.scopes))}" for key in Keys.read(file).by_digest.values()]


def _named(name: str | None) -> str:
    if name is None or not NAME.fullmatch(name):
        raise SpecError("a key needs a name" if name is None else f"{name!r} is no name", allowed=NAMED)
    return name


def _note(event: str, name: str | None, file: Path) -> None:
    Audit(ServerSpec().audit).note(event, {"key": name, "file": str(file)})
