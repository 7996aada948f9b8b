"""The registry: releases, the aliases that name them, and every change that was ever made.

An alias moves only through `promote`, which computes what the gate asks for from the release's own rows, and through
`rollback`, which goes back along the champions in the order in which they were.
"""

from __future__ import annotations

import getpass
import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from loratory.artifacts.durable_files import make_folder, make_temporary_path, translate_write_errors
from loratory.artifacts.manifests import digest_of, verify_artifact
from loratory.errors import ArtifactError, LoratoryError, SpecError, suggest_nearest
from loratory.protocols import JSON
from loratory.registry.database import RegistryDatabase
from loratory.registry.gates import GateOutcome
from loratory.registry.history import VerifiedHistory, append_entry, read_history, verify_history, write_head
from loratory.registry.object_store import ObjectStore
from loratory.registry.releases import (
    ALIASES,
    HistoryEntry,
    Release,
    ReleaseContents,
    check_release_name,
    parse_reference,
)

DATABASE_FILE, HEAD_FILE, OBJECTS, CHECKOUTS = "registry.sqlite", "registry.head", "objects", "checkouts"
FOLDER_VARIABLE = "LORATORY_REGISTRY"
Judge = Callable[[Release, Release | None], GateOutcome]  # a release and the champion -> what the gate says


class PromotionRefused(LoratoryError):
    """The evidence of a release does not hold what a promotion asks for. Nothing was changed."""

    exit_code = 3


def find_registry_folder(folder: Path | None = None) -> Path:
    """The folder that is given, else $LORATORY_REGISTRY, else loratory/registry in the user's data folder."""
    if folder is not None:
        return folder.expanduser()
    if given := os.environ.get(FOLDER_VARIABLE):
        return Path(given).expanduser()
    home = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(home) / "loratory" / "registry"


class Registry:
    """A folder with a database, a store of objects, and copies of releases that are in use."""

    def __init__(self, folder: Path, create: bool = False) -> None:
        """Raises ArtifactError where there is no registry and none is to be made, and StorageError."""
        self.folder = folder
        self.objects = ObjectStore(folder / OBJECTS)
        self._database = RegistryDatabase(folder / DATABASE_FILE)
        if not create and not self._database.file.is_file():
            raise ArtifactError(
                "there is no registry here", where=str(folder), remedy="loratory register RUN makes one"
            )
        self._database.create()

    def register(self, name: str, contents: ReleaseContents, by: str | None = None) -> Release:
        """A new version of this name; the one that there is where the same contents were registered before.

        The objects have to be in the store. Raises ArtifactError where one is missing, and StorageError.
        """
        check_release_name(name)
        for digest in sorted(contents.list_objects()):
            self.objects.check(digest)
        digest, text = digest_of(contents.to_json()), json.dumps(contents.to_json(), ensure_ascii=False)
        with self._database.change() as connection:
            known = connection.execute(
                "SELECT version, retired_at FROM releases WHERE name = ? AND digest = ?", (name, digest)
            ).fetchone()
            if known and known["retired_at"] is None:
                return self._read_release(connection, name, known["version"])
            entry = (
                self._restore(connection, name, known["version"], digest, by)
                if known
                else self._insert_release(connection, name, digest, text, by)
            )
            assert entry.version is not None
            release = self._read_release(connection, name, entry.version)
        write_head(self._head_file, entry)
        return release

    def _insert_release(
        self, connection: sqlite3.Connection, name: str, digest: str, text: str, by: str | None
    ) -> HistoryEntry:
        row = connection.execute("SELECT max(version) AS most FROM releases WHERE name = ?", (name,)).fetchone()
        version = (row["most"] or 0) + 1
        entry = append_entry(connection, _name_user(by), "register", name, version, {"digest": digest})
        connection.execute(
            "INSERT INTO releases (name, version, digest, contents, created_at, created_by) VALUES (?, ?, ?, ?, ?, ?)",
            (name, version, digest, text, entry.at, entry.by),
        )
        return entry

    def _restore(
        self, connection: sqlite3.Connection, name: str, version: int, digest: str, by: str | None
    ) -> HistoryEntry:
        """A retired release whose run is registered again is in use again, under its old version."""
        facts: dict[str, JSON] = {"digest": digest, "restored": True}
        entry = append_entry(connection, _name_user(by), "register", name, version, facts)
        connection.execute("UPDATE releases SET retired_at = NULL WHERE name = ? AND version = ?", (name, version))
        return entry

    @property
    def _head_file(self) -> Path:
        return self.folder / HEAD_FILE

    def list_releases(self, name: str | None = None) -> list[Release]:
        """Every release, or those of one name; the newest of each name first."""
        with self._database.read() as connection:
            where, values = ("WHERE name = ? ", (name,)) if name else ("", ())
            rows = connection.execute(f"SELECT name, version FROM releases {where}ORDER BY name, version DESC", values)
            return [self._read_release(connection, row["name"], row["version"]) for row in rows.fetchall()]

    def find(self, reference: str) -> Release:
        """The release of "tickets@3", "tickets@champion", or of the only alias-less "tickets": its champion.

        Raises ArtifactError where there is none.
        """
        with self._database.read() as connection:
            return self._find(connection, reference)

    def _find(self, connection: sqlite3.Connection, reference: str) -> Release:
        name, ref = parse_reference(reference) or (reference, "champion")
        versions = {
            row["version"] for row in connection.execute("SELECT version FROM releases WHERE name = ?", (name,))
        }
        if not versions:
            names = [row["name"] for row in connection.execute("SELECT DISTINCT name FROM releases")]
            raise ArtifactError(
                f"the registry has no release {name!r}{suggest_nearest(name, names)}",
                where=str(self.folder),
                allowed=", ".join(names) or "nothing is registered",
                remedy="loratory register RUN",
            )
        aliases = self._read_aliases(connection, name)
        version = int(ref) if ref.isdigit() else aliases.get(ref, 0)
        if version not in versions:
            known = [*(str(one) for one in sorted(versions)), *aliases]
            raise ArtifactError(
                f"{name} has no {'version' if ref.isdigit() else 'alias'} {ref}",
                where=str(self.folder),
                allowed=", ".join(known),
            )
        return self._read_release(connection, name, version)

    def _read_aliases(self, connection: sqlite3.Connection, name: str) -> dict[str, int]:
        rows = connection.execute("SELECT alias, version FROM aliases WHERE name = ? ORDER BY alias", (name,))
        return {row["alias"]: row["version"] for row in rows}

    def _read_release(self, connection: sqlite3.Connection, name: str, version: int) -> Release:
        row = connection.execute("SELECT * FROM releases WHERE name = ? AND version = ?", (name, version)).fetchone()
        value = json.loads(row["contents"])
        if digest_of(value) != row["digest"]:
            raise ArtifactError(
                f"the record of {name}@{version} was changed",
                where=str(self._database.file),
                remedy="restore the registry's folder from a copy, or register the run again",
            )
        names = tuple(alias for alias, found in self._read_aliases(connection, name).items() if found == version)
        contents = ReleaseContents.from_json(value)
        return Release(
            name, version, row["digest"], contents, row["created_at"], row["created_by"], row["retired_at"], names
        )

    def promote(self, reference: str, alias: str, judge: Judge, by: str | None = None, reason: str = "") -> GateOutcome:
        """Let an alias name a release whose evidence holds what is asked.

        A champion has to have been in staging first. Raises PromotionRefused where the evidence does not hold,
        SpecError for an unknown alias, and ArtifactError.
        """
        if alias not in ALIASES:
            raise SpecError(f"there is no alias {alias!r}{suggest_nearest(alias, ALIASES)}", allowed=", ".join(ALIASES))
        release = self.find(reference)
        champion = self.find_champion(release.name)
        outcome = judge(release, champion)
        if not outcome.holds:
            failed = "\n  ".join(line.says for line in outcome.lines if not line.holds)
            raise PromotionRefused(
                f"{release.reference} is not promoted to {alias}:\n  {failed}",
                remedy=f"loratory gate {release.reference} shows every demand; train a better release, or change the "
                "gate in the spec and run it again",
            )
        with self._database.change() as connection:
            self._check_unchanged(connection, release, champion)
            before = self._read_aliases(connection, release.name)
            if alias == "champion" and release.version not in (before.get("staging"), before.get("canary")):
                raise PromotionRefused(
                    f"{release.reference} is not in staging",
                    remedy=f"loratory promote {release.reference} --to staging",
                )
            self._set_alias(connection, release.name, alias, release.version)
            if alias == "champion" and before.get("champion") != release.version:
                self._push_champion(connection, release)
            facts: dict[str, JSON] = {"alias": alias, "from": before.get(alias), "gate": outcome.evidence}
            entry = append_entry(
                connection, _name_user(by), "promote", release.name, release.version, {**facts, "reason": reason}
            )
        write_head(self._head_file, entry)
        return outcome

    def find_champion(self, name: str) -> Release | None:
        """The champion of this name; None where there is none yet."""
        with self._database.read() as connection:
            version = self._read_aliases(connection, name).get("champion")
            return None if version is None else self._read_release(connection, name, version)

    def _check_unchanged(self, connection: sqlite3.Connection, release: Release, champion: Release | None) -> None:
        """What was judged has to be what is there now: the gate was computed outside of the transaction."""
        now = self._read_aliases(connection, release.name).get("champion")
        if now != (champion.version if champion else None):
            raise PromotionRefused(
                f"the champion of {release.name} changed meanwhile", remedy="promote again: it is then compared with it"
            )
        if self._read_release(connection, release.name, release.version).retired_at:
            raise PromotionRefused(f"{release.reference} is retired", remedy="register the run again")

    def _set_alias(self, connection: sqlite3.Connection, name: str, alias: str, version: int) -> None:
        connection.execute(
            "INSERT INTO aliases (name, alias, version) VALUES (?, ?, ?) "
            "ON CONFLICT (name, alias) DO UPDATE SET version = excluded.version",
            (name, alias, version),
        )

    def _push_champion(self, connection: sqlite3.Connection, release: Release) -> None:
        row = connection.execute(
            "SELECT max(position) AS most FROM champions WHERE name = ?", (release.name,)
        ).fetchone()
        connection.execute(
            "INSERT INTO champions (name, position, version) VALUES (?, ?, ?)",
            (release.name, (row["most"] or 0) + 1, release.version),
        )

    def rollback(self, name: str, by: str | None = None, reason: str = "") -> Release:
        """Make the release that was champion before the champion again; twice in a row goes two back.

        Raises ArtifactError where there was none before.
        """
        with self._database.change() as connection:
            self._find(connection, name)
            rows = connection.execute(
                "SELECT position, version FROM champions WHERE name = ? ORDER BY position DESC LIMIT 2", (name,)
            ).fetchall()
            if len(rows) < 2:
                raise ArtifactError(
                    f"{name} had no champion before this one",
                    where=str(self.folder),
                    remedy=f"loratory promote {name}@VERSION --to champion",
                )
            last, before = rows
            connection.execute("DELETE FROM champions WHERE name = ? AND position = ?", (name, last["position"]))
            self._set_alias(connection, name, "champion", before["version"])
            facts: dict[str, JSON] = {"alias": "champion", "from": last["version"], "reason": reason}
            entry = append_entry(connection, _name_user(by), "rollback", name, before["version"], facts)
            release = self._read_release(connection, name, before["version"])
        write_head(self._head_file, entry)
        return release

    def retire(self, reference: str, by: str | None = None, reason: str = "") -> Release:
        """Take a release out of use. Its evidence stays; `collect` removes its weights.

        Raises PromotionRefused where an alias names it, or a rollback could come back to it.
        """
        with self._database.change() as connection:
            release = self._find(connection, reference)
            held = connection.execute(
                "SELECT 1 FROM champions WHERE name = ? AND version = ? LIMIT 1", (release.name, release.version)
            ).fetchone()
            if "champion" in release.aliases or held:
                raise PromotionRefused(
                    f"{release.reference} is the champion, or a rollback comes back to it",
                    remedy="promote another release; releases that were champion stay for rollbacks",
                )
            connection.execute("DELETE FROM aliases WHERE name = ? AND version = ?", (release.name, release.version))
            entry = append_entry(
                connection, _name_user(by), "retire", release.name, release.version, {"reason": reason}
            )
            connection.execute(
                "UPDATE releases SET retired_at = ? WHERE name = ? AND version = ? AND retired_at IS NULL",
                (entry.at, release.name, release.version),
            )
            release = self._read_release(connection, release.name, release.version)
        write_head(self._head_file, entry)
        return release

    def collect(self, by: str | None = None) -> tuple[int, int]:
        """Remove objects that no release in use and no evidence needs; returns how many, and their bytes."""
        with self._database.change() as connection:  # nothing is registered meanwhile
            kept: set[str] = set()
            for row in connection.execute("SELECT contents, retired_at FROM releases").fetchall():
                contents = ReleaseContents.from_json(json.loads(row["contents"]))
                rows = {digest for parts in contents.evidence.values() for digest in parts.values()}
                kept |= rows if row["retired_at"] else contents.list_objects()
            count, size = self.objects.remove_all_but(kept)
            entry = append_entry(connection, _name_user(by), "collect", "", None, {"objects": count, "bytes": size})
        write_head(self._head_file, entry)
        return count, size

    def checkout(self, release: Release) -> Path:
        """The release's files as a folder that is an artifact. Raises ArtifactError where one is missing or changed."""
        folder = self.folder / CHECKOUTS / release.digest[:32]
        if folder.is_dir():
            with suppress(ArtifactError):
                verify_artifact(folder)
                return folder
            shutil.rmtree(folder)
        if release.retired_at:
            raise ArtifactError(f"{release.reference} is retired", remedy="register the run again, or take another")
        with translate_write_errors(folder):
            make_folder(folder.parent)
            part = make_temporary_path(folder)
            part.mkdir()
            try:
                for name, digest in release.contents.files.items():
                    self.objects.check(digest)
                    target = part / name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(self.objects.locate(digest), target)
                verify_artifact(part)
                with suppress(OSError):  # another process was quicker
                    os.rename(part, folder)
            finally:
                shutil.rmtree(part, ignore_errors=True)
        verify_artifact(folder)
        return folder

    def history(self, name: str | None = None) -> list[HistoryEntry]:
        """Every change, or those of one name, the first first."""
        with self._database.read() as connection:
            return read_history(connection, name)

    def verify(self) -> VerifiedHistory:
        """Check the chain of the history, the tables against it, and every object that a release in use needs.

        Raises ArtifactError where something was changed.
        """
        with self._database.read() as connection:
            found = verify_history(connection, self._head_file)
            _check_tables(connection, read_history(connection), self.folder)
        for release in self.list_releases():
            rows = {digest for parts in release.contents.evidence.values() for digest in parts.values()}
            for digest in sorted(rows if release.retired_at else release.contents.list_objects()):
                self.objects.check(digest)
        return found


def _check_tables(connection: sqlite3.Connection, entries: list[HistoryEntry], folder: Path) -> None:
    """Raise ArtifactError where aliases, champions or digests are not those that the history leads to."""
    aliases: dict[tuple[str, str], int] = {}
    champions: dict[str, list[int]] = {}
    releases: dict[tuple[str, int], str] = {}
    for one in entries:
        version = one.version or 0
        if one.action == "register":
            releases[one.name, version] = str(one.facts["digest"])
        elif one.action == "promote":
            aliases[one.name, str(one.facts["alias"])] = version
            if one.facts["alias"] == "champion" and one.facts["from"] != version:
                champions.setdefault(one.name, []).append(version)
        elif one.action == "rollback":
            champions[one.name].pop()
            aliases[one.name, "champion"] = version
        elif one.action == "retire":
            aliases = {key: value for key, value in aliases.items() if (key[0], value) != (one.name, version)}
    found: Mapping[str, Any] = {
        "aliases": {(r["name"], r["alias"]): r["version"] for r in connection.execute("SELECT * FROM aliases")},
        "releases": {(r["name"], r["version"]): r["digest"] for r in connection.execute("SELECT * FROM releases")},
        "champions": [
            (r["name"], r["version"])
            for r in connection.execute("SELECT name, version FROM champions ORDER BY name, position")
        ],
    }
    expected: Mapping[str, Any] = {
        "aliases": aliases,
        "releases": releases,
        "champions": [(name, version) for name in sorted(champions) for version in champions[name]],
    }
    for table in expected:
        if found[table] != expected[table]:
            raise ArtifactError(
                f"the table of {table} is not what the history leads to: it was changed by hand",
                where=str(folder / DATABASE_FILE),
                remedy="restore the registry's folder from a copy",
            )


def _name_user(by: str | None) -> str:
    if by:
        return by
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
