"""Headers of safetensors files, checked against the file before any tensor is read.

The format: 8 bytes little-endian length, a JSON object of that length, the tensors' bytes without holes
(https://huggingface.co/docs/safetensors, "Format").
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from loratory.artifacts.untrusted_files import check_regular_file
from loratory.errors import ArtifactError

DTYPE_BITS = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 64),
}
MAX_HEADER_BYTES = 100_000_000  # bytes of a header: the format's own limit
MAX_TENSORS = 200_000
MAX_NAME_CHARACTERS = 512  # characters of a tensor's name
DOWNLOAD_REMEDY = "download it again, or save it again where it was made: model.safetensors of save_pretrained"


@dataclass(frozen=True)
class TensorInfo:
    """What a header says of one tensor; `start` and `end` are offsets behind the header, in bytes."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


def read_header(file: Path) -> dict[str, TensorInfo]:
    """The tensors that a safetensors file holds, by name; nothing but the header is read.

    Raises ArtifactError where the header cannot be, or does not tell of exactly the bytes that follow it.
    """
    size = check_regular_file(file)
    try:
        with file.open("rb") as handle:
            found = parse_header(handle.read, size)
        if not found:
            raise _make_damaged_error("it holds 0 tensors")
    except ValueError as problem:
        raise ArtifactError(str(problem), where=str(file), remedy=DOWNLOAD_REMEDY) from problem
    return found


def parse_header(read: Callable[[int], bytes], size: int) -> dict[str, TensorInfo]:
    """The tensors of a file of `size` bytes, in the order of their bytes; `read` gives the next bytes of the file.

    Behind the header the tensors follow without holes, so that no more is set aside than the file holds. Raises
    ValueError.
    """
    if size < 8:
        raise _make_damaged_error(f"it has {size} bytes, and no header")
    length = int.from_bytes(read(8), "little")
    if length > min(size - 8, MAX_HEADER_BYTES) or length < 2:
        raise _make_damaged_error(f"its header would have {length:,} bytes, and the file has {size:,}")
    facts = {name: _parse_tensor(name, said) for name, said in _decode_header(read(length)).items()}
    ordered = dict(sorted(facts.items(), key=lambda pair: (pair[1].start, pair[1].end, pair[0])))
    _check_offsets(ordered, size - 8 - length)
    return ordered


def _decode_header(data: bytes) -> dict[str, Any]:
    if data.count(b":") > 12 * MAX_TENSORS:
        raise _make_damaged_error("its header holds too many values")
    try:
        header = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as problem:
        raise _make_damaged_error("its header is no JSON") from problem
    if not isinstance(header, dict):
        raise _make_damaged_error("its header is no object")
    more = header.pop("__metadata__", {})
    if not isinstance(more, Mapping) or not all(isinstance(value, str) for value in more.values()):
        raise _make_damaged_error("its __metadata__ holds other values than texts")
    if len(header) > MAX_TENSORS:
        raise _make_damaged_error(f"it holds {len(header):,} tensors")
    return header


def _parse_tensor(name: str, entry: object) -> TensorInfo:
    if len(name) > MAX_NAME_CHARACTERS or not name.isprintable():
        raise _make_damaged_error("a tensor's name is too long, or not printable")
    entry = entry if isinstance(entry, dict) else {}
    dtype, shape, places = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in DTYPE_BITS:
        raise _make_damaged_error(f"{name} has the dtype {str(dtype)[:40]!r}")
    if not _are_sizes(shape) or len(shape) > 8:
        raise _make_damaged_error(f"{name} has the shape {str(shape)[:60]}")
    if not _are_sizes(places) or len(places) != 2:
        raise _make_damaged_error(f"{name} has the data_offsets {str(places)[:60]}")
    facts = TensorInfo(dtype, tuple(shape), *places)
    if facts.elements * DTYPE_BITS[dtype] != 8 * (facts.end - facts.start):
        raise _make_damaged_error(
            f"{name} of shape {list(shape)} and {dtype} does not have {facts.end - facts.start:,} bytes"
        )
    return facts


def _are_sizes(value: object) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(one) is int and 0 <= one < 2**48 for one in value)


def _check_offsets(tensors: Mapping[str, TensorInfo], size: int) -> None:
    """Every byte behind the header belongs to one tensor."""
    at = 0
    for name, one in tensors.items():
        if one.start != at:
            raise _make_damaged_error(
                f"{name} {'overlaps another tensor' if one.start < at else 'begins behind a hole'}"
            )
        at = one.end
    if at != size:
        raise _make_damaged_error(f"its tensors have {at:,} bytes, and {size:,} follow the header")


def count_elements(headers: Sequence[Mapping[str, TensorInfo]]) -> int:
    """How many numbers these files hold."""
    return sum(one.elements for header in headers for one in header.values())


def _make_damaged_error(what: str) -> ValueError:
    return ValueError(f"damaged, or no safetensors: {what}")
