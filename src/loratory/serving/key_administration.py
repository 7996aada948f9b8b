"""`loratory keys`: who may ask a server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from loratory.artifacts.locks import hold_lock
from loratory.errors import SpecError, suggest_nearest
from loratory.serving.audit_log import AuditLog
from loratory.serving.http.auth.api_keys import SCOPES, ApiKeys
from loratory.specs.serve import ServerSpec
from loratory.specs.spec import NAME_PATTERN, NAME_RULE

KEY_ACTIONS = ("add", "revoke", "list")


def add_key(action: str, file: Path, name: str | None, admin: bool) -> str:
    """A new secret, whose hash is now in the file. Raises SpecError and DataError."""
    if action != "add":
        raise SpecError(
            f"{action!r} is not an action{suggest_nearest(action, KEY_ACTIONS)}", allowed=", ".join(KEY_ACTIONS)
        )
    name = _check_name(name)
    with hold_lock(file):  # of commands that run at the same time, each adds to what the others wrote
        keys = ApiKeys.read(file) if file.exists() else ApiKeys({})
        secret = keys.add(name, frozenset(SCOPES if admin else SCOPES[:1]))
        keys.write(file)
    _audit_key_change("key added", name, file)
    return secret


def revoke_key(file: Path, name: str | None) -> None:
    """Raises SpecError and DataError."""
    with hold_lock(file):
        keys = ApiKeys.read(file)
        keys.drop(_check_name(name))
        keys.write(file)
    _audit_key_change("key revoked", name, file)


def list_keys(file: Path) -> list[dict[str, Any]]:
    """Name and scopes of each key. Raises DataError."""
    return [{"name": key.name, "scopes": sorted(key.scopes)} for key in ApiKeys.read(file).by_digest.values()]


def _check_name(name: str | None) -> str:
    if name is None or not NAME_PATTERN.fullmatch(name):
        raise SpecError("a key needs a name" if name is None else f"{name!r} is no name", allowed=NAME_RULE)
    return name


def _audit_key_change(event: str, name: str | None, file: Path) -> None:
    AuditLog(ServerSpec().audit).record(event, {"key": name, "file": str(file)})
