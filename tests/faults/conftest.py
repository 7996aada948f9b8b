from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from loratory.data.splitting import ledger

from . import run_fixtures

Workspace = Callable[..., Path]


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny base."""
    folder = tmp_path_factory.mktemp("base") / "tiny-bert"
    run_fixtures.write_base(folder)
    return folder


@pytest.fixture
def workspace(base: Path, tmp_path: Path) -> Workspace:
    """Makes workspaces: workspace(spec, name)."""
    return lambda spec=run_fixtures.FULL_SPEC, name="w": run_fixtures.make_workspace(tmp_path / name, base, spec)


@pytest.fixture(scope="session")
def process_pool() -> Iterator[run_fixtures.ProcessPool]:
    """Runs commands that may be killed."""
    with run_fixtures.process_pool() as made:
        yield made


@pytest.fixture(scope="session")
def finished_run(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a finished run of the whole ladder, only to be looked at."""
    folder = run_fixtures.make_workspace(tmp_path_factory.mktemp("finished") / "w", base, run_fixtures.make_spec())
    done = run_fixtures.run_command(
        folder, "run", "spec.yaml", environment={ledger.LEDGER_VARIABLE: str(folder / ledger.LEDGER_FILE)}
    )
    assert done.code == 0, done.err
    return folder


@pytest.fixture
def run_copy(finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same with its ledger, to be changed. Its paths differ, its base does not."""
    monkeypatch.setenv(ledger.LEDGER_VARIABLE, str(tmp_path / "copy" / ledger.LEDGER_FILE))
    return shutil.copytree(finished_run, tmp_path / "copy", symlinks=True, copy_function=shutil.copy2)


@pytest.fixture
def without_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports without their charts, which take a second to draw."""
    monkeypatch.setattr("loratory.experiment.results.render_report", lambda *_: "<html></html>")
