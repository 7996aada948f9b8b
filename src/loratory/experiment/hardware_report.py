"""`loratory doctor`: what is installed, what this machine does fast, and what `auto` therefore stands for."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Any

from loratory.backbones.forward import hardware_benchmark, int8
from loratory.errors import MissingExtra
from loratory.experiment.environment import describe_environment, resolve_auto_options
from loratory.specs.training import TrainingSpec
from loratory.threads import CoreLimits, describe_waiting, find_oversubscription, read_core_limits, set_torch_threads


def examine_machine(again: bool = False) -> dict[str, Any]:
    """Environment, measurement, and the choices that follow; `again` measures even where a measurement is kept."""
    import torch

    threads, limits, load = set_torch_threads(0), read_core_limits(), _read_load()  # before the measurement adds to it
    device = "cuda" if torch.cuda.is_available() else "cpu"
    machine = hardware_benchmark.measure_and_save(device) if again else hardware_benchmark.load_or_measure(device)
    training = resolve_auto_options(TrainingSpec(), machine)
    return {
        **describe_environment(device),
        "measured": asdict(machine),
        "cores": asdict(limits),
        "load": load,
        "waiting": describe_waiting(),
        "warnings": find_oversubscription(threads, limits, load),
        "kept_in": str(hardware_benchmark.cache_folder()),
        "chosen": {
            "precision": training.precision,
            "product": training.product,
            "attention": training.attention,
            "short_rows_training": machine.short_training,
            "short_rows_answering": machine.short_answering,
            "int8_weight_bits": _weight_bits(),
        },
    }


def _read_load() -> float:
    """Tasks that wanted a core in the last minute, on average; 0 where the system does not tell."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else 0.0


def _weight_bits() -> int | None:
    """Bits of the weights of an int8 graph on this machine; None where the extra int8 is not installed."""
    try:
        return int8.weight_bits()
    except MissingExtra:
        return None


INT8_EXPLANATIONS = {
    None: 'not installed (pip install "loratory[int8]")',
    7: "weights of 7 bits: sums of 8-bit products would saturate on this processor",
    8: "weights of 8 bits: this processor sums 8-bit products exactly",
}


def explain_findings(found: dict[str, Any]) -> list[tuple[str, str]]:
    """What a person reads: name and value of each line."""
    measured, chosen = found["measured"], found["chosen"]
    speeds = ", ".join(f"{name} {speed:,.0f}" for name, speed in measured["gflops"].items())
    lines = [
        ("loratory", f"{found['loratory']} on Python {found['python']}, {found['system']}"),
        ("device", f"{found['device']}: {measured['processor']}"),
        ("cores", _explain_cores(CoreLimits(**found["cores"]))),
        ("threads", f"{found['threads']}; {found['waiting']}"),
        ("libraries", ", ".join(f"{name} {version or 'missing'}" for name, version in found["libraries"].items())),
        ("matrix products", f"{speeds} GFLOP/s"),
        ("precision", f"{chosen['precision']} (training.precision: auto)"),
        ("LoRA product", f"{chosen['product']} (training.product: auto)"),
    ]
    if found["device"] == "cpu":
        training, answering = chosen["short_rows_training"], chosen["short_rows_answering"]
        text = f"plain up to {training} tokens while training, {answering} while answering; above, the library's"
        lines.append(("attention", f"{text} (training.attention: auto)"))
    else:
        lines.append(("attention", "the library's fused kernel"))
    lines += [("warning", text) for text in found["warnings"]]
    lines.append(("int8 serving", INT8_EXPLANATIONS[chosen["int8_weight_bits"]]))
    return [*lines, ("kept in", found["kept_in"])]


def _explain_cores(limits: CoreLimits) -> str:
    quota = "none" if limits.quota is None else f"{limits.quota:g} cores"
    return (
        f"{limits.usable} usable: {limits.machine} in the machine, affinity {limits.affinity}, container quota {quota}"
    )
