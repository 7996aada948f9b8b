"""Tensors of a safetensors file, read into memory of their own while the file is hashed: no map of the file stays."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from loratory.artifacts.verified_files import HashingReader, VerifiedFiles

MAX_HEADER_BYTES = 100_000_000  # bytes at most, as safetensors itself allows
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
        for key, dtype, shape in _read_header(data):
            tensor = torch.empty(shape, dtype=dtype)
            if tensor.numel():
                raw: Any = tensor.reshape(-1).view(torch.uint8).numpy()
                data.read_into(memoryview(raw))
            found[key] = tensor.float() if widen and dtype in HALF_DTYPES else tensor
    return found


def read_shapes(files: VerifiedFiles, name: str) -> dict[str, tuple[int, ...]]:
    """The shapes of a file's tensors, from its header; raises ArtifactError."""
    with files.stream(name) as data:
        return {key: shape for key, _, shape in _read_header(data)}


def _read_header(data: HashingReader) -> list[tuple[str, torch.dtype, tuple[int, ...]]]:
    """Name, type and shape of each tensor in the order of the file; raises ValueError.

    Every byte belongs to one tensor, so that no more is set aside than the file holds.
    """
    if data.size < 8:
        raise ValueError("it is no safetensors file: it has no header")
    length = int.from_bytes(data.read(8), "little")
    if length > min(MAX_HEADER_BYTES, data.size - 8):
        raise ValueError("it is no safetensors file: its header is longer than the file, or damaged")
    try:
        header: Any = json.loads(data.read(length))
        header.pop("__metadata__", None)
        rows = sorted((*one["data_offsets"], key, one["dtype"], tuple(one["shape"])) for key, one in header.items())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as problem:
        raise ValueError("it is no safetensors file: its header cannot be read") from problem
    at, found = 0, []
    for start, end, key, kind, shape in rows:
        dtype = TENSOR_DTYPES.get(kind) if isinstance(kind, str) else None
        if dtype is None:
            raise ValueError(f"the tensor {key} is of type {str(kind)[:20]!r}, which is not read here")
        whole = all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in (start, end, *shape))
        if not whole or start != at or end - start != math.prod(shape) * dtype.itemsize:
            raise ValueError(f"it is no safetensors file: the place or the shape of the tensor {key} is wrong")
        found.append((key, dtype, shape))
        at = end
    if at != data.size - 8 - length:
        raise ValueError("it is no safetensors file: it is cut short, or longer than its tensors")
    return found
