"""What a release is: a fit with its evidence, bound by digests, under a name and a version."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from loratory.errors import SpecError
from loratory.protocols import JSON

Alias = Literal["staging", "canary", "champion", "challenger"]
ALIASES: tuple[Alias, ...] = get_args(Alias)
NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
REFERENCE_PATTERN = re.compile(rf"(?P<name>{NAME_PATTERN.pattern})@(?P<ref>[A-Za-z0-9]+)")


@dataclass(frozen=True)
class ReleaseContents:
    """What is registered. Everything is named by digest, so that the digest of all of it names the release.

    `files` are those of the fit, with its manifest: name -> SHA-256. `evidence` are the rows of each fitted contender
    of the run, without the texts: contender -> {"validation", "test"} -> SHA-256.
    """

    files: Mapping[str, str]
    evidence: Mapping[str, Mapping[str, str]]
    facts: Mapping[str, JSON]  # contender, regime, base, seed, spec, task, data digests, licence, metrics, stress rows

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        evidence = {name: dict(rows) for name, rows in self.evidence.items()}
        return {"files": dict(self.files), "evidence": evidence, "facts": dict(self.facts)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ReleaseContents:
        """What `to_json` gave."""
        return cls(value["files"], value["evidence"], value["facts"])

    def list_objects(self) -> set[str]:
        """The digests of everything that it needs."""
        return {*self.files.values(), *(digest for rows in self.evidence.values() for digest in rows.values())}


@dataclass(frozen=True)
class Release:
    """A registered release. `version` counts from 1 for each name and is never used again."""

    name: str
    version: int
    digest: str  # SHA-256 of its contents
    contents: ReleaseContents
    created_at: str  # UTC, ISO 8601
    created_by: str
    retired_at: str | None
    aliases: tuple[str, ...]

    @property
    def reference(self) -> str:
        """How commands name it: tickets@3."""
        return f"{self.name}@{self.version}"

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "name": self.name,
            "version": self.version,
            "digest": self.digest,
            "aliases": list(self.aliases),
            "created_at": self.created_at,
            "created_by": self.created_by,
            "retired_at": self.retired_at,
            **self.contents.to_json(),
        }


@dataclass(frozen=True)
class HistoryEntry:
    """One change of the registry. `digest` covers the entry and the digest of the one before."""

    number: int
    at: str
    by: str
    action: str  # register, promote, rollback, retire, collect
    name: str
    version: int | None
    facts: Mapping[str, JSON]  # alias, from, to, reason, digest of the evidence's check
    previous: str
    digest: str


def check_release_name(name: str) -> str:
    """The name. Raises SpecError where it is none."""
    if not NAME_PATTERN.fullmatch(name):
        raise SpecError(
            f"{name[:80]!r} is no name of a release",
            allowed="up to 100 letters, digits, dots, hyphens and underscores; the first is a letter or a digit",
        )
    return name


def parse_reference(text: str) -> tuple[str, str] | None:
    """The name, and the alias or version, of "tickets@champion" or "tickets@3"; None where it is no such thing."""
    found = REFERENCE_PATTERN.fullmatch(text)
    return (found["name"], found["ref"]) if found else None
