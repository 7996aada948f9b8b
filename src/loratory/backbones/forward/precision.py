"""Precision of the matrix products in training, chosen by what the hardware has and recorded with the fit."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from loratory.errors import SpecError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_precision(wanted: str, device: str) -> str:
    """fp32, bf16 or fp16. auto: bf16 where matrix units have it, fp16 on a GPU that lacks it, else fp32."""
    if wanted == "fp16" and device == "cpu":
        raise SpecError(
            "precision: fp16 needs a GPU",
            where="training: precision",
            allowed="auto, fp32, bf16",
            remedy="set training: precision: auto",
        )
    if wanted != "auto":
        return wanted
    if device == "cpu":
        fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        return "bf16" if fast else "fp32"
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


def autocast(precision: str, device: str) -> AbstractContextManager[object]:
    """The context in which a forward pass runs."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device_type=device.partition(":")[0], dtype=DTYPES[precision])
