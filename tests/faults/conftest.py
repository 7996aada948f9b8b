from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from loratory.data.splitting import ledger

from . import world

Workspace = Callable[..., Path]


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny base."""
    folder = tmp_path_factory.mktemp("base") / "tiny-bert"
    world.write_base(folder)
    return folder


@pytest.fixture
def workspace(base: Path, tmp_path: Path) -> Workspace:
    """Makes workspaces: workspace(spec, name)."""
    return lambda spec=world.FULL_SPEC, name="w": world.make_workspace(tmp_path / name, base, spec)


@pytest.fixture(scope="session")
def nursery() -> Iterator[world.ProcessPool]:
    """Runs commands that may be killed."""
    with world.process_pool() as made:
        yield made


@pytest.fixture(scope="session")
def finished(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a finished run of the whole ladder, only to be looked at."""
    folder = world.make_workspace(tmp_path_factory.mktemp("finished") / "w", base, world.make_spec())
    done = world.run_command(
        folder, "run", "spec.yaml", environment={ledger.LEDGER_VARIABLE: str(folder / ledger.LEDGER_FILE)}
    )
    assert done.code == 0, done.err
    return folder


@pytest.fixture
def copied(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same with its ledger, to be changed. Its paths differ, its base does not."""
    monkeypatch.setenv(ledger.LEDGER_VARIABLE, str(tmp_path / "copy" / ledger.LEDGER_FILE))
    return shutil.copytree(finished, tmp_path / "copy", symlinks=True, copy_function=shutil.copy2)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports without their charts, which take a second to draw."""
    monkeypatch.setattr("loratory.experiment.run.render_report", lambda *_: "<html></html>")
