"""Where bases lie on this machine. What is saved names a base by its digest, and a folder by its last part alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from loratory.artifacts.durable_files import write_text
from loratory.backbones.loading.bases import EMBEDDED_BASES, Base, resolve_base
from loratory.errors import BaseModelError, LoratoryError
from loratory.protocols import Backbone
from loratory.specs.yaml_files import load_yaml

ENVIRONMENT_VARIABLE = "LORATORY_BASES"
SPEC_FILE, MAX_PARENTS = "spec.lock.yaml", 4  # a run's spec, and how far above a fit of it


def make_name_portable(name: str) -> str:
    """A base's name as it may leave this machine: ids and embedded bases as they are, of a folder `./` and its name."""
    if name in EMBEDDED_BASES or not (name.startswith((".", "/", "~")) or Path(name).expanduser().is_dir()):
        return name
    return f"./{Path(os.path.abspath(Path(name).expanduser())).name}"


def record_base_location(backbone: Backbone) -> str:
    """What an artifact calls the base of a backbone; where a folder is meant, this machine remembers where it lies."""
    made = make_name_portable(backbone.name)
    folder = Path(backbone.name).expanduser()
    if made != backbone.name and folder.is_dir():
        with suppress(LoratoryError, OSError, RuntimeError):  # no home, or one that cannot be written to
            write_text(_location_file(backbone.digest.partition("+")[0]), f"{os.path.abspath(folder)}\n")
    return made


def find_base(name: str, digest: str, folder: Path) -> Base:
    """The base that an artifact names, by its digest: as it is called, where the spec of the run around it says, where
    it was when something was last saved with it. Raises BaseModelError.
    """
    problem, there = None, False
    for place in dict.fromkeys((name, *_find_bases_of_run(folder), *_read_recorded_location(digest))):
        try:
            return resolve_base(place, digest)
        except BaseModelError as found:
            is_folder = Path(place).expanduser().is_dir()
            if problem is None or is_folder:
                problem, there = found, there or is_folder
    if problem is not None and (there or not name.startswith("./")):
        raise problem
    raise BaseModelError(
        f"the base that lay in a folder called {name[2:]!r} is not known on this machine",
        where=str(folder),
        allowed=f"digest {digest}",
        remedy=f"start where {name} is that folder; or fit or export anything with that base here once",
    )


def _find_bases_of_run(folder: Path) -> Iterator[str]:
    """Folders that the spec of the run around an artifact names as bases."""
    for above in [folder.absolute(), *folder.absolute().parents][:MAX_PARENTS]:
        if (above / SPEC_FILE).is_file():
            with suppress(LoratoryError, OSError, TypeError, AttributeError):
                values, _ = load_yaml(above / SPEC_FILE)
                rows = [
                    options for row in values.get("ladder") or () if isinstance(row, dict) for options in row.values()
                ]
                named = [values.get("base"), *(options.get("base") for options in rows if isinstance(options, dict))]
                yield from (one for one in named if isinstance(one, str) and Path(one).expanduser().is_dir())
            return


def _read_recorded_location(digest: str) -> Iterator[str]:
    with suppress(OSError, RuntimeError, ValueError):
        yield _location_file(digest).read_text(encoding="utf-8").strip()


def _location_file(digest: str) -> Path:
    """The file that says where the base of a digest lies: in $LORATORY_BASES, $XDG_STATE_HOME or ~/.local/state."""
    if not digest.isalnum():
        raise ValueError(digest)
    if given := os.environ.get(ENVIRONMENT_VARIABLE):
        return Path(given).expanduser() / digest
    home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return home / "loratory" / "bases" / digest
