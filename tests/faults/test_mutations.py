"""A changed file is never loaded: bits, cuts, zeroed pages, doubled blocks, more bytes, files of another artifact."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from fault_recording import FaultCounts
from loratory.artifacts.manifests import MANIFEST, open_artifact, stage_artifact
from loratory.backbones.pool import TorchBackbonePool
from loratory.discovery import load_named
from loratory.errors import ArtifactError
from loratory.experiment.artifact_lookup import open_run, read_ladder, read_predictor
from loratory.predictors import predictor_files
from loratory.protocols import TrainingState
from loratory.training.checkpoints import FolderCheckpoints
from tiny_models import load_backbone_from, make_context, make_task, make_train_set, save_causal_model

from .run_fixtures import run_command

PAGE = 4096  # bytes that a disk loses together
Change = Callable[[bytes, random.Random], bytes]


# ---- what happens to a file
def flip(data: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << chance.randrange(8)]) + data[place + 1 :]


def cut(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.choice((0, len(data) - 1, chance.randrange(len(data))))]


def zero(data: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(-(-len(data) // PAGE)) * PAGE
    return data[:start] + bytes(len(data[start : start + PAGE])) + data[start + PAGE :]


def double(data: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(data))
    end = min(start + chance.choice((1, 16, PAGE)), len(data))
    return data[:end] + data[start:end] + data[end:]


def lengthen(data: bytes, chance: random.Random) -> bytes:
    return data + chance.choice((b"\n", b" ", b"\0", data, chance.randbytes(64)))


CHANGES: tuple[Change, ...] = (flip, cut, zero, double, lengthen)


# ---- artifacts of every kind
@dataclass(frozen=True)
class Kind:
    """An artifact, and how it is opened: without an error, or with one."""

    folder: Path
    open: Callable[[Path], object]

    def files(self) -> list[Path]:
        return [self.folder / name for name in (MANIFEST, *open_artifact(self.folder).list_names())]


def load(folder: Path) -> None:
    read_predictor(folder, TorchBackbonePool())


def verify(folder: Path) -> None:
    open_artifact(folder).check_all()


def evidence(folder: Path) -> None:
    open_run(folder).check_all()
    read_ladder(folder)


@pytest.fixture(scope="module")
def kinds(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Kind]:
    """Copies, to be changed."""
    home = tmp_path_factory.mktemp("kinds")
    run = shutil.copytree(finished_run / "runs" / "tiny", home / "tiny")
    (home / "base").symlink_to((finished_run / "base").resolve())
    names = {
        "linear": "tfidf",
        "rules": "rules",
        "encoder": "head",
        "encoder with adapter": "lora-stock",
        "whole": "full",
    }
    made = {kind: Kind(run / "contenders" / name / "seed-1", load) for kind, name in names.items()}
    done = run_command(home, "export", run, "-c", "lora", "-o", home / "exported")
    assert done.code == 0, done.err
    writer = load_backbone_from(save_causal_model(home / "writer", "qwen3"))
    for name in ("prompted", "lora"):
        predictor = load_named("regimes", name)().fit(make_task(), make_train_set(), writer, make_context(epochs=1))
        with stage_artifact(home / name, {"kind": "fit"}) as part:
            predictor_files.save_predictor(part, predictor)
    return made | {
        "exported": Kind(home / "exported", load),
        "writer": Kind(home / "prompted", load),
        "writer with adapter": Kind(home / "lora", load),
        "split": Kind(run / "data", verify),
        "run": Kind(run, evidence),
    }


@pytest.fixture(autouse=True)
def at_home(kinds: dict[str, Kind], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(kinds["run"].folder.parent)


def mutate_content(file: Path, others: list[Path], chance: random.Random) -> bytes | None:
    """What a file holds then; None where it would be the same."""
    before = file.read_bytes()
    if not chance.randrange(4):
        same = [other for other in others if other.name == file.name and other != file]
        after = chance.choice(same if same and chance.randrange(2) else others).read_bytes()
    else:
        after = chance.choice(CHANGES)(before, chance) if before else b"\0"
    return None if after == before else after


def said_of(kind: Kind) -> str:
    """How it is refused; nothing where it is not. Raises whatever is no typed error."""
    try:
        kind.open(kind.folder)
    except ArtifactError as problem:
        return str(problem)
    return ""


def is_file_named(said: str, file: Path, kind: Kind) -> bool:
    """A manifest of another artifact may be whole: then the first file that is not as it says is named."""
    inner = file.relative_to(kind.folder).as_posix()
    exchanged = "SHA-256 differs" in said or "a file that the manifest lists is missing" in said
    return inner in said or (file.name == MANIFEST and exchanged and str(kind.folder) in said)


def mutate(kinds: dict[str, Kind], number: int, seed: int) -> Iterator[str]:
    """Try so many; what was not refused, or not named."""
    chance = random.Random(seed)
    places = [(kind, file) for kind in kinds.values() for file in kind.files()]
    everything = sorted({file for _, file in places})
    order: list[tuple[Kind, Path]] = []
    while number:
        order = order or chance.sample(places, len(places))
        kind, file = order.pop()
        if (data := mutate_content(file, everything, chance)) is None:
            continue
        number -= 1
        before = file.read_bytes()
        file.write_bytes(data)
        try:
            said = said_of(kind)
        except Exception as problem:
            yield f"{file}: {type(problem).__name__}: {problem}"
        else:
            if not said or not is_file_named(said, file, kind):
                yield f"{file}: {said or 'it was loaded'}"
        finally:
            file.write_bytes(before)


def test_every_kind_is_loaded_where_nothing_was_changed(kinds: dict[str, Kind]) -> None:
    assert {name: said_of(kind) for name, kind in kinds.items()} == dict.fromkeys(kinds, "")
    inside = {name: {file.name for file in kind.files()} for name, kind in kinds.items()}
    assert {"adapter_model.safetensors", "head.safetensors", "encoder.json"} <= inside["encoder with adapter"]
    assert {"ladder.json", "golden.jsonl", "verdict.json", "report.html", MANIFEST} <= inside["run"]
    assert "linear.safetensors" in inside["linear"]
    assert "decoder.json" in inside["writer"]


def test_a_changed_file_is_refused_and_named(kinds: dict[str, Kind]) -> None:
    assert list(mutate(kinds, 400, 1)) == []


MUTATIONS = 10_000


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_10_000_changed_files_are_refused_and_named(kinds: dict[str, Kind], faults: FaultCounts) -> None:
    failed = list(mutate(kinds, MUTATIONS, 2))
    faults.tries_of("a file of an artifact changed: bits, cuts, pages, blocks, files of others").add(
        MUTATIONS, len(failed)
    )
    assert failed == []


# ---- checkpoints
def state(number: int) -> TrainingState:
    return TrainingState({"weight": torch.full((3000,), float(number))}, {"step": number})


def fall_back(home: Path, number: int, seed: int) -> Iterator[str]:
    """Change a file of one of two checkpoints; the other counts, and what is said names the file."""
    chance, heard = random.Random(seed), list[str]()
    kept = FolderCheckpoints(home / "kept", "one", heard.append)
    kept.save(state(1))
    kept.save(state(2))
    whole = shutil.copytree(home / "kept", home / "whole")
    everything = sorted(file for file in whole.rglob("*") if file.is_file())
    while number:
        file = chance.choice(everything)
        if (data := mutate_content(file, everything, chance)) is None:
            continue
        number -= 1
        heard.clear()
        inner = file.relative_to(whole)
        (home / "kept" / inner).write_bytes(data)
        found = kept.load_latest()
        wanted = 1 if inner.parts[0] == "b" else 2
        if found is None or found.facts["step"] != wanted or float(found.tensors["weight"].sum()) != 3000.0 * wanted:
            yield f"{inner}: {found and found.facts}"
        if len(heard) != 1 or str(home / "kept" / inner.parts[0]) not in heard[0]:
            yield f"{inner}: {heard}"
        elif file.name != MANIFEST and file.name not in heard[0]:
            yield f"{inner}: {heard}"
        shutil.rmtree(home / "kept")
        shutil.copytree(whole, home / "kept")


def test_a_damaged_checkpoint_is_passed_over_and_said(tmp_path: Path) -> None:
    assert list(fall_back(tmp_path, 120, 3)) == []


def test_where_both_are_damaged_the_fit_begins_again(tmp_path: Path) -> None:
    heard: list[str] = []
    kept = FolderCheckpoints(tmp_path / "kept", "one", heard.append)
    for number in (1, 2):
        kept.save(state(number))
    for slot in "ab":
        (tmp_path / "kept" / slot / "facts.json").write_text("{}")
    assert kept.load_latest() is None
    assert len(heard) == 2
    kept.save(state(1))
    assert kept.load_latest() is not None


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_2_000_damaged_checkpoints_are_passed_over_and_said(tmp_path: Path, faults: FaultCounts) -> None:
    failed = list(fall_back(tmp_path, 2000, 4))
    faults.tries_of("a file of a checkpoint changed").add(2000, len(failed))
    assert failed == []
