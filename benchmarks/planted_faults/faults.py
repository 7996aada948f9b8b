"""A planted fault: what it does to an exported folder, which forms can have it, and the stage that should be named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from planted_faults.folders import ExportedFolder

WEIGHTS, GRAPH, WRITER = "weights", "graph", "writer"  # safetensors of an encoder, an ONNX graph, a causal model
UNREADABLE = "unreadable"  # a folder that no verifier runs is refused too


@dataclass(frozen=True)
class PlantedFault:
    """One fault.

    `stages` may name "layer" for the output of any encoder layer. `signed`: digests are made to fit, so that numbers
    have to find it. `suits` says whether a folder has what the fault spoils.
    """

    name: str
    kinds: tuple[str, ...]
    stages: tuple[str, ...]
    plant: Callable[[ExportedFolder], None]
    signed: bool = True
    suits: Callable[[ExportedFolder], bool] = lambda folder: True

    def apply(self, honest: ExportedFolder, target: Path) -> ExportedFolder:
        """A faulty copy of an honest folder."""
        made = honest.copy_to(target)
        self.plant(made)
        if self.signed:
            made.sign()
        return made

    def names_stage(self, stage: str | None, kind: str) -> bool:
        """Whether a verifier that names this stage is right. Some graphs show no states: their logits tell of them."""
        expected = set(self.stages)
        if kind == GRAPH and expected & {"embedding", "layer", "pooled"}:
            expected.add("logits")
        return stage is not None and (stage in expected or stage.partition(" ")[0] in expected)


def find_kind(folder: ExportedFolder) -> str:
    """Which faults a folder can have."""
    if folder.certificate["model"]["head"] == "writer":
        return WRITER
    return GRAPH if folder.model.endswith(".onnx") else WEIGHTS


def select_faults(faults: Sequence[PlantedFault], folder: ExportedFolder) -> list[PlantedFault]:
    """The faults that a folder can have."""
    kind = find_kind(folder)
    return [fault for fault in faults if kind in fault.kinds and fault.suits(folder)]
