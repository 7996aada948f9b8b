"""What the figures of a run depend on beside the spec: hardware, versions, and choices made by measurement."""

from __future__ import annotations

import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loratory import __version__
from loratory.protocols.events import EventListener, StageStarted
from loratory.specs.training import TrainingSpec

if TYPE_CHECKING:
    from loratory.backbones.forward.hardware_benchmark import Hardware

ENVIRONMENT_FILE = "environment.json"
RECORDED_LIBRARIES = ("torch", "transformers", "peft", "scikit-learn", "numpy", "tokenizers", "safetensors", "pyarrow")


def load_or_measure_hardware(file: Path, device: str, on_event: EventListener) -> Hardware:
    """What the run began with, so that going on computes in the same way; else this machine's measurement."""
    from loratory.backbones.forward import hardware_benchmark

    try:
        kept = hardware_benchmark.parse_measurement(json.loads(file.read_text(encoding="utf-8"))["measured"])
        if (kept.device, kept.processor, kept.threads) == (
            device,
            hardware_benchmark.processor_name(device),
            count_torch_threads(),
        ):
            return kept
    except (OSError, ValueError, KeyError, TypeError):
        pass
    on_event(StageStarted("measuring the speed of this machine"))
    return hardware_benchmark.load_or_measure(device)


def count_torch_threads() -> int:
    """Threads of a matrix product in this process."""
    import torch

    return torch.get_num_threads()


def resolve_auto_options(training: TrainingSpec, hardware: Hardware) -> TrainingSpec:
    """The training options with every `auto` replaced; attention's crossing is set for this process."""
    from loratory.backbones.forward import attention

    if training.attention != "stock":
        attention.set_short_row_limits(hardware.short_training, hardware.short_answering)
    precision = hardware.choose_precision() if training.precision == "auto" else training.precision
    return training.model_copy(
        update={
            "precision": precision,
            "attention": "short" if training.attention == "auto" else training.attention,
            "product": "fused" if training.product == "auto" else training.product,
        }
    )


def describe_environment(device: str) -> dict[str, Any]:
    """What the figures of this run depend on beside the spec."""
    import torch

    libraries: dict[str, str | None] = {}
    for name in RECORDED_LIBRARIES:
        try:
            libraries[name] = version(name)
        except PackageNotFoundError:
            libraries[name] = None
    return {
        "loratory": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "device": device,
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "libraries": libraries,
    }
