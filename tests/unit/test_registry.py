"""The registry: what a release is bound to, aliases that move on evidence, rollback in order, and tampering."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

import loratory
from loratory.api.registry import judge_release
from loratory.errors import ArtifactError, SpecError
from loratory.registry.gates import GateLine, GateOutcome
from loratory.registry.registry import DATABASE_FILE, HEAD_FILE, OBJECTS, PromotionRefused, Registry
from loratory.registry.releases import Release, ReleaseContents, parse_reference
from ticket_rows import run_tickets

WORKER = """
import sys
from pathlib import Path
from loratory.registry.registry import Registry
from loratory.registry.releases import ReleaseContents
registry = Registry(Path(sys.argv[1]), create=True)
for number in range(int(sys.argv[3])):
    registry.register("race", ReleaseContents({}, {}, {"who": sys.argv[2], "number": number}), by=sys.argv[2])
    print(number, flush=True)
"""


def pass_everything(release: Release, champion: Release | None) -> GateOutcome:
    return GateOutcome((), release.digest)


def fail_everything(release: Release, champion: Release | None) -> GateOutcome:
    return GateOutcome((GateLine("accuracy", 0.9, 0.5, 0.4, False, "accuracy is too low"),), release.digest)


def add(registry: Registry, number: int, name: str = "tickets") -> Release:
    digest = registry.objects.add_bytes(f"weights {number}".encode())
    return registry.register(name, ReleaseContents({"weights": digest}, {}, {"number": number}))


def crown(registry: Registry, release: Release) -> None:
    for alias in ("staging", "champion"):
        registry.promote(release.reference, alias, pass_everything)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "registry", create=True)


def test_versions_count_up_and_the_same_contents_are_the_same_release(registry: Registry) -> None:
    first, second = add(registry, 1), add(registry, 2)
    assert (first.version, second.version) == (1, 2)
    assert add(registry, 1) == first
    assert [one.version for one in registry.list_releases("tickets")] == [2, 1]
    assert add(registry, 1, "other").version == 1


def test_rolling_back_twice_goes_two_back_and_not_to_the_bad_release(registry: Registry) -> None:
    releases = [add(registry, number) for number in (1, 2, 3)]
    for one in releases:
        crown(registry, one)
    assert registry.rollback("tickets").version == 2
    assert registry.rollback("tickets").version == 1
    with pytest.raises(ArtifactError, match="no champion before"):
        registry.rollback("tickets")
    assert registry.find("tickets@champion").version == 1
    crown(registry, releases[2])
    assert registry.rollback("tickets").version == 1
    registry.verify()


def test_what_the_evidence_does_not_hold_is_refused_and_changes_nothing(registry: Registry) -> None:
    one = add(registry, 1)
    before = registry.history()
    with pytest.raises(PromotionRefused, match="accuracy is too low") as refused:
        registry.promote(one.reference, "staging", fail_everything)
    assert refused.value.exit_code == 3
    assert registry.history() == before
    assert registry.find("tickets@1").aliases == ()


def test_a_champion_comes_from_staging(registry: Registry) -> None:
    one = add(registry, 1)
    with pytest.raises(PromotionRefused, match="not in staging"):
        registry.promote(one.reference, "champion", pass_everything)
    crown(registry, one)
    assert registry.find("tickets").aliases == ("champion", "staging")


def test_a_champion_that_changes_while_the_gate_is_weighed_stops_the_promotion(registry: Registry) -> None:
    first, second, third = (add(registry, number) for number in (1, 2, 3))
    crown(registry, first)
    registry.promote(third.reference, "staging", pass_everything)

    def somebody_is_quicker(release: Release, champion: Release | None) -> GateOutcome:
        crown(registry, second)
        registry.promote(third.reference, "staging", pass_everything)
        return pass_everything(release, champion)

    with pytest.raises(PromotionRefused, match="changed meanwhile"):
        registry.promote(third.reference, "champion", somebody_is_quicker)
    assert registry.find("tickets@champion").version == 2


def test_retired_releases_lose_their_files_and_come_back_by_registering(registry: Registry) -> None:
    first, second = add(registry, 1), add(registry, 2)
    crown(registry, second)
    with pytest.raises(PromotionRefused, match="is the champion"):
        registry.retire(second.reference)
    registry.retire(first.reference, reason="old")
    assert registry.collect() == (1, len(b"weights 1"))
    assert registry.find("tickets@1").retired_at is not None
    with pytest.raises(PromotionRefused, match="retired"):
        registry.promote(first.reference, "staging", pass_everything)
    again = add(registry, 1)
    assert (again.version, again.retired_at) == (1, None)
    registry.verify()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("UPDATE aliases SET version = 1 WHERE alias = 'champion'", "table of aliases"),
        ("UPDATE champions SET version = 1", "table of champions"),
        ("UPDATE releases SET digest = 'x' WHERE version = 1", "was changed|table of releases"),
        ("DROP TRIGGER history_is_kept; UPDATE history SET by = 'somebody' WHERE number = 1", "broken at entry 1"),
        ("DROP TRIGGER history_is_whole; DELETE FROM history WHERE number = 2", "broken at entry 2"),
        ("DROP TRIGGER history_is_whole; DELETE FROM history WHERE number > 2", "may be cut off"),
    ],
)
def test_what_was_changed_by_hand_is_found(registry: Registry, change: str, told: str) -> None:
    add(registry, 1)
    crown(registry, add(registry, 2))
    registry.verify()
    with sqlite3.connect(registry.folder / DATABASE_FILE) as connection:
        connection.executescript(change)
    with pytest.raises(ArtifactError, match=told):
        registry.verify()


def test_the_history_cannot_be_changed_by_a_plain_statement(registry: Registry) -> None:
    add(registry, 1)
    with sqlite3.connect(registry.folder / DATABASE_FILE) as connection, pytest.raises(sqlite3.IntegrityError):
        connection.execute("DELETE FROM history")


def test_a_changed_or_missing_object_is_found(registry: Registry) -> None:
    release = add(registry, 1)
    (digest,) = release.contents.files.values()
    file = registry.objects.locate(digest)
    os.chmod(file, 0o644)
    file.write_bytes(b"weights 2")
    for fails in (registry.verify, lambda: registry.checkout(release)):
        with pytest.raises(ArtifactError, match="was changed"):
            fails()
    file.unlink()
    with pytest.raises(ArtifactError, match="missing"):
        registry.verify()


def test_a_lost_head_is_told(registry: Registry) -> None:
    add(registry, 1)
    add(registry, 2)
    (registry.folder / HEAD_FILE).unlink()
    with pytest.raises(ArtifactError, match="head of the history"):
        registry.verify()


def test_processes_that_race_lose_nothing_and_number_nothing_twice(tmp_path: Path) -> None:
    folder, each = tmp_path / "registry", 15
    workers = [
        subprocess.Popen([sys.executable, "-c", WORKER, str(folder), f"w{k}", str(each)], stdout=subprocess.PIPE)
        for k in range(3)
    ]
    acknowledged = sum(len(worker.communicate(timeout=120)[0].splitlines()) for worker in workers)
    registry = Registry(folder)
    assert acknowledged == 3 * each
    assert sorted(one.version for one in registry.list_releases()) == list(range(1, 3 * each + 1))
    assert registry.verify().entries == 3 * each


def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    folder = tmp_path / "registry"
    worker = subprocess.Popen([sys.executable, "-c", WORKER, str(folder), "w", "1000"], stdout=subprocess.PIPE)
    assert worker.stdout is not None
    seen = [worker.stdout.readline() for _ in range(12)]
    worker.kill()
    worker.wait()
    registry = Registry(folder)
    assert len(registry.list_releases()) >= len(seen)
    registry.verify()
    add(registry, 1)
    registry.verify()


def test_references() -> None:
    assert parse_reference("tickets@3") == ("tickets", "3")
    assert parse_reference("tickets@champion") == ("tickets", "champion")
    assert parse_reference("runs/tickets@3") is None
    assert parse_reference("tickets") is None


def test_bad_names_and_references_are_told(registry: Registry, tmp_path: Path) -> None:
    add(registry, 1)
    for reference, told in (
        ("tickets@7", "no version 7"),
        ("tickets@champion", "no alias champion"),
        ("tickts@1", "tickets"),
    ):
        with pytest.raises(ArtifactError, match=told):
            registry.find(reference)
    with pytest.raises(SpecError, match="no name"):
        registry.register("../x", ReleaseContents({}, {}, {}))
    with pytest.raises(SpecError, match="no alias"):
        registry.promote("tickets@1", "champ", pass_everything)
    with pytest.raises(ArtifactError, match="no registry here"):
        Registry(tmp_path / "elsewhere")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / DATABASE_FILE).write_bytes(b"this is no database, it is text" * 100)
    with pytest.raises(ArtifactError, match="no registry, or its file is damaged"):
        Registry(tmp_path / "broken")


@pytest.fixture(scope="module")
def ticket_run(tmp_path_factory: pytest.TempPathFactory) -> loratory.Run:
    return run_tickets(tmp_path_factory.mktemp("runs") / "tickets", 240, ["majority", "tfidf"])


@pytest.fixture
def own_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "registry"
    monkeypatch.setenv("LORATORY_REGISTRY", str(folder))
    return folder


def test_a_run_becomes_a_release_that_answers_the_same(ticket_run: loratory.Run, own_registry: Path) -> None:
    release = loratory.register(ticket_run.folder, "tickets")
    assert loratory.register(ticket_run.folder, "tickets") == release
    for alias in ("staging", "champion"):
        assert loratory.promote(release.reference, alias).holds
    texts = ["where is my parcel", "I cannot log in to my account", "the invoice is wrong"]
    assert loratory.load("tickets@champion").predict(texts) == loratory.load(ticket_run.folder).predict(texts)


def test_a_registry_holds_no_text_of_the_data(ticket_run: loratory.Run, own_registry: Path) -> None:
    import pyarrow.parquet as parquet

    from loratory.artifacts.manifests import digest_of

    release = loratory.register(ticket_run.folder, "tickets")
    registry = Registry(own_registry)
    texts = parquet.read_table(ticket_run.folder / "data" / "test.parquet").column("text").to_pylist()
    rows = registry.objects.locate(release.contents.evidence["tfidf"]["test"])
    inputs = [json.loads(one) for one in parquet.read_table(rows).column("input").to_pylist()]
    assert {one["sha256"] for one in inputs} == {digest_of({"text": text}) for text in texts}
    for file in (own_registry / OBJECTS).glob("*/*"):
        if file.read_bytes()[:4] == b"PAR1":
            held = str(parquet.read_table(file).to_pylist())
            assert not any(text in held for text in texts)


def test_the_gate_is_computed_from_rows_and_not_from_what_a_ladder_says(
    ticket_run: loratory.Run, own_registry: Path
) -> None:
    good = loratory.register(ticket_run.folder, "tickets", contender="tfidf")
    bad = loratory.register(ticket_run.folder, "tickets", contender="majority")
    for alias in ("staging", "champion"):
        loratory.promote(good.reference, alias)
    found = loratory.gate(bad.reference)
    assert not found.holds
    (line,) = [one for one in found.lines if one.what == f"not_worse_than/{good.reference}"]
    assert line.value is not None
    assert line.value < 0
    with pytest.raises(PromotionRefused, match="not promoted"):
        loratory.promote(bad.reference, "staging")


def test_tampered_rows_promote_nothing(ticket_run: loratory.Run, own_registry: Path) -> None:
    release = loratory.register(ticket_run.folder, "tickets", contender="tfidf")
    file = Registry(own_registry).objects.locate(release.contents.evidence["tfidf"]["test"])
    os.chmod(file, 0o644)
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(ArtifactError, match="was changed"):
        loratory.promote(release.reference, "staging")


def test_a_release_without_evidence_is_not_promoted(registry: Registry) -> None:
    facts = {"task": {"kind": "classify", "labels": ["a", "b"]}, "contender": "lora", "ladder": []}
    release = registry.register("imported", ReleaseContents({}, {}, facts))
    with pytest.raises(PromotionRefused, match="without evidence"):
        registry.promote(release.reference, "staging", lambda one, other: judge_release(registry, one, other))
