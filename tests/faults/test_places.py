"""No artifact says where it was made, or by whom."""

from __future__ import annotations

import getpass
import os
import socket
from pathlib import Path

from .run_fixtures import run_command


def test_no_file_of_an_artifact_names_a_place(finished_run: Path, base: Path, tmp_path: Path) -> None:
    """Fits and exports: whatever of them leaves the machine."""
    for contender in ("lora", "lora-stock"):
        done = run_command(
            finished_run, "export", "runs/tiny", "--contender", contender, "--output", tmp_path / contender
        )
        assert done.code == 0, done.err
    folders = [*finished_run.glob("runs/tiny/contenders/*/seed-*"), *tmp_path.iterdir()]
    assert len(folders) > 10
    secrets = [str(finished_run), str(base), str(base.parent), str(tmp_path), str(Path.home()) + os.sep]
    secrets += [
        name for name in (getpass.getuser(), socket.gethostname()) if len(name) > 5
    ]  # shorter ones are anywhere
    found = {
        (str(file.relative_to(folder)), secret)
        for folder in folders
        for file in folder.rglob("*")
        if file.is_file()
        for secret in secrets
        if secret.encode() in file.read_bytes()
    }
    assert found == set()
