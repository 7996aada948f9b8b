"""Which machine a figure comes from, and where results of this kind of processor are kept."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
# What decides how fast products are, the fastest first; as /proc/cpuinfo names them.
INSTRUCTIONS = ("amx_bf16", "avx512_bf16", "avx512_vnni", "avx_vnni", "avx512f", "avx2")


def read_flags() -> set[str]:
    """Instruction sets of this processor; empty where the system does not tell."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return set()
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return set(found[1].split()) if found else set()


def has_bf16() -> bool:
    """Whether products in bf16 are computed by instructions of their own."""
    return bool(read_flags() & {"avx512_bf16", "amx_bf16"})


def describe_machine() -> dict[str, Any]:
    """Processor, the fastest instructions it has, cores, threads, and versions."""
    import torch

    from loratory.backbones.forward.hardware_benchmark import load_or_measure, processor_name
    from loratory.threads import read_core_limits

    flags = read_flags()
    return {
        "processor": processor_name(),
        "instructions": [name for name in INSTRUCTIONS if name in flags],
        "cores": read_core_limits().usable,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "gflops": load_or_measure().gflops,
    }


def name_processor_kind() -> str:
    """A folder's name: the processor and its fastest instructions, such as amd-epyc-avx2."""
    from loratory.backbones.forward.hardware_benchmark import processor_name

    flags = read_flags()
    fastest = next((name for name in INSTRUCTIONS if name in flags), "plain")
    words = re.sub(r"\(.*?\)|\b(cpu|processor|@.*)\b", " ", processor_name().lower())
    return "-".join(re.findall(r"[a-z0-9]+", f"{words} {fastest.replace('_', '')}"))


def result_file(name: str) -> Path:
    """Where the result of a benchmark on this kind of processor goes."""
    folder = RESULTS / name_processor_kind()
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}.json"
