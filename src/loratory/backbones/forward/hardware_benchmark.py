"""What this machine does fast, measured once and remembered: the choices behind every `auto` of `training:`."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from loratory.backbones.forward import attention
from loratory.backbones.forward.precision import DTYPES

ROW_LENGTHS = (8, 16, 32, 64, 128, 256, 512)
TIMED_TOKENS = 2048  # of one timed batch: about what a training step holds
HEAD_COUNT, HEAD_WIDTH = 12, 32
ROUNDS = 5  # the least of so many timings counts
MIN_SPEEDUP = 1.2  # low precision has to be this much faster to be chosen
VERSION = 2  # of a measurement: 2 times attention in the precision that training and answers have


@dataclass(frozen=True)
class Hardware:
    """Measured speeds and what follows from them."""

    device: str
    processor: str
    threads: int
    torch: str
    gflops: dict[str, float]  # of a matrix product, by precision
    short_training: int  # tokens up to which short attention is the faster one, forward and backward
    short_answering: int  # forward alone
    version: int = VERSION

    def choose_precision(self) -> str:
        """The precision that `auto` stands for: the fastest that pays, bf16 before fp16."""
        plain = self.gflops["fp32"]
        for name in ("bf16", "fp16"):
            if self.gflops.get(name, 0.0) >= MIN_SPEEDUP * plain:
                return name
        return "fp32"


def measure_hardware(device: str = "cpu") -> Hardware:
    """Time products and attention for some seconds."""
    facts = (device, processor_name(device), torch.get_num_threads(), torch.__version__)
    found = Hardware(*facts, _measure_matmul(device), 0, 0)
    if device != "cpu":
        return found
    training = _find_attention_crossover(DTYPES[found.choose_precision()], backward=True)
    return replace(
        found, short_training=training, short_answering=_find_attention_crossover(torch.float32, backward=False)
    )


def load_kept(device: str = "cpu") -> Hardware | None:
    """The kept measurement of this machine, if there is one."""
    try:
        return parse_measurement(json.loads(_cache_file(device).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def load_or_measure(device: str = "cpu") -> Hardware:
    """The kept measurement of this machine, or one made and kept now."""
    return load_kept(device) or measure_and_save(device)


def measure_and_save(device: str = "cpu") -> Hardware:
    """A measurement made and kept now; a cache that cannot be written is no error: it is made again next time."""
    made, file = measure_hardware(device), _cache_file(device)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(f".{file.name}.{os.getpid()}")
        part.write_text(json.dumps(asdict(made), indent=1) + "\n", encoding="utf-8")
        part.replace(file)
    except OSError:
        pass
    return made


def _cache_file(device: str) -> Path:
    facts = (device, processor_name(device), torch.get_num_threads(), torch.__version__, VERSION)
    name = "-".join(str(fact) for fact in facts)
    return cache_folder() / f"probe-{''.join(c if c.isalnum() else '-' for c in name)}.json"


def parse_measurement(facts: dict[str, Any]) -> Hardware:
    """A measurement from its JSON; raises KeyError, TypeError or ValueError where it is none of this version."""
    if set(facts) != {f.name for f in fields(Hardware)} or facts["version"] != VERSION:
        raise ValueError("no measurement of this version")
    return Hardware(**facts)


def cache_folder() -> Path:
    """Where measurements of this machine are kept between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "loratory"


def processor_name(device: str = "cpu") -> str:
    """The processor's own name, or what the platform says."""
    if device != "cpu":
        return torch.cuda.get_device_name()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _measure_matmul(device: str) -> dict[str, float]:
    """GFLOP/s of a product as training has it, by precision."""
    found = {}
    size = 1024 if device == "cpu" else 4096
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)):
        if device == "cpu" and name == "fp16":  # no gradient scaling on a CPU
            continue
        a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
        found[name] = round(2e-9 * size**3 / time_fastest(lambda a=a, b=b: a @ b, device), 1)  # type: ignore[misc]
    return found


def _find_attention_crossover(dtype: torch.dtype, backward: bool) -> int:
    """The longest row up to which short attention is never the slower one in this precision."""
    longest = 0
    for length in ROW_LENGTHS:
        ways = (attention.eager_attention, attention.sdpa_attention)
        short, stock = (_time_attention(way, length, dtype, backward) for way in ways)
        if short > stock:
            break
        longest = length
    return longest


def _time_attention(attend: Callable[..., Tensor], length: int, dtype: torch.dtype, backward: bool) -> float:
    shape = (max(TIMED_TOKENS // length, 1), length, HEAD_COUNT, HEAD_WIDTH)  # as the projections leave them
    query, key, value = (torch.randn(shape, dtype=dtype).transpose(1, 2).requires_grad_(backward) for _ in range(3))
    mask = torch.ones(shape[0], 1, length, length, dtype=torch.bool)
    mask[:, :, :, -1] = False

    def once() -> None:
        out = attend(query, key, value, mask, HEAD_WIDTH**-0.5)
        if backward:
            out.backward(torch.ones_like(out))  # type: ignore[no-untyped-call]

    return time_fastest(once, "cpu")


def time_fastest(work: Callable[[], object], device: str, rounds: int = ROUNDS) -> float:
    """Seconds of the fastest of some rounds: what the machine can do when nobody disturbs it."""
    times: Sequence[float] = [_time_once(work, device) for _ in range(rounds + 1)]
    return min(times[1:])


def _time_once(work: Callable[[], object], device: str) -> float:
    started = time.perf_counter()
    work()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - started
