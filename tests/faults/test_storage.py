"""A full disk, a folder that cannot be written, and artifacts that were changed or damaged."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from loratory.artifacts.manifests import read_manifest, verify_artifact
from loratory.errors import ArtifactError, StorageError

from .conftest import Workspace
from .run_fixtures import make_spec, read_weights, run_command

LADDER = "  - tfidf\n  - lora\n"


def mount_small_disk(folder: Path, size: str) -> bool:
    """A small disk of its own, where that is permitted."""
    folder.mkdir()
    if os.geteuid() or shutil.which("mount") is None:
        return False
    return not subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=False).returncode


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    folder = tmp_path / "disk"

    def make(size: str) -> Path:
        if not mount_small_disk(folder, size):
            pytest.skip("no file system can be mounted here")
        return folder

    yield make
    if os.path.ismount(folder):
        subprocess.run(["umount", folder], check=True)


def only_whole_artifacts(run: Path) -> list[Path]:
    """Every folder with a manifest is valid, and no temporary one is left; the artifacts."""
    found = [file.parent for file in run.rglob("manifest.json") if "checkpoints" not in str(file)]
    for folder in found:
        verify_artifact(folder)
    assert [path for path in run.rglob("*.part")] == []
    return found


@pytest.mark.parametrize("size", ["8k", "72k", "136k"])
def test_a_full_disk_is_said_and_a_rerun_with_room_completes(
    size: str, disk: Callable[[str], Path], workspace: Workspace
) -> None:
    folder, small = workspace(make_spec(LADDER)), disk(size)
    done = run_command(folder, "train", "spec.yaml", "-o", small / "out")
    assert done.code == 2, done.err
    assert "cannot write: the disk is full" in done.read_stderr()
    assert "free some space or choose another --output" in done.read_stderr()
    before = {path: path.stat().st_mtime_ns for path in only_whole_artifacts(small / "out")}
    subprocess.run(["mount", "-o", "remount,size=50m", small], check=True)
    done = run_command(folder, "train", "spec.yaml", "-o", small / "out")
    assert done.code == 0, done.err
    after = only_whole_artifacts(small / "out")
    assert len(after) == 4
    assert {path for path in after if before.get(path) == path.stat().st_mtime_ns} == set(before)


def test_tensors_that_do_not_fit_are_a_full_disk_too(disk: Callable[[str], Path]) -> None:
    """The library that writes them raises an error of its own, which is no OSError."""
    import torch
    from safetensors.torch import save_file

    from loratory.artifacts.manifests import stage_artifact

    small = disk("64k")
    with pytest.raises(StorageError, match="the disk is full"), stage_artifact(small / "a", {}) as part:
        save_file({"a": torch.zeros(100_000)}, part / "a.safetensors")
    assert list(small.iterdir()) == []


@pytest.mark.parametrize("number", range(1, 38, 9))
def test_an_error_at_any_fsync_leaves_only_whole_artifacts(
    number: int, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where nothing can be mounted: the disk is full at the n-th fsync, of a few dozen in a run."""
    folder = workspace(make_spec("  - tfidf\n  - prototype\n"))
    real, left = os.fsync, [number]

    def full(handle: int) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        done = run_command(folder, "train", "spec.yaml")
    if left[0] > 0:
        pytest.skip("the run has no such fsync")
    assert done.code == 2
    assert "the disk is full" in done.read_stderr()
    only_whole_artifacts(folder)
    done = run_command(folder, "train", "spec.yaml")
    assert done.code == 0, done.err
    assert len(only_whole_artifacts(folder)) == 4


def test_a_full_disk_while_evidence_is_written_keeps_the_fits(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = workspace(make_spec("  - tfidf\n"))
    real = os.replace

    def full(source: Any, target: Any) -> None:
        if Path(target).name in ("test_predictions.parquet", "ladder.json"):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", full)
        done = run_command(folder, "run", "spec.yaml")
    assert done.code == 2
    assert "the disk is full" in done.read_stderr()
    before = read_weights(folder / "runs")
    only_whole_artifacts(folder)
    done = run_command(folder, "run", "spec.yaml")
    assert done.code == 0, done.err
    assert "already fitted, reused" in done.err
    assert read_weights(folder / "runs") == before


def test_a_folder_that_cannot_be_written(disk: Callable[[str], Path], workspace: Workspace) -> None:
    folder, out = workspace(make_spec("  - tfidf\n")), disk("1m")
    subprocess.run(["mount", "-o", "remount,ro", out], check=True)
    for verb in ("run", "train"):
        done = run_command(folder, verb, "spec.yaml", "-o", out / "out")
        assert done.code == 2
        assert "cannot write: the disk is read-only" in done.read_stderr()
    done = run_command(folder, "init", "data.csv", "-o", out / "new.yaml")
    assert done.code == 2
    assert "the disk is read-only" in done.read_stderr()
    assert list(out.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(workspace: Workspace, tmp_path: Path) -> None:
    folder, out = workspace(make_spec("  - tfidf\n")), tmp_path / "closed"
    out.mkdir(mode=0o555)
    done = run_command(folder, "run", "spec.yaml", "-o", out / "out")
    assert done.code == 2
    assert "no permission to write" in done.read_stderr()


def test_an_output_that_is_a_file(workspace: Workspace) -> None:
    folder = workspace(make_spec("  - tfidf\n"))
    for output in ("data.csv", "data.csv/inner"):
        done = run_command(folder, "run", "spec.yaml", "-o", output)
        assert done.code == 2
        assert "data.csv: this is a file, not a folder" in done.read_stderr()


# ---- damage
def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))


@pytest.mark.parametrize("name", ["head.safetensors", "adapter/adapter_model.safetensors", "task.json", "labels.json"])
def test_a_flipped_bit_is_refused_by_predict_and_mended_by_run(
    name: str, run_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loratory.experiment.results.render_report", lambda *_: "<html></html>")
    fit = run_copy / "runs/tiny/contenders/lora/seed-1"
    before = read_weights(fit)
    flip(fit / name)
    done = run_command(run_copy, "predict", "runs/tiny", "-c", "lora", "a text")
    assert done.code == 2
    assert f"{name}: the file's SHA-256 differs from the manifest: it was changed or damaged" in done.read_stderr()
    assert done.out == ""
    done = run_command(run_copy, "run", "spec.yaml")
    assert done.code == 0, done.err
    assert "contenders/lora/seed-1 is damaged and is fitted again: the file's SHA-256 differs" in done.err
    assert name in done.err
    assert done.err.count("already fitted, reused") == 8
    assert read_weights(fit) == before
    assert run_command(run_copy, "predict", "runs/tiny", "-c", "lora", "a text").code == 0


@pytest.mark.parametrize("harm", ["truncate", "remove", "manifest", "no-manifest"])
def test_other_damage_is_refused_too(harm: str, run_copy: Path) -> None:
    fit = run_copy / "runs/tiny/contenders/head/seed-1"
    head, manifest = fit / "head.safetensors", fit / "manifest.json"
    harms: dict[str, Callable[[], object]] = {
        "truncate": lambda: head.write_bytes(head.read_bytes()[:-1]),
        "remove": head.unlink,
        "manifest": lambda: manifest.write_text("{"),
        "no-manifest": manifest.unlink,
    }
    harms[harm]()
    for where in (fit, "runs/tiny"):
        done = run_command(run_copy, "predict", where, "-c", "head", "a text")
        assert done.code == 2
        assert "head/seed-1" in done.read_stderr()
    with pytest.raises(ArtifactError):
        verify_artifact(fit)


def test_what_the_manifest_does_not_list_does_not_exist(run_copy: Path) -> None:
    fit = run_copy / "runs/tiny/contenders/head/seed-1"
    (fit / "adapter").mkdir()
    (fit / "adapter" / "adapter_config.json").write_text("{}")
    assert run_command(run_copy, "predict", fit, "a text").code == 0
    assert "adapter/adapter_config.json" not in (read_manifest(fit) or {})["files"]


def test_a_half_written_fit_is_no_fit(run_copy: Path) -> None:
    fit = run_copy / "runs/tiny/contenders/head/seed-1"
    fit.rename(fit.with_name(".seed-1.part"))
    done = run_command(run_copy, "predict", "runs/tiny", "-c", "head", "a text")
    assert done.code == 2
    assert "manifest" in done.read_stderr()
    assert run_command(run_copy, "train", "spec.yaml", "-c", "head").code == 0
    assert list(fit.parent.glob(".*")) == []


def test_a_broken_ladder_is_no_run(run_copy: Path) -> None:
    for text in ("{", "[]", "{}", '{"verdict": 3, "contenders": 4}'):
        (run_copy / "runs/tiny/ladder.json").write_text(text)
        for words in (("predict", "runs/tiny", "a text"), ("evaluate", "runs/tiny"), ("report", "runs/tiny")):
            done = run_command(run_copy, *words)
            assert done.code == 2
            told = (
                "neither a run (ladder.json) nor an artifact" if words[0] == "report" else "differs from the manifest"
            )
            assert told in done.read_stderr()


def test_a_base_that_was_exchanged_since_is_refused(run_copy: Path) -> None:
    """A head is of no use on other weights: the digest that was recorded must be found."""
    target = (run_copy / "base").resolve()
    (run_copy / "base").unlink()
    shutil.copytree(target, run_copy / "base")
    spec = (run_copy / "spec.yaml").read_text().replace("base: base", f"base: {run_copy / 'base'}")
    (run_copy / "spec.yaml").write_text(spec)
    assert run_command(run_copy, "train", "spec.yaml", "-c", "head", "--set", "head.epochs=2").code == 0
    fit = run_copy / "runs/tiny/contenders/head/seed-1"
    assert run_command(run_copy, "predict", fit, "a text").code == 0
    flip(run_copy / "base" / "model.safetensors")
    done = run_command(run_copy, "predict", fit, "a text")
    assert done.code == 2
    assert "is not the one this artifact was made with" in done.read_stderr()
