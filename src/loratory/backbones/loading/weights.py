"""Tensors of a safetensors file, read into memory of their own while the file is hashed: no map of the file stays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from loratory.artifacts.safetensors_headers import TensorInfo, parse_header
from loratory.artifacts.verified_files import VerifiedFiles

TENSOR_DTYPES: Mapping[str, torch.dtype] = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
    "U16": torch.uint16,
    "U32": torch.uint32,
    "U64": torch.uint64,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "C64": torch.complex64,
}
HALF_DTYPES = (torch.float16, torch.bfloat16)


def read_tensors(files: VerifiedFiles, name: str, widen: bool = False) -> dict[str, Tensor]:
    """All tensors of a file by name; with `widen` those in half precision become float32 one by one, exactly.

    Beside the tensors no more than one of them is in memory. Raises ArtifactError for a file that differs from its
    digest or is no safetensors file.
    """
    found: dict[str, Tensor] = {}
    with files.stream(name) as data:
        for key, info in parse_header(data.read, data.size).items():
            dtype = _get_dtype(key, info)
            tensor = torch.empty(info.shape, dtype=dtype)
            if tensor.numel():
                raw: Any = tensor.reshape(-1).view(torch.uint8).numpy()
                data.read_into(memoryview(raw))
            found[key] = tensor.float() if widen and dtype in HALF_DTYPES else tensor
    return found


def _get_dtype(name: str, info: TensorInfo) -> torch.dtype:
    """Torch's type of a tensor; raises ValueError for one that is not read here."""
    if info.dtype not in TENSOR_DTYPES:
        raise ValueError(f"the tensor {name} is of type {info.dtype!r}, which is not read here")
    return TENSOR_DTYPES[info.dtype]
