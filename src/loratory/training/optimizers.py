"""AdamW, or AdamW with its moments in eight bits (Dettmers et al. 2022), and their states as tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from loratory.errors import SpecError, is_out_of_memory, make_missing_extra
from loratory.training import lazy_embeddings

# What there may be of one parameter: AdamW's state, bitsandbytes' with the scales and the code of its blocks, and a
# token embedding's.
STATE_PARTS = (
    *("step", "exp_avg", "exp_avg_sq", "state1", "state2", "absmax1", "absmax2", "qmap1", "qmap2"),
    *lazy_embeddings.STATE_PARTS,
)
PROBE_SIZE = 64  # rows and columns of the matrix that is tried; bitsandbytes keeps smaller ones in float32


def make_optimizer(kind: str, groups: Sequence[dict[str, Any]], device: str) -> torch.optim.Optimizer:
    """The optimizer of a spec; raises what `check` does."""
    if kind == "adamw":
        return torch.optim.AdamW(list(groups), fused=True)
    check_optimizer(kind, device)
    made: torch.optim.Optimizer = _import_adamw_8bit()(list(groups))
    return made


def check_optimizer(kind: str, device: str) -> None:
    """Raises MissingExtra without bitsandbytes, and SpecError where its step, which is tried, does not work there."""
    if kind == "adamw":
        return
    weight = nn.Parameter(torch.zeros(PROBE_SIZE, PROBE_SIZE, device=device))
    weight.grad = torch.ones_like(weight)
    try:
        _import_adamw_8bit()([weight], lr=1.0, weight_decay=0.0).step()
        works = torch.allclose(weight.detach(), torch.full_like(weight, -1.0), atol=0.1)
    except (AttributeError, AssertionError, OSError, RuntimeError, TypeError, ValueError) as problem:
        if is_out_of_memory(problem):
            raise
        works = False
    if not works:
        raise SpecError(
            f"the installed bitsandbytes has no 8-bit AdamW for this device ({device})",
            where="training: optimizer",
            allowed="adamw",
            remedy="set training: optimizer: adamw, or pip install --upgrade bitsandbytes",
        )


def _import_adamw_8bit() -> Any:
    try:
        from bitsandbytes.optim.adamw import AdamW8bit
    except ImportError:
        raise make_missing_extra("bitsandbytes", "qlora") from None
    return AdamW8bit


def get_state_parts(optimizer: torch.optim.Optimizer, parameter: nn.Parameter) -> dict[str, Tensor]:
    """The state of one parameter by part; empty before its first step."""
    state: Mapping[str, Any] = optimizer.state.get(parameter, {})
    found = {part: torch.as_tensor(state[part]) for part in STATE_PARTS if part in state}
    return {part: t.clone() if part.startswith("qmap") else t for part, t in found.items()}  # all share one code


def restore_state_parts(optimizer: torch.optim.Optimizer, parameter: nn.Parameter, parts: Mapping[str, Tensor]) -> None:
    """What `get_state_parts` gave, so that the next step is the one that would have followed."""
    state: dict[str, Any] = {part: t.to(parameter.device, copy=True) for part, t in parts.items()}
    if "state1" in state:
        state["step"] = int(state["step"])  # bitsandbytes counts in Python
    optimizer.state[parameter] = state
