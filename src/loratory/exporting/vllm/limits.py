"""What vLLM takes: ranks of adapters, and architectures that it puts adapters on."""

from __future__ import annotations

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # what --max-lora-rank takes
ARCHITECTURES = (  # model types whose class in vLLM takes adapters
    *("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "granite", "phi", "phi3"),
)


def choose_max_rank(rank: int) -> int:
    """The least --max-lora-rank that holds an adapter."""
    return next(one for one in RANKS if one >= rank)
