"""API keys: random, stored as SHA-256, each with a name and scopes. A key is told once, when it is made."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from loratory.artifacts.durable_files import write_text
from loratory.errors import DataError

SCOPES = ("infer", "admin")
KEY_PREFIX = "lk_"
KEY_BYTES = 24  # of randomness: nothing to guess, so a plain hash is enough


@dataclass(frozen=True)
class ApiKey:
    """Who may do what."""

    name: str
    scopes: frozenset[str]
    digest: str


def hash_secret(secret: str) -> str:
    """What is stored of a key."""
    return hashlib.sha256(secret.encode()).hexdigest()


class ApiKeys:
    """The keys of a file. A set that never had any means that everybody may do everything; one that has lost its last
    lets nobody in.
    """

    def __init__(self, keys: Mapping[str, ApiKey]) -> None:
        self.by_digest = dict(keys)
        self._required = bool(keys)

    def __bool__(self) -> bool:
        """Whether a key is needed."""
        return self._required or bool(self.by_digest)

    def replace_with(self, other: ApiKeys) -> tuple[list[str], list[str]]:
        """Have the other's keys from now on; the names of those that came, and of those that went.

        A key of the same name with another secret came and went.
        """
        before, now = self.by_digest, dict(other.by_digest)
        self._required = bool(self)
        self.by_digest = now
        came = sorted(key.name for key in now.values() if before.get(key.digest) != key)
        return came, sorted(key.name for key in before.values() if now.get(key.digest) != key)

    def find(self, secret: str) -> ApiKey | None:
        """The key of a secret: a look-up of its hash, so that no comparison depends on how much of it was right."""
        return self.by_digest.get(hash_secret(secret))

    @classmethod
    def read(cls, file: Path) -> ApiKeys:
        """Raises DataError where the file is not one that `loratory keys` wrote."""
        try:
            rows = json.loads(file.read_text(encoding="utf-8"))["keys"]
            keys = [ApiKey(str(row["name"]), frozenset(row["scopes"]), str(row["sha256"])) for row in rows]
            if any(not key.scopes <= set(SCOPES) or len(key.digest) != 64 for key in keys):
                raise ValueError
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as problem:
            raise DataError(
                "this is no file of keys", where=str(file), remedy=f"loratory keys add NAME --file {file}"
            ) from problem
        return cls({key.digest: key for key in keys})

    def write(self, file: Path) -> None:
        """Whole, and for the owner's eyes alone."""
        rows = [
            {"name": key.name, "scopes": sorted(key.scopes), "sha256": key.digest} for key in self.by_digest.values()
        ]
        before = os.umask(0o077)
        try:
            write_text(file, json.dumps({"keys": rows}, indent=2) + "\n")
        finally:
            os.umask(before)

    def add(self, name: str, scopes: frozenset[str]) -> str:
        """A new secret; raises DataError where the name is taken."""
        if any(key.name == name for key in self.by_digest.values()):
            raise DataError(f"there is a key called {name!r}", remedy="revoke it first, or choose another name")
        secret = KEY_PREFIX + secrets.token_urlsafe(KEY_BYTES)
        self.by_digest = {**self.by_digest, hash_secret(secret): ApiKey(name, scopes, hash_secret(secret))}
        self._required = True
        return secret

    def drop(self, name: str) -> None:
        """Raises DataError where there is no such key."""
        left = {digest: key for digest, key in self.by_digest.items() if key.name != name}
        if len(left) == len(self.by_digest):
            names = ", ".join(key.name for key in self.by_digest.values())
            raise DataError(f"there is no key called {name!r}", allowed=names or "none yet")
        self.by_digest = left
