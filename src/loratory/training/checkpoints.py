"""Checkpoints of one fit: two slots written in turn, each whole or not there; safetensors and JSON, no pickle."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from safetensors.torch import save_file

from loratory.artifacts.locks import ignore_message
from loratory.artifacts.manifests import open_artifact, read_manifest, stage_artifact, verify_artifact
from loratory.backbones.loading.weights import read_tensors
from loratory.errors import ArtifactError
from loratory.protocols import CheckpointStore, TrainingState


class FolderCheckpoints:
    """`folder/a` and `folder/b`; the newest valid one of this identity counts. A damaged one is passed over, which
    `say` tells.
    """

    def __init__(self, folder: Path, identity: str, say: Callable[[str], None] = ignore_message) -> None:
        self.folder, self.identity, self._say = folder, identity, say

    def load_latest(self) -> TrainingState | None:
        found = [slot for slot in self._list_slots() if self._is_valid(slot)]
        for slot in self._list_slots():
            if self._read_number(slot) and slot not in found:  # or the next one would take the place of the valid one
                shutil.rmtree(slot, ignore_errors=True)
        if not found:
            return None
        kept = open_artifact(max(found, key=self._read_number))
        return TrainingState(read_tensors(kept, "state.safetensors"), kept.read_json("facts.json"))

    def save(self, state: TrainingState) -> None:
        numbers = {slot: self._read_number(slot) for slot in self._list_slots()}
        target = min(numbers, key=numbers.__getitem__)
        with stage_artifact(target, {"identity": self.identity, "number": max(numbers.values()) + 1}) as part:
            save_file({name: t.contiguous() for name, t in state.tensors.items()}, part / "state.safetensors")
            (part / "facts.json").write_text(json.dumps(state.facts), encoding="utf-8")

    def clear(self) -> None:
        """Forget them: the fit is finished."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _list_slots(self) -> tuple[Path, Path]:
        return self.folder / "a", self.folder / "b"

    def _read_number(self, slot: Path) -> int:
        """Which one of this identity it is, from 1; 0 where it is none."""
        manifest = read_manifest(slot) or {}
        number = manifest.get("number")
        return number if manifest.get("identity") == self.identity and type(number) is int else 0

    def _is_valid(self, slot: Path) -> bool:
        if not slot.is_dir() or (not self._read_number(slot) and read_manifest(slot)):  # none, or of another fit
            return False
        try:
            verify_artifact(slot)
        except ArtifactError as problem:
            self._say(f"the checkpoint {slot} is damaged and is passed over: {problem.problem} ({problem.where})")
            return False
        return True


class StageCheckpoints:
    """The checkpoints of one stage of a fit: another stage's is not taken for its own."""

    def __init__(self, checkpoints: CheckpointStore, stage: str) -> None:
        self._checkpoints, self._stage = checkpoints, stage

    def load_latest(self) -> TrainingState | None:
        state = self._checkpoints.load_latest()
        if state is None or state.facts.get("stage") != self._stage:
            return None
        return TrainingState(state.tensors, {name: value for name, value in state.facts.items() if name != "stage"})

    def save(self, state: TrainingState) -> None:
        self._checkpoints.save(TrainingState(state.tensors, {**state.facts, "stage": self._stage}))


class NoCheckpoints:
    """For trials and tests that are cheaper to repeat."""

    def load_latest(self) -> TrainingState | None:
        return None

    def save(self, state: TrainingState) -> None:
        return None
