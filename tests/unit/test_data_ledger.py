"""The ledger of test reads: what counts as the same rows, who counts once, and what a full or damaged place says."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from simulations import ledger as simulated

from loratory.data.splitting import ledger
from loratory.data.splitting.ledger import TestReader
from loratory.errors import StorageError

TEXTS = [f"the parcel number {n} is late again" for n in range(100)]
LOOK = TestReader("a", "/runs/a", "run: lora", frozenset({"f1", "f2"}))


def read(texts: list[str], look: TestReader = LOOK) -> None:
    ledger.record_read(look, ledger.compute_row_keys(texts))


@pytest.mark.parametrize(
    "other",
    [
        "  the parcel\u00a0number 1\tis late  again ",
        "THE Parcel number 1 is late again",
        "the parcel number 1 is late again.",
        "\u201cthe parcel number 1 is late again!\u201d",
        "the parcel number \uff11 is late again",
        "the par\u200bcel number 1 is late a\u00adgain",
        "\ufb01nal: \u00c5ngstr\u00f6m",
    ],
)
def test_the_same_text_written_otherwise_is_the_same_row(other: str) -> None:
    text = "FINAL: A\u030angstro\u0308m" if "ngstr" in other else TEXTS[1]
    assert ledger.compute_row_keys([other]) == ledger.compute_row_keys([text])


def test_other_texts_are_other_rows() -> None:
    texts = [
        *TEXTS,
        "3 + 4",
        "3 - 4",
        "!",
        "?",
        "-",
        "\U0001f600",
        "\U0001f622",
        "\u4f60\u597d",
        "caf\u00e9",
        "cafe",
        "",
        "a b",
        "ab",
    ]
    assert len(np.unique(ledger.compute_row_keys(texts))) == len(texts)


def test_signs_alone_stay_and_broken_unicode_has_a_key() -> None:
    assert ledger.normalise_row_text(" ?! ") == "?!"
    assert ledger.normalise_row_text("\u00bf\u2026") == "\u00bf..."
    assert len(ledger.compute_row_keys(["\ud800", "\u200b"])) == 2


def test_nothing_was_read_yet(fresh_ledger: Path) -> None:
    keys = ledger.compute_row_keys(TEXTS)
    assert ledger.find_reads(keys) == []
    assert ledger.summarise_overlap([]) is None
    assert ledger.count_reads(LOOK, keys) == (1, None)
    assert not fresh_ledger.exists(), "asking writes nothing"


def test_subsets_supersets_and_strangers() -> None:
    read(TEXTS)
    for texts, share in ((TEXTS[:50], 1.0), (TEXTS[::-1], 1.0), ([*TEXTS, *(f"new {n}" for n in range(300))], 0.25)):
        (found,) = ledger.find_reads(ledger.compute_row_keys(texts))
        assert found.share == share
    assert ledger.find_reads(ledger.compute_row_keys(["a stranger"])) == []
    assert ledger.find_reads(ledger.compute_row_keys([])) == []


def test_the_largest_overlap_is_told_with_its_run_and_what_any_had() -> None:
    read(TEXTS[:30], TestReader("first", "/1", "evaluate"))
    read(TEXTS[:60], TestReader("second", "/2", "evaluate"))
    read(TEXTS[50:60], TestReader("third", "/3", "evaluate"))
    read(TEXTS[60:70], TestReader("fourth", "/4", "evaluate"))
    found = ledger.summarise_overlap(ledger.find_reads(ledger.compute_row_keys(TEXTS)))
    assert found is not None
    assert {key: found[key] for key in ("reads", "largest", "seen", "run")} == {
        **{"reads": 4, "largest": 0.6, "seen": 0.7, "run": "second"}
    }
    assert found["time"].endswith("+00:00")


def test_a_look_that_goes_on_counts_once_and_whatever_is_new_counts() -> None:
    read(TEXTS)
    read(TEXTS, TestReader("a", "/runs/a", "run: lora", frozenset({"f2"})))  # f1 was answered when it was stopped
    keys = ledger.compute_row_keys(TEXTS)
    assert len(ledger.find_reads(keys)) == 1
    others = [
        (TestReader("a", "/runs/a", "run: head", frozenset({"f2", "f3"})), TEXTS),  # another fit beside
        (TestReader("a", "/runs/b", "run: lora", frozenset({"f1"})), TEXTS),  # another folder
        (LOOK, TEXTS[:99]),  # other rows
        (TestReader("a", "/runs/a", "evaluate"), TEXTS),  # by hand
        (TestReader("a", "/runs/a", "evaluate"), TEXTS),  # and once more
    ]
    for number, (look, texts) in enumerate(others, 2):
        read(texts, look)
        assert len(ledger.find_reads(keys)) == number


def test_a_runs_own_count_ends_with_its_own_last_read() -> None:
    keys = ledger.compute_row_keys(TEXTS)
    read(TEXTS, TestReader("b", "/runs/b", "x", frozenset({"g"})))
    read(TEXTS)
    read(TEXTS[:10], TestReader("later", "/runs/c", "evaluate"))
    count, overlap = ledger.count_reads(LOOK, keys)
    assert (count, overlap and overlap["run"], overlap and overlap["largest"]) == (2, "b", 1.0)
    assert ledger.count_reads(TestReader("a", "/moved", "", LOOK.fit_digests), keys)[0] == 2, "its folder was moved"
    assert ledger.count_reads(TestReader("new", "/new", "", frozenset({"h"})), keys)[0] == 4


def test_equal_sets_are_stored_once_and_no_text_at_all(fresh_ledger: Path) -> None:
    for number in range(20):
        read(TEXTS, TestReader("a", f"/runs/{number}", "x"))
    with sqlite3.connect(fresh_ledger) as known:
        assert known.execute("SELECT count(*), sum(length(rows)) FROM sets").fetchone() == (1, 800)
    assert b"parcel" not in fresh_ledger.read_bytes()


def write_some(number: int) -> None:
    for turn in range(5):
        read(TEXTS[number:], TestReader("a", f"/runs/{number}", str(turn)))


def test_processes_that_write_at_once_lose_nothing() -> None:
    fork = multiprocessing.get_context("fork")
    workers = [fork.Process(target=write_some, args=(number,)) for number in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 8
    found = ledger.find_reads(ledger.compute_row_keys(TEXTS[50:]))
    assert len(found) == 40
    assert {read.share for read in found} == {1.0}


def test_a_process_that_dies_while_it_writes_leaves_the_ledger_as_it_was(fresh_ledger: Path) -> None:
    read(TEXTS)
    dying = (
        "import os\n"
        "from loratory.data.splitting import ledger\n"
        "with ledger._open_ledger() as one:\n"
        "    one.execute('PRAGMA cache_size = 1')\n"
        "    one.execute('PRAGMA cache_spill = 1')\n"
        "    for n in range(2000):\n"
        "        one.execute('INSERT INTO sets (digest, rows) VALUES (?, ?)', (str(n), bytes(4000)))\n"
        "    os._exit(9)\n"
    )
    done = subprocess.run([sys.executable, "-c", dying], check=False, timeout=60, env={**os.environ})
    assert done.returncode == 9
    assert fresh_ledger.stat().st_size > 1_000_000, "it was in the middle of writing"
    assert len(ledger.find_reads(ledger.compute_row_keys(TEXTS))) == 1
    read(TEXTS, TestReader("b", "/b", "x"))
    assert len(ledger.find_reads(ledger.compute_row_keys(TEXTS))) == 2


def test_a_file_that_was_made_and_not_filled_is_an_empty_ledger(fresh_ledger: Path) -> None:
    fresh_ledger.touch()
    assert ledger.find_reads(ledger.compute_row_keys(TEXTS)) == []
    read(TEXTS)
    assert len(ledger.find_reads(ledger.compute_row_keys(TEXTS))) == 1


@pytest.mark.parametrize("kind", ["no folder", "no database", "a folder"])
def test_a_place_that_cannot_be_used_is_told_with_the_remedy(
    kind: str, fresh_ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "no folder":
        fresh_ledger.touch()
        fresh_ledger = fresh_ledger / "reads.sqlite"
        monkeypatch.setenv(ledger.LEDGER_VARIABLE, str(fresh_ledger))
    elif kind == "no database":
        fresh_ledger.write_bytes(b"nothing that SQLite knows\n" * 100)
    else:
        fresh_ledger.mkdir()
    for use in (ledger.check_ledger, lambda: read(TEXTS)):
        with pytest.raises(StorageError, match="the ledger of test reads cannot be used") as caught:
            use()
        assert caught.value.where == str(fresh_ledger)
        assert "export LORATORY_LEDGER=FILE" in caught.value.remedy


def test_the_place_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(ledger.LEDGER_VARIABLE, "~/reads.sqlite")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert ledger.find_ledger_file() == tmp_path / "reads.sqlite"
    monkeypatch.delenv(ledger.LEDGER_VARIABLE)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    assert ledger.find_ledger_file() == tmp_path / ".local" / "state" / "loratory" / "test-reads.sqlite"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    read(TEXTS)
    assert (tmp_path / "state" / "loratory" / "test-reads.sqlite").is_file()


def test_two_hundred_thousand_rows_are_one_small_entry(fresh_ledger: Path) -> None:
    keys = np.random.default_rng(6).integers(0, 2**63, 200_000).astype(np.uint64)
    for number in range(3):
        ledger.record_read(TestReader("a", f"/{number}", "x"), keys)
    assert fresh_ledger.stat().st_size < 2 * keys.nbytes
    assert [one.share for one in ledger.find_reads(keys[::2])] == [1.0] * 3


# ---- the simulated claims, small
def test_every_way_around_the_ledger_is_counted() -> None:
    for claim in simulated.ways_around(4):
        assert claim.seen == 1.0, claim.name


def test_a_run_in_several_sittings_counts_once() -> None:
    assert simulated.in_sittings(10).seen == 1.0


def test_disputed_labels_are_mostly_wrong_where_they_are_shown() -> None:
    assert simulated.measure_disputes(8).seen >= 0.8


def test_equal_contenders_are_equally_fast_on_a_machine_that_changes() -> None:
    assert simulated.equal_latencies(20).holds
