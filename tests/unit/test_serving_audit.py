"""The chain of what was written down: it goes on after every crash, and misses whatever was changed or cut off."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from loratory.errors import DataError, StorageError
from loratory.serving.audit_log import AuditLog, VerifiedChain
from loratory.serving.hash_chain import CONTINUED, CUT_OFF, HEAD_BEHIND, TORN_TAIL, ChainHead, sha256

COUNT = 4


def write_audit_log(folder: Path, count: int = COUNT) -> AuditLog:
    audit = AuditLog(folder / "audit.jsonl")
    for number in range(count):
        audit.record("load", {"task": f"task-{number}", "release": "a"})
    return audit


def events(audit: AuditLog) -> list[str]:
    """Of the lines that are whole."""
    made = []
    for line in audit.file.read_bytes().split(b"\n"):
        try:
            made.append(json.loads(line)["event"])
        except (ValueError, RecursionError):
            continue
    return made


def set_head(audit: AuditLog, number: int) -> None:
    """The head as it was when there were so many lines."""
    lines = audit.file.read_bytes().splitlines(keepends=True)[:number]
    head = ChainHead(number, sha256(lines[-1].rstrip(b"\n")), len(b"".join(lines)))
    ChainHead.path_for(audit.file).write_text(json.dumps(asdict(head)))


def expect_broken_chain(audit: AuditLog, said: str) -> None:
    with pytest.raises(DataError, match=said):
        audit.verify_chain()


# -- crashes: the file may hold any part of what was being written, and the head is that of before
def test_a_crash_at_every_byte_of_a_line(tmp_path: Path) -> None:
    audit = write_audit_log(tmp_path)
    data, size = audit.file.read_bytes(), len(b"".join(audit.file.read_bytes().splitlines(keepends=True)[: COUNT - 1]))
    for cut in range(size, len(data) + 1):
        audit.file.write_bytes(data)
        set_head(audit, COUNT - 1)
        audit.file.write_bytes(data[:cut])
        whole = cut >= len(data) - 1
        found = audit.verify_chain()
        assert (found.lines, found.torn) == (COUNT - (not whole), int(size < cut and not whole)), cut
        audit.record("load", {"task": "next"})
        found = audit.verify_chain()
        told = [TORN_TAIL] if found.torn else [HEAD_BEHIND] if whole else []
        assert events(audit) == ["load"] * (COUNT - (not whole)) + told + ["load"], cut
        assert (found.torn, found.beyond) == (int(size < cut and not whole), 0), cut


def test_crash_after_crash(tmp_path: Path) -> None:
    """The line that tells of a torn one may be torn itself."""
    chance = random.Random(5)
    for round in range(20):
        audit = write_audit_log(tmp_path / str(round), 2)
        for _ in range(4):
            before, head = audit.file.read_bytes(), ChainHead.path_for(audit.file).read_bytes()
            audit.record("unload", {"task": "lost"})
            data = audit.file.read_bytes()
            audit.file.write_bytes(data[: chance.randint(len(before), len(data))])
            ChainHead.path_for(audit.file).write_bytes(head)
            assert audit.verify_chain().lines >= 2
        audit.record("load", {"task": "last"})
        found = audit.verify_chain()
        assert events(audit)[:2] == ["load", "load"]
        assert (events(audit)[-1], found.lines, found.beyond) == ("load", len(events(audit)), 0)


WRITER = """
import sys
from pathlib import Path
from loratory.serving.audit_log import AuditLog
audit = AuditLog(Path(sys.argv[1]))
number = int(sys.argv[2])
print("ready", flush=True)
while True:
    audit.record("load", {"task": str(number), "fill": "x" * 3000})
    print(number, flush=True)
    number += 1
"""


@pytest.mark.parametrize("rounds", [3, pytest.param(300, marks=pytest.mark.slow)])
def test_what_was_told_as_written_is_there_after_a_kill(tmp_path: Path, rounds: int) -> None:
    file, chance, told = tmp_path / "audit.jsonl", random.Random(3), 0
    for _ in range(rounds):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(file), str(told)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(chance.uniform(0.0, 0.1))
        process.send_signal(signal.SIGKILL)
        said = process.communicate()[0].split()
        told = int(said[-1]) + 1 if said else told
        AuditLog(file).verify_chain()
        rows = [
            json.loads(line) for line in file.read_bytes().split(b"\n") if line.startswith(b"{") and line[-1:] == b"}"
        ]
        assert {str(number) for number in range(told)} <= {row.get("task") for row in rows}
    AuditLog(file).record("load", {"task": "last"})
    assert AuditLog(file).verify_chain().beyond == 0


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    audit = write_audit_log(tmp_path)

    def half(self: AuditLog, data: bytes) -> int:
        with self.file.open("ab") as handle:
            handle.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(AuditLog, "_append", half)
        for _ in range(3):
            with pytest.raises(StorageError, match="the disk is full"):
                audit.record("load", {"task": "no room"})
            assert audit.verify_chain().lines == COUNT
    audit.record("load", {"task": "room again"})
    found = audit.verify_chain()
    assert (found.torn, found.beyond, events(audit)[-2:]) == (1, 0, [TORN_TAIL, "load"])
    assert "torn tail" in caplog.text


# -- what somebody changed
def edit(rows: list[bytes]) -> bytes:
    return b"".join(rows).replace(b"task-1", b"task-9")


WAYS: dict[str, Callable[[list[bytes]], bytes | None]] = {
    "edited": edit,
    "the last edited": lambda rows: b"".join(rows).replace(b"task-3", b"task-9"),
    "the first removed": lambda rows: b"".join(rows[1:]),
    "removed": lambda rows: b"".join([*rows[:1], *rows[2:]]),
    "the last removed": lambda rows: b"".join(rows[:-1]),
    "all but one removed": lambda rows: rows[0],
    "emptied": lambda rows: b"",
    "deleted": lambda rows: None,
    "put in": lambda rows: b"".join([*rows, rows[-1]]),
    "torn in the middle": lambda rows: b"".join([rows[0], rows[1][:30], b"\n", *rows[2:]]),
    "blank": lambda rows: b"".join([rows[0], b"\n", *rows[1:]]),
    "deep": lambda rows: b"".join([rows[0], b"[" * 100_000, b"\n", *rows[1:]]),
}


@pytest.mark.parametrize("how", WAYS)
def test_what_somebody_changed_is_found_now_and_after_more_lines(tmp_path: Path, how: str) -> None:
    audit = write_audit_log(tmp_path)
    changed = WAYS[how](audit.file.read_bytes().splitlines(keepends=True))
    audit.file.unlink()
    if changed is not None:
        audit.file.write_bytes(changed)
    for _ in range(2):
        with pytest.raises(DataError):
            audit.verify_chain()
        audit.record("load", {"task": "next"})
    expect_broken_chain(audit, "chain|continues")
    assert events(audit)[-1] == "load"


def test_cut_off_at_every_byte_is_no_crash(tmp_path: Path) -> None:
    audit = write_audit_log(tmp_path)
    data = audit.file.read_bytes()
    last = len(data) - len(data.splitlines(keepends=True)[-1])
    for cut in range(last - 30, len(data) - 1):
        audit.file.write_bytes(data[:cut])
        expect_broken_chain(audit, f"lines were cut off: the head knows {COUNT}")
    audit.file.write_bytes(data[:-1])  # only the end of a line is gone, and no line with it
    assert audit.verify_chain().lines == COUNT
    audit.file.write_bytes(data[: last - 30])
    audit.record("load", {"task": "next"})
    assert CUT_OFF in events(audit)
    expect_broken_chain(audit, "others were cut off")


def test_a_head_that_is_gone_or_none(tmp_path: Path) -> None:
    for text in (None, "", "[]", '{"number": "4", "sha256": "", "size": 0}', "[" * 100_000):
        audit = write_audit_log(tmp_path / str(len(text or "-")))
        head = ChainHead.path_for(audit.file)
        head.unlink()
        if text is not None:
            head.write_text(text)
        expect_broken_chain(audit, "no head" if text is None else "cannot be read")
        audit.record("load", {"task": "next"})
        expect_broken_chain(audit, "had lost its head")


def test_a_chain_of_an_older_version_gets_a_head(tmp_path: Path) -> None:
    audit, before = AuditLog(tmp_path / "audit.jsonl"), "0" * 64
    for number in range(6):
        line = json.dumps(
            {"at": "2026-01-01T00:00:00.000+00:00", "event": "load", "task": str(number), "before": before}
        )
        before = sha256(line.encode())
        with audit.file.open("a") as handle:
            handle.write(f"{line}\n")
    assert (audit.verify_chain().lines, audit.verify_chain().beyond) == (6, None)
    audit.record("load", {"task": "next"})
    assert (audit.verify_chain().lines, audit.verify_chain().beyond) == (7, 0)
    audit.file.write_bytes(audit.file.read_bytes()[:-5])
    expect_broken_chain(audit, "cut off")


# -- several files, several writers
def test_rotation(tmp_path: Path) -> None:
    audit = write_audit_log(tmp_path, 6)
    for number in (1, 2):
        shutil.move(audit.file, tmp_path / f"audit.jsonl.{number}")
        audit.record("load", {"task": "after"})
    found: VerifiedChain = audit.verify_chain()
    assert (found.lines, len(found.parts)) == (6 + 4, 3)
    assert events(audit) == [CONTINUED, "load"]
    older = AuditLog(tmp_path / "audit.jsonl.1")
    assert (older.verify_chain().lines, older.verify_chain().beyond) == (6, None)
    older.file.write_bytes(b"".join(older.file.read_bytes().splitlines(keepends=True)[:-1]))
    expect_broken_chain(older, "no head")
    expect_broken_chain(audit, "this file continues another with 6 lines")
    older.file.unlink()
    expect_broken_chain(audit, "this file continues another with 6 lines")


def test_a_file_that_is_moved_away_right_after_a_crash(tmp_path: Path) -> None:
    audit = write_audit_log(tmp_path)
    set_head(audit, COUNT - 1)
    shutil.move(audit.file, tmp_path / "audit-2026.jsonl")
    audit.record("load", {"task": "after"})
    assert audit.verify_chain().lines == COUNT + 2


def test_two_servers_write_one_chain(tmp_path: Path) -> None:
    """Processes of their own, and neither knows what the other has written."""
    writer = WRITER.replace("while True", "for _ in range(40)")
    words = [sys.executable, "-c", writer, str(tmp_path / "audit.jsonl")]
    both = [subprocess.Popen([*words, start], stdout=subprocess.DEVNULL) for start in ("0", "100")]
    assert [one.wait(60) for one in both] == [0, 0]
    found = AuditLog(tmp_path / "audit.jsonl").verify_chain()
    assert (found.lines, found.torn, found.beyond) == (80, 0, 0)


def test_a_name_that_is_no_text_is_written_all_the_same(tmp_path: Path) -> None:
    audit = write_audit_log(tmp_path, 1)
    audit.record("load refused", {"path": "\ud800"})
    assert audit.verify_chain().lines == 2
