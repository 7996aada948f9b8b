"""Whether memory ran out: who asked may come again, when others are done."""

from __future__ import annotations

# How those say it that raise a plain RuntimeError: torch on a CPU and on Apple's GPUs, C++, NVIDIA's libraries, ONNX.
SAYINGS = (
    "can't allocate memory",
    "Cannot allocate memory",
    "Failed to allocate memory",
    "out of memory",
    "bad alloc",
    "bad_alloc",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)


def is_out_of_memory(problem: BaseException) -> bool:
    """Whether an allocation failed, here or in what this was raised from; no library is loaded to find out."""
    told: BaseException | None = problem
    while told is not None:
        if isinstance(told, MemoryError) or type(told).__name__ == "OutOfMemoryError":
            return True
        ours = isinstance(told, RuntimeError) or "onnxruntime" in type(told).__module__
        if ours and any(saying in str(told) for saying in SAYINGS):
            return True
        told = told.__cause__
    return False
