"""Folders are whole or not there: crashes, full disks, damage, and paths that lead outside."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from loratory.artifacts import manifests
from loratory.artifacts.durable_files import (
    append_line,
    make_temporary_path,
    remove_leftovers,
    to_json,
    translate_write_errors,
    write_json,
    write_text,
)
from loratory.artifacts.manifests import (
    digest_of,
    extend_artifact,
    hash_file,
    open_artifact,
    read_manifest,
    stage_artifact,
    verify_artifact,
    write_manifest,
)
from loratory.errors import ArtifactError, StorageError


class Crash(BaseException):
    """A kill, as far as Python can play it."""


def made(folder: Path, text: str = "old") -> Path:
    """A small artifact."""
    with stage_artifact(folder, {"kind": "fit"}) as part:
        (part / "inner").mkdir()
        (part / "a.txt").write_text(text, encoding="utf-8")
        (part / "inner" / "b.txt").write_text("b", encoding="utf-8")
    return folder


def tree(folder: Path) -> dict[str, bytes]:
    return {f.relative_to(folder).as_posix(): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def test_a_folder_is_listed_and_verified(tmp_path: Path) -> None:
    manifest = verify_artifact(made(tmp_path / "fit"))
    assert manifest["kind"] == "fit"
    assert set(manifest["files"]) == {"a.txt", "inner/b.txt"}
    assert manifest["files"]["a.txt"] == hash_file(tmp_path / "fit" / "a.txt")
    assert [f.name for f in tmp_path.iterdir()] == ["fit"]


@pytest.mark.parametrize("problem", [ValueError, Crash, KeyboardInterrupt])
def test_an_exception_inside_leaves_the_old_folder(tmp_path: Path, problem: type[BaseException]) -> None:
    before = tree(made(tmp_path / "fit"))

    def interrupted(writing: Any, name: str) -> None:
        with writing as part:
            (part / name).write_text("half", encoding="utf-8")
            raise problem

    with pytest.raises(problem):
        interrupted(stage_artifact(tmp_path / "fit", {}), "a.txt")
    assert tree(tmp_path / "fit") == before
    with pytest.raises(problem):
        interrupted(extend_artifact(tmp_path / "fit"), "more.txt")
    assert tree(tmp_path / "fit") == before
    assert [f.name for f in tmp_path.iterdir()] == ["fit"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO, errno.EDQUOT])
@pytest.mark.parametrize(
    ("where", "how"),
    [
        ("exchange", "stage"),
        *((where, how) for where in ("fsync", "replace") for how in ("stage", "extend", "replace an entry", "write")),
    ],
)
def test_a_disk_that_refuses_at_any_moment_leaves_the_old_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, where: str, how: str
) -> None:
    """Every call of fsync and of rename fails once; what a reader sees is the old state, or the new one.

    Renames are those of systems that cannot let two folders change places.
    """
    if where == "replace":
        monkeypatch.setattr(manifests, "exchange", lambda *_: False)
    for number in range(99):
        folder = made(tmp_path / f"fit-{number}")
        raised = refused_at(number, lambda f=folder: attempt(how, f), where, code, monkeypatch)  # type: ignore[misc]
        if raised is None:
            break
        assert raised.problem.startswith("cannot write: ")
        assert "what was finished is kept" in raised.remedy
        check_state(how, folder)
        assert attempt(how, folder) is None  # trying again mends it
        check_state(how, folder, new=True)
    assert number >= 1  # at least one such call was refused


def refused_at(
    number: int, work: Callable[[], StorageError | None], where: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> StorageError | None:
    """The error of `work` when the n-th call of os.<where> fails; None when there is no n-th call."""
    home: Any = manifests if where == "exchange" else os
    calls, real = 0, getattr(home, where)

    def refuse(*args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number + 1:
            raise OSError(code, "refused")
        return real(*args, **options)

    with monkeypatch.context() as patched:
        patched.setattr(home, where, refuse)
        raised = work()
    assert (raised is not None) == (calls > number)
    return raised


def attempt(how: str, folder: Path) -> StorageError | None:
    try:
        if how == "stage":
            made(folder, "new")
        elif how == "extend":
            with extend_artifact(folder) as part:
                (part / "c").mkdir()
                (part / "c" / "c.txt").write_text("new", encoding="utf-8")
        elif how == "replace an entry":
            with extend_artifact(folder) as part:
                (part / "a.txt").write_text("new", encoding="utf-8")
                (part / "inner").mkdir()
                (part / "inner" / "b.txt").write_text("new", encoding="utf-8")
        else:
            write_text(folder / "free.txt", "new")
    except StorageError as problem:
        return problem
    return None


def check_state(how: str, folder: Path, new: bool = False) -> None:
    listed = verify_artifact(folder)["files"]  # valid at every moment
    if how == "stage":
        assert (folder / "a.txt").read_text(encoding="utf-8") in (("new",) if new else ("old", "new"))
    elif how == "extend":
        assert set(listed) - {"c/c.txt"} == {"a.txt", "inner/b.txt"}
        assert ("c/c.txt" in listed) or not new
    elif how == "replace an entry":
        for name in listed:
            assert (folder / name).read_text(encoding="utf-8") in (("new",) if new else ("old", "b", "new"))
        assert set(listed) == {"a.txt", "inner/b.txt"} or not new
    else:
        assert not (folder / ".free.txt.part").exists()
        text = (folder / "free.txt").read_text(encoding="utf-8") if (folder / "free.txt").exists() else None
        assert text in (("new",) if new else (None, "new"))


def test_a_full_disk_under_safetensors_and_tokenizers_is_a_storage_error(tmp_path: Path) -> None:
    """They are written in Rust and tell the system's error in words."""
    import resource
    import signal

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(SafetensorError, match=r"\(os error 27\)"):
            save_file({"w": torch.zeros(9999)}, tmp_path / "w.safetensors")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    for problem in (SafetensorError("I/O error: No space left (os error 28)"), Exception("No space (os error 28)")):
        with pytest.raises(StorageError, match="the disk is full"), translate_write_errors(tmp_path):
            raise problem
    with pytest.raises(SafetensorError), translate_write_errors(tmp_path):
        raise SafetensorError("header too large")
    with pytest.raises(FileNotFoundError), translate_write_errors(tmp_path):
        raise FileNotFoundError(errno.ENOENT, "gone")


# ---- damage
def relink(file: Path) -> None:
    file.unlink()
    file.symlink_to(file.parent.parent / "out")


def refold(file: Path) -> None:
    file.unlink()
    file.mkdir()


def respoken(folder: Path, change: Callable[[str], str]) -> None:
    file = folder / "manifest.json"
    text = file.read_text(encoding="utf-8")
    assert change(text) != text
    file.write_text(change(text), encoding="utf-8")


SPOILS: dict[str, Callable[[Path], object]] = {
    "a bit flips": lambda f: (f / "a.txt").write_bytes(b"nld"),
    "a file is cut": lambda f: (f / "a.txt").write_bytes(b"ol"),
    "a file is gone": lambda f: (f / "a.txt").unlink(),
    "a file is a folder": lambda f: refold(f / "a.txt"),
    "a file is a link to outside": lambda f: relink(f / "a.txt"),
    "no manifest": lambda f: (f / "manifest.json").unlink(),
    "a torn manifest": lambda f: (f / "manifest.json").write_bytes((f / "manifest.json").read_bytes()[:-9]),
    "an empty manifest": lambda f: (f / "manifest.json").write_text("{}"),
    "a list for a manifest": lambda f: (f / "manifest.json").write_text("[]"),
    "a word of the manifest": lambda f: respoken(f, lambda text: text.replace('"fit"', '"git"')),
    "a key of the manifest": lambda f: respoken(f, lambda text: text.replace('"kind"', '"kine"')),
    "the manifest's own digest": lambda f: respoken(f, lambda text: text.replace('"sha256"', '"sha257"')),
    "the manifest's format": lambda f: respoken(f, lambda text: text.replace('"format": 3', '"format": 0')),
    "a space behind the manifest": lambda f: respoken(f, lambda text: f"{text} "),
}


@pytest.mark.parametrize("name", SPOILS)
def test_damage_is_noticed(tmp_path: Path, name: str) -> None:
    folder = made(tmp_path / "fit")
    (tmp_path / "out").write_text("old", encoding="utf-8")
    SPOILS[name](folder)
    with pytest.raises(ArtifactError) as caught:
        verify_artifact(folder)
    assert caught.value.remedy
    assert str(folder) in caught.value.where


@pytest.mark.parametrize("path", ["../out", "/etc/hostname", "inner/../../out", "inner/../../fit/../out"])
def test_a_manifest_that_leads_outside_is_refused(tmp_path: Path, path: str) -> None:
    folder = made(tmp_path / "fit")
    (tmp_path / "out").write_text("x", encoding="utf-8")
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    target = (folder / path).resolve()
    manifest["files"][path] = hash_file(target) if target.is_file() else "0"
    write_manifest(folder, manifest)
    with pytest.raises(ArtifactError, match="no name of a file inside"):
        verify_artifact(folder)


def test_files_that_are_not_listed_do_not_hurt(tmp_path: Path) -> None:
    folder = made(tmp_path / "fit")
    (folder / "note.txt").write_text("mine", encoding="utf-8")
    assert "note.txt" not in verify_artifact(folder)["files"]


def test_a_crash_between_the_files_and_the_manifest_leaves_the_old_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made(tmp_path / "fit")
    monkeypatch.setattr(manifests, "write_text", lambda *a: (_ for _ in ()).throw(Crash()))
    with pytest.raises(Crash), extend_artifact(folder) as part:
        (part / "c.txt").write_text("c", encoding="utf-8")
    assert set(verify_artifact(folder)["files"]) == {"a.txt", "inner/b.txt"}


@pytest.mark.parametrize("version", [1, 2, 4, None])
def test_a_folder_of_another_format_is_refused_in_one_line(tmp_path: Path, version: int | None) -> None:
    folder = made(tmp_path / "fit")
    write_json(folder / "manifest.json", {**verify_artifact(folder), "format": version})
    before = tree(folder)
    for read in (open_artifact, verify_artifact):
        with pytest.raises(ArtifactError, match="another version of loratory wrote this folder") as caught:
            read(folder)
        assert "\n" not in caught.value.problem
        assert (caught.value.where, caught.value.allowed) == (str(folder / "manifest.json"), "3")
    assert tree(folder) == before


def test_who_is_stopped_between_two_renames_leaves_the_older_folder_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where two folders cannot change places; the name of what is left says that its process has ended."""
    before = tree(made(tmp_path / "fit"))
    other = make_temporary_path(tmp_path / "fit", "old").name.replace(
        f"-{os.getpid()}-", "-4194305-"
    )  # above any process id
    (tmp_path / "fit").rename(tmp_path / other)
    remove_leftovers(tmp_path / "fit")
    assert tree(tmp_path / "fit") == before
    assert [f.name for f in tmp_path.iterdir()] == ["fit"]
    (tmp_path / "fit").rename(tmp_path / other)
    made(tmp_path / "fit", "new")
    remove_leftovers(tmp_path / "fit")
    assert tree(tmp_path / "fit") != before
    assert [f.name for f in tmp_path.iterdir()] == ["fit"]


# ---- small things
def test_json_is_stable_and_refuses_what_json_cannot_say(tmp_path: Path) -> None:
    assert to_json({"b": (1, 2), "a": {3, 1}}) == '{\n  "b": [\n    1,\n    2\n  ],\n  "a": [\n    1,\n    3\n  ]\n}\n'
    with pytest.raises(ValueError):
        to_json({"x": float("nan")})
    with pytest.raises(TypeError, match="object is no JSON"):
        to_json(object())
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1}) != digest_of({"a": 1, "b": 3})
    assert read_manifest(tmp_path) is None


def test_lines_are_appended_and_a_torn_one_is_closed(tmp_path: Path) -> None:
    file = tmp_path / "new" / "log.jsonl"
    append_line(file, "one")
    file.write_bytes(file.read_bytes() + b"to")
    append_line(file, "two")
    assert file.read_text(encoding="utf-8") == "one\nto\ntwo\n"


def test_a_file_is_durable_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of the calls is the promise: contents, then name, then folder."""
    calls: list[str] = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, partial(noted, calls, name, real))
    write_text(tmp_path / "x", "y")
    assert calls == ["fsync", "replace", "fsync"]


def noted(calls: list[str], name: str, real: Callable[..., Any], *args: Any) -> Any:
    calls.append(name)
    return real(*args)
