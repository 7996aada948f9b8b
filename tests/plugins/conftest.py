"""The example package, installed as pip would: its folder and its entry points on the path."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from loratory import discovery

HOME = Path(__file__).parent


def write_dist_info(folder: Path) -> None:
    """The metadata that an installer makes of pyproject.toml."""
    project = tomllib.loads((HOME / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    info = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {project['name']}\nVersion: {project['version']}\n")
    lines: list[str] = []
    for group, points in project.get("entry-points", {}).items():
        lines += [f"[{group}]", *(f"{name} = {place}" for name, place in points.items()), ""]
    (info / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")


@pytest.fixture
def plugins(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Loratory as it is where the example package is installed too."""
    site = tmp_path_factory.mktemp("site")
    write_dist_info(site)
    monkeypatch.syspath_prepend(str(HOME))
    monkeypatch.syspath_prepend(str(site))
    discovery._find_entry_points.cache_clear()
    yield
    monkeypatch.undo()
    discovery._find_entry_points.cache_clear()
